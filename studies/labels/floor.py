"""What a perfect network would still err by on these labels: results/label_floor.csv.

Systems that are built alike in nothing (a network, voting forests, Menpo's CLM) and that never saw the knee
share what is in the label, and what misleads all of them in the picture. With e = label error + own error,
and own errors independent of one another, the mean product of two systems' errors is the mean square of the
label's. Landmark means are taken out first: a habit of a whole table is no error of a label. Since what
misleads all systems alike counts as the label's, this is the most that the label's error can be.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import outlines
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import ROI_SPACING_MM
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.statistics import resampled_means
from studies.labels.predictions import System, answers
from studies.registration.agreement import by_grade, crops_of
from studies.registration.vote import fit_votes


def errors_by_system(systems: list[System], runs: list[Run], cohort: Cohort) -> dict[str, np.ndarray]:
    """{setting: (n, 16, 2) mm from label to answer}, out of fold, landmark means taken out."""
    found = {s.setting: answers(runs, s, cohort) - cohort.landmarks_mm for s in systems}
    return {name: centred(error) for name, error in found.items()}


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
    network with each unlike system, times the network's own ratio of MRE to root mean square. above_mm: how
    far the network's MRE lies above it."""
    subjects, kl = cohort.knees["subject_id"].to_numpy(), cohort.knees["kl"].to_numpy()
    own = errors[network]
    products = np.mean(
        [shared_square(own, other) for name, other in errors.items() if name != network], axis=0
    )
    length = np.linalg.norm(own, axis=2)
    rows = []
    for grade, chosen in by_grade(kl).items():
        ratio = length[chosen].mean() / np.sqrt((length[chosen] ** 2).mean())
        mean, drawn = resampled_means(products[chosen], subjects[chosen])
        low, high = ratio * np.sqrt(np.maximum(np.percentile(drawn, [2.5, 97.5]), 0))
        floor = ratio * np.sqrt(max(mean, 0))
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


def removal_rows(said: dict[str, np.ndarray], cohort: Cohort, network: str = "best") -> list[dict[str, Any]]:
    """Rows "removed": the network's MRE as it is, and after one thing after the other is taken out: a scale
    and a shift a knee as the other systems place it, the part along the edge, and rounding (of what is left,
    in the mean square, and the mean in proportion to its root).

    said: {setting: (n, 16, 2) mm}. The registration of each knee is judged by systems that the network takes
    no part in.
    """
    truth, answer = cohort.landmarks_mm, said[network]
    crops = crops_of(cohort)
    others = np.mean([points for name, points in said.items() if name != network], axis=0)
    px = cohort.mm_per_px[:, None, None]
    placed = (
        fit_votes(others / px, crops.offsets_mm, crops.truth.inverted).landmarks_px(crops.offsets_mm) * px
    )
    whole = np.linalg.norm(answer - truth, axis=2)
    moved = centred(answer - placed)
    registered = np.linalg.norm(moved, axis=2)
    across, _ = outlines.split_errors(placed + moved, placed)
    square, rounding = (across**2).mean(), ROI_SPACING_MM**2 / 12
    rounded = np.abs(across) * np.sqrt(max(square - rounding, 0) / square)
    steps = [
        ("as it is", whole),
        ("less a scale and a shift a knee, as others place it", registered),
        ("less the part along the edge", np.abs(across)),
        ("less the rounding to whole pixels", rounded),
    ]
    return [
        {"what": "removed", "of": name, "kl": "all", "mre_mm": values.mean(), "knees": len(values)}
        for name, values in steps
    ]


def floor_table(runs: list[Run], cohort_name: str, systems: list[System]) -> pd.DataFrame:
    """All rows of one cohort's labels."""
    cohort = load_cohort(cohort_name)
    said = {system.setting: answers(runs, system, cohort) for system in systems}
    errors = errors_by_system(systems, runs, cohort)
    rows = [*shared_rows(errors, cohort), *floor_rows(errors, cohort), *removal_rows(said, cohort)]
    return pd.DataFrame(rows).assign(cohort=cohort_name, profile=systems[0].profile, folds=5, seed=0)
