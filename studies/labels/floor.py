"""What a perfect network would still err by on these labels: results/label_floor.csv.

Systems that are built alike in nothing (a network, voting forests, Menpo's CLM) and that never saw the knee
share what is in the label, and what misleads all of them in the picture. With e = label error + own error,
and own errors independent of one another, the mean product of two systems' errors is the mean square of the
label's. Landmark means are taken out first: a habit of a whole table is no error of a label. Since what
misleads all systems alike counts as the label's, this is the most that the label's error can be.
"""

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import outlines
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import ROI_SPACING_MM
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.statistics import mean_interval, resampled_means, weighted_interval
from studies.labels.predictions import System, answers, made_by
from studies.registration.agreement import by_grade, crops_of
from studies.registration.vote import fit_votes


def centred(errors: np.ndarray) -> np.ndarray:
    """Errors (n, 16, 2) without their landmarks' means."""
    return np.asarray(errors - errors.mean(axis=0))


def shared_square(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, 16) products of two systems' errors: their mean is the mean square of what they share."""
    return np.asarray((first * second).sum(axis=2))


def shared_rows(errors: dict[str, np.ndarray], cohort: Cohort) -> list[dict[str, Any]]:
    """Rows "shared": of each pair of systems and of all grades the root mean square that they share, its
    interval over subjects, and the share of the first one's squared error."""
    subjects, kl = cohort.knees["subject_id"].to_numpy(), cohort.knees["kl"].to_numpy()
    rows = []
    for first, second in combinations(errors, 2):
        product, own = shared_square(errors[first], errors[second]), (errors[first] ** 2).sum(axis=2)
        for grade, chosen in by_grade(kl).items():
            mean, drawn = resampled_means(product[chosen], subjects[chosen])
            low, high = np.sqrt(np.maximum(np.percentile(drawn, [2.5, 97.5]), 0))
            rows.append(
                {
                    "what": "shared error",
                    "of": f"{first} and {second}",
                    "kl": grade,
                    "rms_mm": np.sqrt(max(mean, 0)),
                    "low": low,
                    "high": high,
                    "share_of_first": mean / own[chosen].mean(),
                    "knees": int(chosen.sum()),
                }
            )
    return rows


def floor_rows(errors: dict[str, np.ndarray], cohort: Cohort, network: str = "best") -> list[dict[str, Any]]:
    """Rows "floor": MRE of a perfect network on these labels, by grade: the shared root mean square of the
    network with each unlike system, times the network's own ratio of MRE to root mean square, with its
    interval over subjects. above_mm: how far the network's MRE lies above it."""
    subjects, kl = cohort.knees["subject_id"].to_numpy(), cohort.knees["kl"].to_numpy()
    own = errors[network]
    products = np.mean(
        [shared_square(own, other) for name, other in errors.items() if name != network], axis=0
    )
    length = np.linalg.norm(own, axis=2)
    of_knees = np.stack([products, length, length**2]).mean(axis=2)
    rows = []
    for grade, chosen in by_grade(kl).items():
        floor, low, high = weighted_interval(partial(told_floor, of_knees[:, chosen]), subjects[chosen])
        rows.append(
            {
                "what": "floor",
                "of": network,
                "kl": grade,
                "mre_mm": floor,
                "low": low,
                "high": high,
                "above_mm": length[chosen].mean() - floor,
                "knees": int(chosen.sum()),
            }
        )
    return rows


def told_floor(of_knees: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(k,) floors in mm for weights (k, n) of knees. of_knees: (3, n) mean shared square, mean length, and
    mean square of the network's errors of each knee."""
    shared, length, square = of_knees @ weights.T / weights.sum(axis=1)
    return np.asarray(length / np.sqrt(square) * np.sqrt(np.maximum(shared, 0)))


def removal_rows(answer: np.ndarray, cohort: Cohort) -> list[dict[str, Any]]:
    """Rows "removed": a network's MRE as it is, and after one thing after the other is taken out: the scale
    and the shift of each knee under which its published shape lies nearest to the answer, the part along the
    edge, and rounding (of what is left, in the mean square, and the mean in proportion to its root).

    answer: (n, 16, 2) mm, out of fold. The scale and the shift are three numbers of 32 that the answer itself
    decides, so some of the network's own error goes with them: the registration cannot be charged with more.
    removed_mm: what a step takes off the one before. shift_sd_mm (mean of both axes), scale_sd_percent: how
    far the first step moves labels. Intervals over subjects.
    """
    crops, px, subjects = crops_of(cohort), cohort.mm_per_px, cohort.knees["subject_id"]
    fitted = fit_votes(answer / px[:, None, None], crops.offsets_mm, crops.truth.inverted)
    placed = fitted.landmarks_px(crops.offsets_mm) * px[:, None, None]
    across = np.abs(outlines.split_errors(answer, placed)[0])
    square, rounding = (across**2).mean(), ROI_SPACING_MM**2 / 12
    steps = {
        "as it is": np.linalg.norm(answer - cohort.landmarks_mm, axis=2),
        "less a scale and a shift a knee": np.linalg.norm(answer - placed, axis=2),
        "less the part along the edge": across,
        "less the rounding to whole pixels": across * np.sqrt(max(square - rounding, 0) / square),
    }
    rows: list[dict[str, Any]] = []
    before = None
    for name, left in steps.items():
        found: dict[str, Any] = {"what": "removed", "of": name, "kl": "all", "knees": len(left)}
        found |= dict(zip(("mre_mm", "low", "high"), mean_interval(left, subjects)))
        if before is not None:
            removed = mean_interval(before - left, subjects)
            found |= dict(zip(("removed_mm", "removed_low", "removed_high"), removed))
        rows.append(found)
        before = left
    shift_mm = (placed - cohort.landmarks_mm).mean(axis=1)
    rows[1] |= {
        "shift_sd_mm": shift_mm.std(axis=0).mean(),
        "scale_sd_percent": 100 * np.std(fitted.mm_per_px / px),
    }
    return rows


def floor_table(runs: list[Run], cohort_name: str, systems: list[System]) -> pd.DataFrame:
    """All rows of one cohort's labels. epochs, commit: of each system, in their order."""
    cohort = load_cohort(cohort_name)
    said = {system.setting: answers(runs, system, cohort) for system in systems}
    errors = {name: centred(points - cohort.landmarks_mm) for name, points in said.items()}
    rows = [*shared_rows(errors, cohort), *floor_rows(errors, cohort), *removal_rows(said["best"], cohort)]
    about = {"cohort": cohort_name, "profile": systems[0].profile, "folds": 5, "seed": 0}
    return pd.DataFrame(rows).assign(**about, **made_by(runs, systems, cohort))
