"""Is the floor told right? Simulated knees whose labels are given errors of a known size: label_noise.csv.

`floor` takes what unlike systems' errors share for the error of the label. Here that error is known. Systems
are trained on spoilt labels of simulated knees and judged by them on a held-out fold, as on the crops; the
floor that their errors tell stands beside the one that was put in, and beside what the network errs by the
truth that it has never seen.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, outlines
from kneel_lib.data.cohort import Cohort, knee_name
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.provenance import commit_of
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.runs import get_run
from kneel_lib.experiment.store import Run, points_of
from studies.labels.floor import centred, floor_rows, shared_rows

NAME = "simulated_noisy"
SYSTEMS = "best", "rfrv_clm", "clm_igo"


@dataclass(frozen=True)
class Noise:
    """Errors of labels. along_mm, across_mm: standard deviation of each landmark's own error along and
    across the outline. shift_mm (each axis), scale: of what a knee's landmarks share. step_mm: to which
    places are rounded."""

    along_mm: float = 0.75
    across_mm: float = 0.25
    shift_mm: float = 0.15
    scale: float = 0.0075
    step_mm: float = 0.3


LIKE_CROPS = Noise()
"""About as large as on the crops: three times as vague along the outline as across it, a shift and a scale a
knee as the last step of the registration still moved them, and whole pixels of the authors' ROIs."""


def spoilt(cohort: Cohort, noise: Noise = LIKE_CROPS, seed: int = 0) -> Cohort:
    """The cohort under another name, its labels with errors that are drawn by `seed`."""
    random, points = np.random.default_rng(seed), cohort.landmarks_mm
    along = outlines.tangents(points)
    across = np.stack([-along[..., 1], along[..., 0]], axis=2)
    count = len(points)
    own = noise.along_mm * random.normal(size=(count, landmarks.COUNT, 1)) * along
    own = own + noise.across_mm * random.normal(size=(count, landmarks.COUNT, 1)) * across
    middle = points.mean(axis=1, keepdims=True)
    scale = 1 + noise.scale * random.normal(size=(count, 1, 1))
    moved = middle + (points - middle) * scale + noise.shift_mm * random.normal(size=(count, 1, 2)) + own
    return replace(cohort, name=NAME, landmarks_mm=np.round(moved / noise.step_mm) * noise.step_mm)


def noise_table(true: Cohort, profile: Profile, fold: int = 0, seed: int = 0) -> pd.DataFrame:
    """All rows; runs that are missing are made.

    what: "shared error" and "floor" as in label_floor.csv, of the spoilt labels of the fold; "put in": MRE
    and root mean square of the labels' errors there, landmark means taken out; "against spoilt labels" and
    "against the truth": the MRE of each system.
    """
    labels = spoilt(true)
    made = {name: get_run(SETTINGS[name], profile, labels, fold, seed) for name in SYSTEMS}
    rows = noise_rows(true, labels, made)
    given = {"cohort": NAME, "profile": profile.name, "folds": 1, "seed": seed}
    return pd.DataFrame(rows).assign(**given, commit=commit_of(run.manifest for run in made.values()))


def noise_rows(true: Cohort, labels: Cohort, made: dict[str, Run]) -> list[dict[str, Any]]:
    """The rows of `noise_table` from finished runs on one fold of `labels`."""
    places = {knee_name(row): place for place, (_, row) in enumerate(true.knees.iterrows())}
    rows = [places[knee_name(row)] for _, row in made["best"].chosen().iterrows()]
    held_out, truth = labels.select(rows), true.landmarks_mm[rows]
    said = {name: points_of(run.chosen()) for name, run in made.items()}
    errors = {name: centred(points - held_out.landmarks_mm) for name, points in said.items()}
    put_in = centred(held_out.landmarks_mm - truth)
    about = {"kl": "all", "knees": len(rows)}
    return [
        *shared_rows(errors, held_out),
        *floor_rows(errors, held_out),
        {"what": "put in", "of": "labels", **sizes(put_in), **about},
        *(
            {"what": f"against {name}", "of": system, **sizes(points - against), **about}
            for name, against in (("spoilt labels", held_out.landmarks_mm), ("the truth", truth))
            for system, points in said.items()
        ),
    ]


def sizes(errors: np.ndarray) -> dict[str, float]:
    """MRE and root mean square of errors (n, 16, 2) in mm."""
    length = np.linalg.norm(errors, axis=2)
    return {"mre_mm": float(length.mean()), "rms_mm": float(np.sqrt((length**2).mean()))}
