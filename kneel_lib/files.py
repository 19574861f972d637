"""Files that are written whole or not at all: beside their place first, then moved into it;
and folders that one process makes at a time."""

import hashlib
import os
import platform
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from kneel_lib.errors import KneelError

MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
"""This machine's name in names of temporary files: a disk may be shared."""

TEMPORARY = re.compile(r"[0-9a-f]{8}\.([0-9a-f]{8})\.(\d+)\.tmp")


def write_whole(path: Path | str, write: Callable[[Path], object]) -> None:
    """Let `write(temporary path)` make the file, then move it into place:
    a killed process leaves the old one."""
    path = Path(path)
    short = f"{zlib.crc32(os.fsencode(path.name)):08x}"  # fits wherever the name itself fits
    temporary = path.with_name(f"{short}.{MACHINE}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise KneelError(
            f"cannot write {path} ({last_line(error)}): free some space or give another folder; "
            "finished runs are kept"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def sweep(folder: Path | str, below: bool = True) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder, and below it."""
    for path in sorted(Path(folder).rglob("*.tmp") if below else Path(folder).glob("*.tmp")):
        match = TEMPORARY.fullmatch(path.name)
        if match and match[1] == MACHINE and not is_alive(int(match[2])):
            with suppress(OSError):
                path.unlink()


def is_alive(process: int) -> bool:
    """Whether a process with this id runs here."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no id
        return True
    return True


def last_line(text: object) -> str:
    """The last line that says something, of a text or of an exception (some hold the whole traceback of
    another)."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def contents_hash(*places: Path) -> str:
    """Twelve hexadecimal digits of the contents of files, and of all modules below folders: what was made by
    other code, or of another file, is known by another hash. Raises `KneelError` for what cannot be read."""
    files = (
        file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
    )
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    except OSError as error:
        raise KneelError(f"{error.filename} cannot be read: {error.strerror}") from None


def write_text(path: Path | str, text: str) -> None:
    """A text file, written whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, "utf-8"))


def inside(folder: Path | str, name: str, table: Path | str) -> Path:
    """The file of this name, which a table says, in a folder; `KneelError` where it would lie elsewhere: an
    absolute name, one with .., or a symbolic link that leads out of the folder."""
    path = Path(folder, name)
    try:
        stays = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError:  # no name of a file has a zero byte
        stays = False
    if not stays:
        raise KneelError(
            f"{table} names '{name}', which leads out of {folder}: name files below it, and give the folder "
            "in which they really are"
        )
    return path


def make_writable(folder: Path | str) -> None:
    """Make the folder; `KneelError` if nothing can be written there."""
    write_text(Path(folder) / ".writable", "")
    (Path(folder) / ".writable").unlink()


def make_folder(folder: Path | str, variable: str) -> None:
    """Make a folder; `KneelError` names the environment variable that moves it elsewhere."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KneelError(
            f"cannot make the folder {folder} ({error}): set {variable} to a folder that you may write to"
        ) from None


def locked(folder: Path, variable: str) -> Any:
    """The lock of a folder that is about to be made, taken; says so if another process has it and waits.
    The system frees the lock of a dead process."""
    make_folder(folder.parent, variable)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        return lock.acquire(timeout=0.1)
    except Timeout:
        print(f"another process is making {folder.name}: waiting for it", flush=True)
        return lock.acquire()
    except OSError as error:
        raise KneelError(
            f"cannot write to {folder.parent} ({error}): set {variable} to a folder that you may write to"
        ) from None


def write_arrays(path: Path | str, save: Callable[..., object] = np.savez, **arrays: np.ndarray) -> None:
    """Arrays without objects as one npz, whole or not at all; `save` may be `np.savez_compressed`."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            save(file, **arrays)

    write_whole(path, write)


def load_arrays(path: Path | str, names: Iterable[str] | None = None) -> dict[str, np.ndarray] | None:
    """{name: array} of an npz, all or those of these names; None if it is missing, damaged or lacks one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names or file}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
