"""The labelled knees: what recorded networks that have not seen them say (out of fold), and what was
annotated."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kneel_lib import paths
from kneel_lib.data.cohort import knee_name
from kneel_lib.data.crops import NOMINAL_MM_PER_PX, labelled_knees, read_registration
from kneel_lib.data.folds import FOLDS
from kneel_lib.errors import KneelError
from kneel_lib.experiment.store import Run, points_of
from kneel_lib.reporting import selection
from studies.validity.widths import NOMINAL, PLATEAU, at_one_size, width_table

COHORT, SETTING, PROFILE = selection.FINAL_LABELS, "best_normalised", "native"
"""The recorded five folds of the pretrained network's own setting, labels and profile."""

ROI = "image"
"""Cut around the middle of the picture at the nominal spacing: nothing of the truth is used."""

REGISTERED = "registered spacing"
PREDICTED, ANNOTATED = "out of fold", "annotated"


@dataclass(frozen=True)
class Labelled:
    """The knees (subject_id, side, kl, mm_per_px) with landmarks (n, 16, 2) in pixels of the right-oriented
    crop, of one origin (PREDICTED or ANNOTATED)."""

    knees: pd.DataFrame
    points_px: np.ndarray
    origin: str

    def widths(self) -> dict[str, pd.DataFrame]:
        """{scale: widths in mm}: at the nominal spacing, at that of the registration, and at one size of the
        plateau."""
        nominal = width_table(self.points_px, NOMINAL_MM_PER_PX)
        registered = width_table(self.points_px, self.knees["mm_per_px"].to_numpy())
        return {NOMINAL: nominal, PLATEAU: at_one_size(nominal), REGISTERED: registered}


def out_of_fold(runs: list[Run]) -> Labelled:
    """Of recorded runs the answers of networks that held these knees out. Raises `KneelError` if a fold is
    missing."""
    chosen = [
        run
        for run in selection.cross_validated(runs)
        if (run.spec.cohort, run.spec.setting.name, run.spec.profile.name, run.spec.seed)
        == (COHORT, SETTING, PROFILE, 0)
    ]
    if len(chosen) != FOLDS:
        raise KneelError(
            f"{len(chosen)} of {FOLDS} folds of {SETTING} are recorded on {COHORT}: run `python -m kneel_lib "
            f"train {SETTING} --profile {PROFILE} --cohort {COHORT}`"
        )
    said = selection.pooled_predictions(chosen, ROI)
    spacing = spacings(COHORT)
    names = said["subject_id"].astype(str) + said["side"]
    knees = said[["subject_id", "side", "kl"]].assign(mm_per_px=names.map(spacing)).reset_index(drop=True)
    points = points_of(said) / knees["mm_per_px"].to_numpy()[:, None, None]
    return Labelled(knees, points, PREDICTED)


def annotated() -> Labelled:
    """The labels themselves, on the same table; needs the published landmarks among the downloads."""
    knees, points_mm = labelled_knees(paths.downloads(), ("train", "val"), COHORT)
    points = points_mm / knees["mm_per_px"].to_numpy()[:, None, None]
    return Labelled(knees[["subject_id", "side", "kl", "mm_per_px"]], points, ANNOTATED)


def spacings(cohort: str) -> dict[str, float]:
    """{knee: mm in a crop pixel} by a registration table."""
    table = read_registration(cohort)
    return {knee_name(row): row["mm_per_px"] for _, row in table.iterrows()}
