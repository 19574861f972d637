"""The folds of cross-validation: by subject, stratified by KL grade, the same for every setting (section 4.3)."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from kneel_lib.errors import KneelError

FOLDS = 5


def make_folds(cohort, folds=FOLDS):
    """[(training rows, held-out rows)] of the cohort, `folds` times; no subject is on both sides.

    Rows of the split "test" belong to no fold. The seed is fixed at 0: other systems can be compared on equal folds. Raises `KneelError` for fewer subjects than folds.
    """
    rows = np.flatnonzero(cohort.knees["split"] != "test")
    knees = cohort.knees.iloc[rows]
    if knees["subject_id"].nunique() < folds or knees["kl"].value_counts().max() < folds:
        raise KneelError(f"cohort {cohort.name} cannot be split into {folds} folds: {len(rows)} of its {len(cohort)} knees, of {knees['subject_id'].nunique()} subjects, are not of the "
                         f"split test, and at least {folds} of one Kellgren-Lawrence grade are needed")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    return [(rows[train], rows[held_out]) for train, held_out in splitter.split(knees, knees["kl"], knees["subject_id"])]
