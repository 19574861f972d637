"""The last step of the registration: systems that have learnt where landmarks lie vote on each knee's place.

Templates know sixteen patches. Systems that are trained on the labels which the templates gave average over
the errors of those labels, and see a whole knee. So each knee is placed once more: by one scale and one
shift, three unknowns, its published shape is laid onto what systems that have not been trained on it (out of
fold), and that were told nothing of where it lies (ROI around the middle of the picture), say of its sixteen
landmarks. The systems are unlike each other, a network and voting forests, so that they share few errors but
those of the labels. Then they are trained on the new labels and vote again.
"""

from functools import partial

import numpy as np
import pandas as pd

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import read_registration
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run
from studies.labels.predictions import System, answers
from studies.registration.agreement import crops_of
from studies.registration.congealing import Placement, disagreement_mm, in_gauge_of
from studies.registration.network_check import fit_placement, fit_shape
from studies.registration.simulated_crops import Crops
from studies.registration.table import as_table

VOTERS = {
    "crops_templates": {"best": "study", "rfrv_clm": "native"},
    "crops_voted": {"best": "native", "rfrv_clm": "native"},
}
"""{cohort whose labels they were trained on: {setting: profile}} of what votes, out of fold. See `MAKES`."""

MAKES = {"crops_templates": "crops_voted", "crops_voted": "crops"}
"""{cohort whose labels the voters were trained on: the cohort whose table they make}."""

FLOOR_MM = 0.5
"""Nearer points than this count alike: below it lies the rounding, and what nobody can see."""


def least_distance(distances_px: np.ndarray, px_per_mm: float) -> np.ndarray:
    """Weights under which least squares minimises the sum of distances (those above FLOOR_MM)."""
    return 1 / np.maximum(distances_px / px_per_mm, FLOOR_MM)


fit_votes = partial(fit_placement, fit=partial(fit_shape, rounds=30, weigh=least_distance))
"""`fit_placement` by the least sum of distances."""


def votes_of(runs: list[Run], cohort: Cohort, setting: str, profile: str) -> np.ndarray:
    """(n, 16, 2) pixels of the crops: what a setting, trained on the labels of this cohort, says of each of
    its knees out of fold, with nothing told. Raises `KneelError` where a fold's run is missing."""
    said = answers(runs, System(cohort.name, setting, profile), cohort, "image")
    return said / cohort.mm_per_px[:, None, None]


def vote(votes: np.ndarray, crops: Crops, before: Placement) -> tuple[Placement, np.ndarray]:
    """(the `Placement` by the mean of the votes (voters, n, 16, 2), check_mm (n,)).

    It keeps the gauge of the placement `before`: systems that shrink towards the mean would change the
    common scale. check_mm: mean distance between where the two voters alone would place the knee.
    """
    placed = [
        in_gauge_of(before, fit_votes(said, crops.offsets_mm, before.inverted), crops.offsets_mm)
        for said in (votes.mean(axis=0), *votes)
    ]
    check_mm = disagreement_mm(placed[1], placed[2], crops.offsets_mm).mean(axis=1)
    return Placement(placed[0].mm_per_px, placed[0].centres_px, before.scores, before.inverted), check_mm


def voted_table(cohort: Cohort, runs: list[Run]) -> tuple[pd.DataFrame, Placement]:
    """(the registration table that the voters trained on this cohort's labels make, its `Placement`).

    The last one lies in the gauge of the older table: which of two gauges is right to a millimetre nobody
    knows, and a change of it would move all that was published.
    """
    crops = crops_of(cohort)
    votes = np.stack([votes_of(runs, cohort, *voter) for voter in VOTERS[cohort.name].items()])
    placement, check_mm = vote(votes, crops, crops.truth)
    if MAKES[cohort.name] != "crops":
        return as_table(crops, placement, check_mm), placement
    placement = in_gauge_of(crops_of(load_cohort("crops_first")).truth, placement, crops.offsets_mm)
    older = read_registration("crops_first")
    unseen = older[~older["split"].isin(crops.knees["split"])]
    return pd.concat([as_table(crops, placement, check_mm), unseen], ignore_index=True), placement


def judged(votes: np.ndarray, placement: Placement, crops: Crops) -> np.ndarray:
    """(n, 16) errors in mm of one system's points (n, 16, 2) in pixels, by a placement's labels."""
    apart = votes - placement.landmarks_px(crops.offsets_mm)
    return np.linalg.norm(apart, axis=2) * placement.mm_per_px[:, None]
