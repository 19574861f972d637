"""The folds of cross-validation: by subject, stratified by KL grade, the same for every setting (section 4.3)."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

FOLDS = 5


def make_folds(cohort, folds=FOLDS):
    """[(training rows, held-out rows)] of the cohort, `folds` times; no subject is on both sides.

    Rows of the split "test" belong to no fold. The seed is fixed at 0: other systems can be compared on equal folds.
    """
    rows = np.flatnonzero(cohort.knees["split"] != "test")
    knees = cohort.knees.iloc[rows]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    return [(rows[train], rows[held_out]) for train, held_out in splitter.split(knees, knees["kl"], knees["subject_id"])]
