"""Files that come from the browser: under a name that no disk and no page can take for anything else, in a
folder of their own that goes when the page is closed."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kneel_lib.data.grey import GREATEST_FILE_BYTES
from kneel_lib.errors import KneelError

LONGEST_NAME = 80
NAMELESS = "radiograph"


def safe_name(name: str) -> str:
    """A name of letters, digits, blanks and `._-()`, without folders, that begins with a letter or a digit;
    what else there was becomes `_`. At most LONGEST_NAME characters, of which the ending is kept."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = re.sub(r"[^\w.() -]", "_", last).strip()
    begun = re.sub(r"^[\W_]+", "", plain).rstrip(" .")
    if not begun:
        return NAMELESS
    ending = Path(begun).suffix[:10]
    return begun if len(begun) <= LONGEST_NAME else begun[: LONGEST_NAME - len(ending)] + ending


class Inbox:
    """Takes one file at a time, in parts: `begin`, `add` each, `finish`.

    Parts of a file whose place another one has taken are left out: a person may drop the next before the
    first has come.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="kneel-app-")
        self._number, self._missing = -1, 0
        self.path = Path(self._folder.name, NAMELESS)

    def begin(self, number: int, name: str, size: int) -> None:
        """The next file. number: what its parts are told by. size: in bytes. Raises `KneelError` where it is
        empty or too large."""
        self._number = -1
        for old in Path(self._folder.name).iterdir():
            old.unlink()
        if not 0 < size <= GREATEST_FILE_BYTES:
            why = "is empty" if size <= 0 else f"is larger than {GREATEST_FILE_BYTES // 2**20} MB"
            raise KneelError(f"{safe_name(name)} {why}: drop the file of a radiograph")
        self.path = Path(self._folder.name, safe_name(name))
        self.path.write_bytes(b"")
        self._number, self._missing = number, size

    def add(self, number: int, parts: Sequence[bytes | memoryview]) -> None:
        """Some more of a file."""
        if number != self._number:
            return
        with open(self.path, "ab") as file:
            for part in parts:
                self._missing -= file.write(part)

    def finish(self, number: int) -> Path | None:
        """The file, once it is whole; None for one whose place another has taken. Raises `KneelError` where
        bytes are missing or too many."""
        if number != self._number:
            return None
        if self._missing:
            raise KneelError(f"{self.path.name} did not come as a whole: drop it again")
        return self.path

    def close(self) -> None:
        """Remove what was uploaded."""
        self._folder.cleanup()
