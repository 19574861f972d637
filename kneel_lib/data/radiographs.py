"""Reading one radiograph from a file that a stranger made, told by its content, whatever its name ends in: a
grey picture and its pixel spacing, or one clear error, within bounds of memory and time."""

from pathlib import Path

from kneel_lib.data.formats import file_format
from kneel_lib.data.grey import Radiograph, stretch
from kneel_lib.data.reader_process import BOUNDS, Bounds, read_apart

__all__ = ["Radiograph", "file_format", "read_radiograph", "stretch"]


def read_radiograph(
    path: Path | str, mm_per_px: float | None = None, *, spacing_needed: bool = True, bounds: Bounds = BOUNDS
) -> Radiograph:
    """The `Radiograph` in a file. mm_per_px: the pixel spacing of a picture, which cannot say it itself, or
    of a DICOM file that does not. spacing_needed: whether a file without one is refused, or has None. bounds:
    how much memory and time its bytes may cost.

    Raises `KneelError` for a file that is neither, for a picture without a spacing, for all that `read_dicom`
    and `read_picture` refuse, and for a file that asks for more than the bounds or crashes a codec.
    """
    return read_apart(path, mm_per_px, spacing_needed, bounds)
