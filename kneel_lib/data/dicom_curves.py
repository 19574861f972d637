"""Stored values to grey values by what a DICOM header says: modality LUT or rescaling, then a VOI LUT.

The tables are looked up here: pydicom keeps places in a table of bytes as bytes, and takes a first value
below zero for one above 32767 (pydicom 3.0.2).
"""

from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.dicom_files import field, lengths
from kneel_lib.data.grey import reason
from kneel_lib.errors import KneelError

GREATEST_ENTRIES = 65536
GREATEST_SLOPE, GREATEST_INTERCEPT = 1e6, 1e9


def on_scale(path: Path | str, dataset: Any, pixels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(float32 values after the modality LUT, or after rescaling: an empty slope is 1, an intercept 0; what
    of these is damaged, and was not used)."""
    table, notes = first_table(path, dataset, "ModalityLUTSequence")
    if table is not None:
        return on_table(pixels, table, dataset, "modality LUT")
    values = pixels.astype(np.float32)
    slope, intercept = (
        (lengths(path, dataset, name) or [usual])[0]
        for name, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if not is_scale(slope, intercept):
        return values, (*notes, "its RescaleSlope and RescaleIntercept are no scale, and are not used")
    values *= slope
    values += intercept
    return values, notes


def is_scale(slope: float, intercept: float) -> bool:
    """Whether stored values can be rescaled by these: numbers, and neither huge nor next to nothing."""
    return 1 / GREATEST_SLOPE <= abs(slope) <= GREATEST_SLOPE and abs(intercept) <= GREATEST_INTERCEPT


def on_curve(path: Path | str, dataset: Any, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(float32 values after the first VOI LUT, which is looked up by whole numbers, unchanged without one;
    whether it is damaged, and was not used)."""
    table, notes = first_table(path, dataset, "VOILUTSequence")
    if table is None:
        return values, notes
    return on_table(values, table, dataset, "VOI LUT")


def on_table(values: np.ndarray, table: Any, dataset: Any, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the entries of a table for values that are whole numbers, nothing); values as they are, and a note,
    where it is damaged."""
    try:
        whole = np.rint(values) if values.dtype.kind == "f" else values
        return looked_up(whole.astype(np.int32), table, dataset), ()
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        return values.astype(np.float32), (f"its {name} is damaged ({reason(error)}), and is not used",)


def first_table(path: Path | str, dataset: Any, name: str) -> tuple[Any, tuple[str, ...]]:
    """(the first item of a sequence of tables that holds one, or None; a note where it is no sequence)."""
    try:
        items = field(path, dataset, name) or ()
        return next((item for item in items if holds_table(path, item)), None), ()
    except (KneelError, AttributeError, TypeError):
        return None, (f"its {name} is damaged, and is not used",)


def holds_table(path: Path | str, item: Any) -> bool:
    """Whether an item of a sequence has a table; `KneelError` where its elements are damaged."""
    return all(field(path, item, name) for name in ("LUTDescriptor", "LUTData"))


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
    if len(words) < count:
        raise ValueError(f"it has {len(words)} entries of {count}")
    return words[:count].astype(np.float32)
