"""The log of answers (answers.jsonl) that `predict` keeps in the folder that it writes to: what an entry is,
which folder and which state of a file it is about, and who may write there."""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kneel_lib.errors import KneelError
from kneel_lib.pipeline.input_files import printable


def refusal(name: str, why: str, **more: Any) -> dict[str, Any]:
    """The entry of a file without an answer."""
    return {"file": name, "state": [], "asked": [], "knees": [], "problem": printable(why), **more}


WHOLE = refusal("", "").keys()
"""What every entry has."""


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """{file: its entry} of a stopped run; a line that was cut off or damaged is left out."""
    entries = {}
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
            if entry.keys() >= WHOLE and all(isinstance(knee, dict) for knee in entry["knees"]):
                entries[entry["file"]] = entry
        except (ValueError, AttributeError, TypeError):
            continue
    return entries


def root_of(path: Path) -> str:
    """Which folder names in answers begin at, as eight digits that do not say where it is."""
    folder = os.path.realpath(path.parent if path.is_file() else path)
    return f"{zlib.crc32(folder.encode('utf-8', 'surrogateescape')):08x}"


def state_of(file: Path) -> list[int]:
    """[size, time of the last change] of a file: another state is another file."""
    try:
        found = file.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """While no other run writes to a folder of answers; `KneelError` where one does."""
    lock = FileLock(output / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise KneelError(
            f"another run is writing to {output}: wait for it, or give another --output"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()
