"""Which files a user's folder holds, and how they are called in answers: every one is either read or named
with the reason why not."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from kneel_lib.errors import KneelError

ANSWERS = "answers.jsonl"
"""Where `predict` keeps its answers, in the folder that it writes to."""

GREATEST_PATH = 3000
"""Bytes of a path from which on a file goes into the uppermost folder: Linux takes 4095."""


def find_files(path: Path | str, output: Path | str | None = None) -> dict[str, tuple[Path, str]]:
    """{name: (file, why it is not read or "")}, sorted: of the file itself, or of every file below a folder.

    Hidden ones and those below `output` are left out. A folder that cannot be looked into, that a symbolic
    link leads to, or that holds answers, stands for its files. Raises `KneelError` where there is none.
    """
    path = Path(path)
    if os.path.isfile(path):
        return {as_text(path.name): (path, "")}
    own = os.path.realpath(output) if output else None
    found = {as_text(os.path.relpath(file, path)): (file, why) for file, why in below(path, own)}
    if own and os.path.isdir(path) and within(os.path.realpath(path), own):
        raise KneelError(f"{path} lies in the folder of the answers, {output}: give another one (--output)")
    if not found:
        raise KneelError(f"{path} is no file and no folder with files")
    if "." in found:
        raise KneelError(found["."][1])
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def below(path: Path, own: str | None) -> Iterator[tuple[Path, str]]:
    """(file or folder, why it is not read or "") of everything below a folder but `own`."""
    waiting = [path] if os.path.isdir(path) else []
    while waiting:
        folder = waiting.pop()
        if own and within(os.path.realpath(folder), own):
            continue
        try:
            with os.scandir(folder) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".")]
        except OSError as error:
            yield folder, f"{folder} cannot be looked into ({error.strerror}): none of its files is read"
            continue
        if ANSWERS in {entry.name for entry in entries}:
            yield folder, f"{folder} holds answers of an earlier run: none of its files is read"
            continue
        for entry in entries:
            if not is_folder(entry):
                yield from linked(entry, own)
            elif entry.is_symlink():
                yield Path(entry), f"{entry.path} is a symbolic link to a folder: give that folder itself"
            else:
                waiting.append(Path(entry))


def linked(entry: os.DirEntry, own: str | None) -> Iterator[tuple[Path, str]]:
    """One file, where a symbolic link has led to if it is one; those that lead to `own` are left out."""
    if entry.is_symlink():
        if own and within(os.path.realpath(entry), own):
            return
        if not os.path.exists(entry):
            yield Path(entry), f"{entry.path} is a symbolic link that leads nowhere"
            return
    yield Path(entry), "" if os.path.isfile(entry) else f"{entry.path} is no file"


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def within(path: str, folder: str) -> bool:
    """Whether a real path is a real folder's, or lies below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def written_path(folder: Path, name: str, ending: str) -> Path:
    """Where below a folder what is made of the file of this name goes, `ending` (".png") added: no folder has
    a name as such a file may have, and what a disk does not take is cut."""
    *folders, last = name.split("/")
    apart = [f"{part}~" if part.rstrip("~").endswith(ending) else part for part in folders]
    path = Path(folder, *apart, f"{last}{ending}")
    if len(os.fsencode(path)) < GREATEST_PATH and max(len(os.fsencode(part)) for part in path.parts) <= 240:
        return path
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return Path(folder, f"{last[:40]}-{digest}{ending}")


def as_text(name: str) -> str:
    """A file's name as printable text, each name another: bytes that are no text, line ends and what steers a
    terminal are shown as escapes."""
    return printable(name.replace("\\", "\\\\"))


def printable(text: str) -> str:
    """Text for one line of any table or terminal."""
    return "".join(letter if letter.isprintable() else escaped(letter) for letter in text)


def escaped(letter: str) -> str:
    """A letter that cannot be shown as Python would write it; of a byte that is none, the byte."""
    byte = ord(letter) - 0xDC00  # as Python keeps it in names of files
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else letter.encode("unicode_escape").decode()
