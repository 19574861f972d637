"""Files that are written whole or not at all: beside their place first, then moved into it;
and folders that one process makes at a time."""

import os
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


def write_whole(path: Path | str, write: Callable[[Path], object]) -> None:
    """Let `write(temporary path)` make the file, then move it into place:
    a killed process leaves the old one."""
    path = Path(path)
    short = f"{zlib.crc32(os.fsencode(path.name)):08x}"  # fits wherever the name itself fits
    temporary = path.with_name(f"{short}.{os.getpid()}.tmp")
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


def last_line(text: object) -> str:
    """The last line that says something, of a text or of an exception (some hold the whole traceback of
    another)."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def write_text(path: Path | str, text: str) -> None:
    """A text file, written whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text))


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
