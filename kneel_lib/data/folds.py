"""The folds of cross-validation: by subject, stratified by KL grade, the same for every setting (section
4.3)."""

import numpy as np

from kneel_lib.data.cohort import Cohort
from kneel_lib.errors import KneelError

FOLDS = 5


def make_folds(cohort: Cohort, folds: int = FOLDS) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(training rows, held-out rows)] of the cohort, `folds` times; no subject is on both sides.

    Rows of the split "test" belong to no fold. The seed is fixed at 0: other systems can be compared on equal
    folds. Raises `KneelError` for fewer subjects than folds.
    """
    rows = np.flatnonzero(cohort.knees["split"] != "test")
    knees = cohort.knees.iloc[rows]
    if knees["subject_id"].nunique() < folds or knees["kl"].value_counts().max() < folds:
        raise KneelError(
            f"cohort {cohort.name} cannot be split into {folds} folds: "
            f"{len(rows)} of its {len(cohort)} knees, of {knees['subject_id'].nunique()} subjects, are not "
            f"of the split test, and at least {folds} of one Kellgren-Lawrence grade are needed"
        )
    from sklearn.model_selection import StratifiedGroupKFold  # a second to import, and predict needs it not

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    return [
        (rows[train], rows[held_out])
        for train, held_out in splitter.split(knees, knees["kl"], knees["subject_id"])
    ]


def take_knees(cohort: Cohort, count: int | None) -> Cohort:
    """The cohort, or `count` of its knees evenly spread over it."""
    if count is None or count >= len(cohort):
        return cohort
    return cohort.select(np.linspace(0, len(cohort) - 1, count).round().astype(int))


def split_rows(cohort: Cohort, fold: int | str) -> tuple[np.ndarray, np.ndarray]:
    """(rows to train on, rows held out) of a fold, 0 to 4, of "val" (the cohort's own train and val
    splits) or of "all" (every knee but those of the split test is trained on, none is held out)."""
    if fold == "all":
        return np.flatnonzero(cohort.knees["split"] != "test"), np.array([], int)
    if fold == "val":
        train, val = (np.flatnonzero(cohort.knees["split"] == name) for name in ("train", "val"))
        if not (len(train) and len(val)):
            raise KneelError(
                f"cohort {cohort.name} has no split 'train' and 'val' to hold out: "
                f"choose a fold, 0 to {FOLDS - 1}"
            )
        return train, val
    return make_folds(cohort)[fold_number(fold)]


def fold_number(fold: int | str) -> int:
    """A fold of cross-validation, 0 to 4; `KneelError` for any other."""
    if isinstance(fold, bool) or not isinstance(fold, (int, np.integer)) or fold not in range(FOLDS):
        raise KneelError(
            f"fold {fold} does not exist: folds are 0 to {FOLDS - 1}, and val where the cohort has that split"
        )
    return int(fold)


LEAST_KNEES = 200


def choose_labels(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the rows, drawn by `seed`, repeated in turn up to LEAST_KNEES;
    `KneelError` if there are not so many."""
    if not 2 <= count <= len(rows):
        raise KneelError(
            f"cannot take {count} labelled knees: the fold has {len(rows)} to train on, and 2 are the least"
        )
    chosen = np.random.default_rng(seed).permutation(rows)[:count]
    return np.resize(chosen, max(count, LEAST_KNEES))
