"""Stored values to grey values by what a DICOM header says: modality LUT or rescaling, then a VOI LUT.

The tables are looked up here: pydicom keeps places in a table of bytes as bytes, and takes a first value
below zero for one above 32767 (pydicom 3.0.2).
"""

from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.dicom_files import field, numbers
from kneel_lib.data.grey import guarded

GREATEST_ENTRIES = 65536


def on_scale(path: Path | str, dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Float32 values after the modality LUT, or after rescaling: an empty slope is 1, an intercept 0."""
    table = first_table(path, dataset, "ModalityLUTSequence")
    if table is not None:
        return guarded(path, "has a damaged modality LUT", lambda: looked_up(pixels, table, dataset))
    slope, intercept = (
        (numbers(path, dataset, name) or [usual])[0]
        for name, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    values = pixels.astype(np.float32)
    values *= slope
    values += intercept
    return values


def on_curve(path: Path | str, dataset: Any, values: np.ndarray) -> np.ndarray:
    """Float32 values after the first VOI LUT, which is looked up by whole numbers; unchanged without one."""
    table = first_table(path, dataset, "VOILUTSequence")
    if table is None:
        return values
    return guarded(
        path, "has a damaged VOI LUT", lambda: looked_up(np.rint(values).astype(np.int32), table, dataset)
    )


def first_table(path: Path | str, dataset: Any, name: str) -> Any:
    """The first item of a sequence of tables that holds one, or None."""
    items = field(path, dataset, name) or ()
    return next((item for item in items if item.get("LUTDescriptor") and item.get("LUTData")), None)


def looked_up(values: np.ndarray, item: Any, dataset: Any) -> np.ndarray:
    """Float32 entries of a table for whole numbers: those before its first get the first entry, those behind
    its end the last (PS3.3 C.11.1)."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count or GREATEST_ENTRIES
    table = entries(item.LUTData, count, bits, dataset)
    if first > np.iinfo(np.int16).max and values.min() < 0:
        first -= GREATEST_ENTRIES  # written as a number without sign
    return table[np.clip(values.astype(np.int32) - first, 0, len(table) - 1)]


def entries(data: Any, count: int, bits: int, dataset: Any) -> np.ndarray:
    """Float32 entries from LUTData: a list, or bytes; entries of 8 bits may share a word by two."""
    order = "<" if dataset.original_encoding[1] in (True, None) else ">"
    packed = isinstance(data, bytes)
    words = np.frombuffer(data, f"{order}u2") if packed else np.atleast_1d(data).astype("<u2")
    if bits <= 8 and 2 * len(words) in (count, count + 1):
        words = np.frombuffer(data if packed else words.tobytes(), np.uint8)
    if not len(words):
        raise ValueError("its table is empty")
    return words[:count].astype(np.float32)
