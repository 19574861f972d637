"""Files that are written whole or not at all: beside their place first, then moved into it."""

import os
from pathlib import Path

from safetensors import SafetensorError

from kneel_lib.errors import KneelError


def write_whole(path, write):
    """Let `write(temporary path)` make the file, then move it into place: a killed process leaves the old one."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise KneelError(f"cannot write {path} ({error}): free some space or give another folder; finished runs are kept") from None
    finally:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None


def write_text(path, text):
    """A text file, written whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text))
