"""Errors in mm and what the tables report of them, in two named versions (section 4.3, "Evaluation and
Metrics").

"paper": as the released code computes Table 1. Per knee the error is averaged inside each bone over that
bone's scored landmarks; PCK is taken of each bone; a table shows the mean of the two and their standard
deviation (ddof 1). Outliers are knees with any of the 16 landmarks 10 mm or more off. "strict": every
landmark by itself, no averaging before the threshold. All functions take errors (n, 16) in mm; NaN (a
landmark that is missing) is left out. Percentages are in 0 to 100.
"""

from collections.abc import Iterable

import numpy as np

from kneel_lib import landmarks

Bones = tuple[tuple[int, ...], ...]
THRESHOLDS_MM = (1.0, 1.5, 2.0, 2.5)
OUTLIER_MM = 10.0


def landmark_errors(predicted_mm: np.ndarray, truth_mm: np.ndarray) -> np.ndarray:
    """Euclidean distances in mm, (n, 16), of two (n, 16, 2) arrays in the same frame."""
    return np.linalg.norm(np.asarray(predicted_mm) - np.asarray(truth_mm), axis=2)


def bone_errors(errors: np.ndarray, bones: Bones = landmarks.TABLE1) -> np.ndarray:
    """Mean error over each bone's scored landmarks that are known, (n, bones); NaN where none is."""
    known = ~np.isnan(errors)
    sums, counts = (
        np.stack([values[:, list(bone)].sum(axis=1) for bone in bones], axis=1)
        for values in (np.where(known, errors, 0.0), known)
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def lost_knees(errors: np.ndarray) -> np.ndarray:
    """(n,) booleans: knees of which no error is known, because they were not found."""
    return np.isnan(errors).all(axis=1)


def lost_outside(errors: np.ndarray) -> np.ndarray:
    """The errors with those of lost knees infinite: outside of every radius, and out."""
    return np.where(lost_knees(errors)[:, None], np.inf, errors)


def within(errors: np.ndarray, radius: float) -> np.ndarray:
    """100.0 where an error is `radius` or less, else 0.0, and NaN where it is not known:
    a PCK is the mean of these."""
    return np.where(np.isnan(errors), np.nan, 100.0 * (errors <= radius))


def share_within(errors: np.ndarray, radius: float) -> float:
    """Percentage of the known errors that are `radius` or less."""
    return float(np.nanmean(within(errors, radius)))


def pck_paper(errors: np.ndarray, radius: float, bones: Bones = landmarks.TABLE1) -> tuple[float, float]:
    """(mean, standard deviation) over the bones of the PCK at `radius` mm, the paper's version."""
    by_bone = [share_within(column, radius) for column in bone_errors(errors, bones).T]
    return float(np.mean(by_bone)), float(np.std(by_bone, ddof=1))


def pck_strict(errors: np.ndarray, radius: float, scored: Iterable[int] = sum(landmarks.TABLE1, ())) -> float:
    """PCK at `radius` mm of the scored landmarks, each by itself."""
    return share_within(errors[:, list(scored)], radius)


def outliers_paper(errors: np.ndarray) -> float:
    """Percentage of knees with any landmark 10 mm or more off."""
    return 100 * float(np.mean((errors >= OUTLIER_MM).any(axis=1)))


def mean_radial_error(errors: np.ndarray) -> float:
    """MRE: mean error in mm over all 16 landmarks."""
    return float(np.nanmean(errors))


def median_error(errors: np.ndarray) -> float:
    """Median error in mm over all 16 landmarks."""
    return float(np.nanmedian(errors))


def summarise(errors: np.ndarray, bones: Bones = landmarks.TABLE1) -> dict[str, float]:
    """The numeric columns of results/table1.csv for these knees, by name. bones: the landmarks that PCK
    scores (`landmarks.TABLE2` for Table 2).

    A knee of which no error is known was not found: it is out, and outside of every radius, and MRE and
    median are of the others.
    """
    lost, scored = lost_knees(errors), lost_outside(errors)
    paper = {f"pck_{radius:g}": pck_paper(scored, radius, bones)[0] for radius in THRESHOLDS_MM}
    strict = {f"strict_{radius:g}": pck_strict(scored, radius, sum(bones, ())) for radius in THRESHOLDS_MM}
    found = {"mre_mm": mean_radial_error, "median_mm": median_error}
    return {
        **paper,
        **strict,
        "strict_2.5_all16": pck_strict(scored, 2.5, range(landmarks.COUNT)),
        **{name: np.nan if lost.all() else measure(errors[~lost]) for name, measure in found.items()},
        "out": outliers_paper(scored),
    }
