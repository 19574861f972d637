"""One radiograph in memory, and what is asked of it whatever file it came from: its size, its pixel spacing,
grey values that are numbers.

Nothing in a file is trusted: its size is checked before its pixels are decoded, and whatever a parser or a
codec trips over becomes a `KneelError` with the file's name.
"""

import os
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.shown import shown_rectangle
from kneel_lib.errors import KneelError

GREATEST_FILE_BYTES = 256 * 2**20
GREATEST_PIXELS, GREATEST_SIDE_PX, LEAST_SIDE_PX = 60_000_000, 20_000, 64
GREATEST_ASPECT = 12
"""No film is so many times as long as wide; the search looks at a strip in squares, hundreds of them."""

SPACING_RANGE_MM = (0.02, 1.0)
DISPLAY_PERCENTILES = (5, 99)
GREATEST_WORDS = 4096
"""Bytes of a codec's complaints that are read."""

GREATEST_GREY = 1e30
"""Beyond this float32 has no room left for differences; no detector counts so far."""


@dataclass(frozen=True)
class Radiograph:
    """One projection radiograph, upright and not mirrored as far as its file tells.

    grey: (H, W) float32, or uint8 where the caller has it ready; bone bright as far as the file tells, linear
    in what is stored, finite, neither stretched nor clipped. mm_per_px: pixel spacing, None where nothing
    says it. side: "L", "R", "B" (both knees) or "". inside: (H, W) bool, False where a pixel is padding; None
    where every pixel counts. spacing_from: what said the spacing, "PixelSpacing (calibrated)". notes: reasons
    to doubt what the file says. turned: how the picture was turned round because the file says so, which is
    no reason to doubt it.
    """

    path: Path
    grey: np.ndarray
    mm_per_px: float | None
    side: str = ""
    inside: np.ndarray | None = None
    spacing_from: str = ""
    notes: tuple[str, ...] = ()
    turned: str = ""

    @cached_property
    def image(self) -> np.ndarray:
        """(H, W) uint8: `grey` if it is that already, else stretched between its 5th and 99th percentile."""
        return self.grey if self.grey.dtype == np.uint8 else stretch(self.grey, inside=self.inside)

    @cached_property
    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """`shown_rectangle` of the picture: search, border and appearance ask for it, knee by knee."""
        return shown_rectangle(self.grey)

    @property
    def spacing_mm(self) -> float:
        """`mm_per_px` where it must be known; `KneelError` where it is not."""
        if self.mm_per_px is None:
            raise KneelError(f"{self.path} has no pixel spacing: give it in mm (--spacing)")
        return self.mm_per_px


def stretch(
    grey: np.ndarray, percentiles: tuple[float, float] = DISPLAY_PERCENTILES, inside: np.ndarray | None = None
) -> np.ndarray:
    """Grey values to uint8, linear between the percentiles (the authors' 5th and 99th) of what is `inside`;
    a flat picture becomes black."""
    low, high = np.percentile(grey if inside is None else grey[inside], percentiles)
    return (np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255).round().astype(np.uint8)


def settled(
    path: Path | str, grey: np.ndarray, inside: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """(grey, inside) with the least value inside wherever a pixel is padding or no number; `inside` is None
    where all count. Raises `KneelError` where none does."""
    numbers = np.abs(grey) < GREATEST_GREY
    inside = numbers if inside is None else inside & numbers
    if inside.all():
        return grey, None
    if not inside.any():
        raise KneelError(f"{path} shows nothing: every pixel is padding, transparent or not a number")
    return np.where(inside, grey, grey[inside].min()), inside


def read_head(path: Path | str, count: int = 132) -> bytes:
    """A file's first bytes; `KneelError` for what is no file, empty, unreadable or too large."""
    try:
        state = Path(path).stat()
        if not stat.S_ISREG(state.st_mode):
            raise KneelError(f"{path} is no file")
        with open(path, "rb") as file:
            head = file.read(count)
    except OSError as error:
        raise KneelError(f"{path} cannot be read: {error.strerror}") from None
    if not head:
        raise KneelError(f"{path} is an empty file")
    if state.st_size > GREATEST_FILE_BYTES:
        raise KneelError(too_large(path, f"{state.st_size >> 20} MiB"))
    return head


def too_large(path: Path | str, size: str) -> str:
    """What is said of a file beyond GREATEST_FILE_BYTES."""
    return f"{path} has {size}: more than {GREATEST_FILE_BYTES >> 20} MiB is no radiograph of knees"


def too_much_memory(path: Path | str) -> str:
    """What is said of a file whose reading fills the memory that it may take."""
    return f"{path} asks for more memory than a radiograph of knees: it is damaged, or made to do harm"


def check_pixels(path: Path | str, width: int, height: int) -> None:
    """Raise `KneelError` unless a radiograph may have that many pixels."""
    sides = min(width, height), max(width, height)
    strip = sides[1] > GREATEST_ASPECT * sides[0]
    if sides[0] < LEAST_SIDE_PX or sides[1] > GREATEST_SIDE_PX or width * height > GREATEST_PIXELS or strip:
        raise KneelError(f"{path} has {width} x {height} pixels: that is no radiograph of knees")


def checked_spacing(path: Path | str, origin: str, pair: Sequence[float]) -> float:
    """The one spacing, mm, of square pixels of a sensible size. pair: rows, columns. Raises `KneelError`."""
    low, high = SPACING_RANGE_MM
    for length in pair:
        if not low <= length <= high:
            raise KneelError(
                f"{path} has a pixel spacing of {length} mm ({origin}): expected {low} to {high} mm"
            )
    if not is_square(pair):
        raise KneelError(f"{path} has pixels that are not square: {origin} is {pair[0]} x {pair[1]} mm")
    return float(sum(pair) / 2)


def is_square(pair: Sequence[float]) -> bool:
    """Whether two lengths are the same to 1 %."""
    return abs(pair[0] - pair[1]) <= 0.01 * max(pair)


def guarded(path: Path | str, trouble: str, read: Callable[[], Any]) -> Any:
    """`read()`, with everything that a parser or codec may trip over turned into one `KneelError`.

    Only here is every exception caught: parsers and codecs raise whatever damaged bytes lead them to.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except KneelError:
        raise
    except MemoryError:
        raise KneelError(too_much_memory(path)) from None
    except Exception as error:
        raise KneelError(f"{path} {trouble} ({reason(error)})") from None


def reason(error: Exception) -> str:
    """What an exception says, on one line: a first line that only announces the others is left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[1:] if len(lines) > 1 and lines[0].endswith(":") else lines
    return "; ".join(told)[:240] or type(error).__name__


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Without what the codecs' C code writes to the terminal: an error here is one line, and it is ours. The
    list that it gives holds their lines afterwards."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        try:
            os.dup2(said.fileno(), 2)
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            lines += said.read(GREATEST_WORDS).decode(errors="replace").splitlines()
