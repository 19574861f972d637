"""Cohorts that were cut out of files once, kept as one npz beside the files: the next process reads it in a
fraction of the time.

The key holds a hash of every module that reading and cutting may pass through: changed code cuts anew.
An npz without objects: no pickle, and a damaged one is made again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.json_records import read_json
from kneel_lib.errors import KneelError
from kneel_lib.files import contents_hash, load_arrays, write_arrays

LIBRARY = Path(__file__).parent.parent


def remember(folder: Path, name: str, make: Callable[[], Cohort]) -> Cohort:
    """The cohort that `make()` gives, from beside `folder` if it was kept there by this code;
    a full disk costs only the time of the next process."""
    path = Path(folder).with_name(f"{Path(folder).name}-{name}-{readers_hash()}.npz")
    kept = load(path)
    if kept is None:
        kept = make()
        try:
            save(kept, path)
        except KneelError as error:
            print(f"the cohort is not kept for the next time: {error}", flush=True)
    return kept


@cache
def readers_hash(library: Path = LIBRARY) -> str:
    """Twelve hexadecimal digits of the source of all that reads and cuts: this room, what it samples with."""
    return contents_hash(library / "data", library / "imaging.py", library / "landmarks.py")


def save(cohort: Cohort, path: Path) -> None:
    """Write a cohort as an npz of plain arrays: its pictures one after the other, since they may differ in
    shape."""
    header = {
        "name": cohort.name,
        "fingerprint": cohort.fingerprint,
        "nominal_mm_per_px": cohort.nominal_mm_per_px,
        "shapes": [image.shape for image in cohort.images],
        "knees": cohort.knees.to_dict(orient="split", index=False),
    }
    pixels = np.concatenate([image.ravel() for image in cohort.images])
    write_arrays(path, header=np.array(json.dumps(header)), landmarks_mm=cohort.landmarks_mm, pixels=pixels)


@dataclass(frozen=True)
class Header:
    """What `save` writes beside the arrays."""

    name: str
    fingerprint: str
    nominal_mm_per_px: float
    shapes: list[tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]]
    knees: dict[str, Any]


def load(path: Path) -> Cohort | None:
    """The cohort that `save` wrote, or None if the file is damaged or anything in it was changed."""
    arrays = load_arrays(path, ("header", "landmarks_mm", "pixels"))
    if arrays is None or [arrays[name].dtype for name in ("landmarks_mm", "pixels")] != [
        np.float64,
        np.uint8,
    ]:
        return None
    try:
        header = read_json(str(arrays["header"]), Header, path, "it is made again")
        ends = np.cumsum([height * width for height, width in header.shapes])
        parts = np.split(arrays["pixels"], ends[:-1])
        images = tuple(part.reshape(shape) for part, shape in zip(parts, header.shapes))
        knees = pd.DataFrame(header.knees["data"], columns=header.knees["columns"])
        cohort = Cohort(header.name, knees, images, arrays["landmarks_mm"], header.nominal_mm_per_px)
        return cohort if cohort.fingerprint == header.fingerprint else None
    except (ValueError, KeyError, TypeError, OverflowError, KneelError):
        return None
