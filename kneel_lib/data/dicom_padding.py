"""Which pixels of a DICOM file are padding: those of PixelPaddingValue, or of the range from it to
PixelPaddingRangeLimit."""

from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.dicom_files import field, number
from kneel_lib.errors import KneelError

GREATEST_STORED = 2**16


def padding_range(path: Path | str, dataset: Any) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """((least, greatest) stored value that is padding, reasons to doubt it); None where none is named."""
    if field(path, dataset, "PixelPaddingValue") is None:
        return None, ()
    try:
        value = number(path, dataset, "PixelPaddingValue")
        limit = number(path, dataset, "PixelPaddingRangeLimit", value)
    except KneelError:
        return None, ("its PixelPaddingValue is no number, and is not used",)
    if max(abs(value), abs(limit)) >= GREATEST_STORED:
        return None, ("its PixelPaddingValue is none that a pixel can have, and is not used",)
    low, high = sorted(with_sign(each, dataset) for each in (value, limit))
    return (low, high), ()


def with_sign(value: int, dataset: Any) -> int:
    """A padding value with the sign that stored values have: some headers write it with the other one."""
    count, signed = 1 << dataset.BitsAllocated, dataset.PixelRepresentation == 1
    if signed and count // 2 <= value < count:
        return value - count
    return value + count if not signed and -count // 2 <= value < 0 else value


def not_padding(
    path: Path | str, dataset: Any, pixels: np.ndarray
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """((H, W) bool, False where a stored value is padding, reasons to doubt it); None where none is."""
    found, notes = padding_range(path, dataset)
    return None if found is None else (pixels < found[0]) | (pixels > found[1]), notes
