"""Self-training: a network learns from crops without landmarks what another one, its teacher, says of them.

The teacher has seen the labelled knees of a fold, or a few of them. Its answers on knees of other subjects
are pseudo-labels; the student begins with the teacher's weights, learns all of them, and is then trained on
the same labelled knees as the teacher (`runs.get_run` with the student as the first run).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort, check_cohort, out_of_order
from kneel_lib.data.crops import NOMINAL_MM_PER_PX, read_crop
from kneel_lib.data.graded import find_graded
from kneel_lib.data.rois import cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.experiment.rows import PSEUDO
from kneel_lib.experiment.runs import get_run
from kneel_lib.experiment.spec import PSEUDO_LABELLED
from kneel_lib.experiment.store import Run
from kneel_lib.experiment.trained import load_network
from kneel_lib.network import training


def student_of(teacher: Run, folder: Path | str | None = None, device: str = "cpu") -> Run:
    """The network that the teacher's pseudo-labels make of the teacher, in a finished run that is tried on no
    knee; made now if it is missing.

    teacher: a run on a fold, with its weights. folder: see `graded.find_graded`. Raises
    `KneelError` where there are no crops without labels.
    """
    labelled = pseudo_labelled(unlabelled_crops(folder), teacher, device)
    asked = PSEUDO, teacher.spec.profile, labelled, "all", teacher.spec.seed
    return get_run(*asked, first=teacher, device=device, weights=True)


def unlabelled_crops(folder: Path | str | None = None) -> Cohort:
    """Every crop of subjects without landmarks, right-oriented; its landmarks are NaN, its spacing is the
    nominal one."""
    rows = find_graded(folder)
    images = tuple(read_crop(path, side) for path, side in zip(rows["path"], rows["side"]))
    knees = rows[["subject_id", "side", "kl"]].assign(split="train", mm_per_px=NOMINAL_MM_PER_PX)
    points = np.full((len(rows), landmarks.COUNT, 2), np.nan)
    return Cohort(PSEUDO_LABELLED, knees, images, points, NOMINAL_MM_PER_PX)


def pseudo_labelled(pictures: Cohort, teacher: Run, device: str = "cpu") -> Cohort:
    """The pictures with the teacher's landmarks, of ROIs around the pictures' middle; those in which its
    landmarks do not run from lateral to medial are left out. Raises `KneelError` if none is left."""
    profile, setting = teacher.spec.profile, teacher.spec.setting
    rois = cut_rois(pictures, profile.size_px, profile.spacing_mm, "image", grey=setting.grey)
    points_mm = rois.to_mm(training.predict(load_network(teacher).to(device), rois, device)).astype(float)
    right = ~out_of_order(points_mm)
    if not right.any():
        raise KneelError(
            f"{teacher.spec.said}: its landmarks run from lateral to medial on none of {len(pictures)} "
            "crops: train the teacher for longer or on more knees"
        )
    return check_cohort(replace(pictures, landmarks_mm=points_mm).select(right))
