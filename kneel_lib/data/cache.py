"""Cohorts that were cut out of files once, kept as one npz beside the files: the next process reads it in a fraction of the time.

The key holds a hash of every module that reading and cutting passes through, so that changed code cuts anew. An npz without objects: no
pickle, and a damaged one is made again.
"""

import hashlib
import json
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from kneel_lib.data.cohort import Cohort
from kneel_lib.errors import KneelError
from kneel_lib.files import write_whole

READERS = ("cohort", "crops", "dicom", "oai", "rois", "search")


def remember(folder, name, make):
    """The cohort that `make()` gives, from beside `folder` if it was kept there by this code; a full disk costs only the time of the next process."""
    path = Path(folder).with_name(f"{Path(folder).name}-{name}-{readers_hash()}.npz")
    kept = load(path) if path.is_file() else None
    if kept is None:
        kept = make()
        try:
            write_whole(path, lambda temporary: save(kept, temporary))
        except KneelError as error:
            print(f"the cohort is not kept for the next time: {error}", flush=True)
    return kept


@cache
def readers_hash():
    """Twelve hexadecimal digits of the source of all that reads and cuts."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / f"{module}.py").read_bytes() for module in READERS) + (here.parent / "landmarks.py").read_bytes()).hexdigest()[:12]


def save(cohort, path):
    """Write a cohort as an npz of plain arrays: its pictures one after the other, since they may differ in shape."""
    header = {"name": cohort.name, "nominal_mm_per_px": cohort.nominal_mm_per_px, "shapes": [image.shape for image in cohort.images],
              "knees": cohort.knees.to_dict(orient="split", index=False)}
    with open(path, "wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), landmarks_mm=cohort.landmarks_mm, pixels=np.concatenate([image.ravel() for image in cohort.images]))


def load(path):
    """The cohort that `save` wrote, or None if the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header, points, pixels = json.loads(str(file["header"])), file["landmarks_mm"], file["pixels"]
        knees = pd.DataFrame(**header["knees"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    ends = np.cumsum([height * width for height, width in header["shapes"]])
    images = tuple(part.reshape(shape) for part, shape in zip(np.split(pixels, ends[:-1]), header["shapes"]))
    return Cohort(header["name"], knees, images, points, header["nominal_mm_per_px"])
