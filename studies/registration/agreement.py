"""How good the registration is: agreement with the table on file, known truth, repeatability."""

from typing import Any

import numpy as np

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import TABLES
from kneel_lib.data.roi_fields import is_for_localisation
from kneel_lib.errors import KneelError
from studies.registration import network_check
from studies.registration import table as registration_table
from studies.registration.congealing import Placement, apart_mm, disagreement_mm
from studies.registration.simulated_crops import Crops, as_found, cut_crops

LOST_MM = 3.0
DOUBTED_SCORE = 0.40
"""A knee whose landmarks look less like the averages than this is not to be trusted (a typical knee scores
0.7)."""


def crops_of(cohort: Cohort) -> Crops:
    """The crops of a cohort: the real ones as their files have them, simulated ones cut at places and
    scales that are known. Raises `KneelError` for cohorts of ROI localisation."""
    if is_for_localisation(cohort):
        raise KneelError(
            f"{cohort.name} is for ROI localisation and cannot be registered: choose crops, or simulated"
        )
    return as_found(cohort) if cohort.name in TABLES else cut_crops(cohort)


def truth_name(crops: Crops) -> str:
    """What `Crops.truth` is."""
    return "table on file" if crops.name in TABLES else "the truth"


def sentence(crops: Crops, placement: Placement) -> str:
    """How far a placement lies from what is known, in words."""
    apart = disagreement_mm(crops.truth, placement, crops.offsets_mm)
    return (
        f"median {np.median(apart):.2f} mm, 95th percentile {np.percentile(apart, 95):.2f} mm, "
        f"{lost(apart).sum()} knees above {LOST_MM:g} mm"
    )


def lost(apart: np.ndarray) -> np.ndarray:
    """(n,) booleans: the knee's landmarks are LOST_MM or more off in the mean."""
    return apart.mean(axis=1) >= LOST_MM


def doubted(placement: Placement, check_mm: np.ndarray | None = None) -> np.ndarray:
    """(n,) booleans: knees whose place is not to be trusted, by their score, and by the network check where
    there is one."""
    return (placement.scores < DOUBTED_SCORE) | (
        False if check_mm is None else check_mm >= network_check.REPLACED_MM
    )


def by_grade(kl: np.ndarray) -> dict[str | int, np.ndarray]:
    """{"all" or grade: which knees}."""
    return {"all": np.ones(len(kl), bool), **{grade: kl == grade for grade in range(5)}}


def distance_rows(
    what: str, cohort: str, kl: np.ndarray, apart: np.ndarray, noticed: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Rows of results/registration.csv: all knees, then each grade. apart: (n, 16) mm.
    noticed: which knees a score or a check flags."""
    noticed = np.zeros(len(kl), bool) if noticed is None else noticed
    return [
        {
            "what": what,
            "cohort": cohort,
            "kl": grade,
            "median_mm": np.median(apart[rows]),
            "p95_mm": np.percentile(apart[rows], 95),
            "knees": int(rows.sum()),
            "above_3mm": int(lost(apart)[rows].sum()),
            "unnoticed": int((lost(apart) & ~noticed)[rows].sum()),
            "flagged": int(noticed[rows].sum()),
        }
        for grade, rows in by_grade(kl).items()
        if rows.any()
    ]


def ensemble(crops: Crops, jobs: int = 1) -> tuple[list[dict[str, Any]], Placement]:
    """(rows, the finished `Placement`): templates alone, the network alone, and both together, against
    `Crops.truth`, and the two against each other."""
    first = registration_table.place_by_templates(crops, jobs=jobs)
    second = registration_table.place_by_network(crops, first)
    both, check_mm, replaced = network_check.combine(first, second, crops.offsets_mm)
    flagged, kl = doubted(first, check_mm), crops.knees["kl"].to_numpy()
    made = {"agreement_templates": first, "agreement_network": second, "agreement": both}
    rows = [
        row
        for what, placement in made.items()
        for row in distance_rows(
            what, crops.name, kl, disagreement_mm(crops.truth, placement, crops.offsets_mm), flagged
        )
    ]
    return rows + distance_rows(
        "templates_against_network", crops.name, kl, disagreement_mm(first, second, crops.offsets_mm), flagged
    ), both


def known_truth(crops: Crops, jobs: int = 1) -> tuple[list[dict[str, Any]], np.ndarray]:
    """(rows, (n, 16, 2) errors in mm): templates alone on simulated crops, against the truth."""
    placement = registration_table.place_by_templates(crops, jobs=jobs)
    apart = apart_mm(crops.truth, placement, crops.offsets_mm)
    return distance_rows(
        "simulated",
        crops.name,
        crops.knees["kl"].to_numpy(),
        np.linalg.norm(apart, axis=2),
        doubted(placement),
    ), apart


def repeatability(crops: Crops, jobs: int = 1) -> tuple[list[dict[str, Any]], np.ndarray]:
    """(rows, (n, 16, 2) mm): every knee placed by the averages of one half of the subjects, and by those of
    the other."""
    first, second = (
        registration_table.place_by_templates(crops, makers, jobs)
        for makers, _ in network_check.halves(crops)
    )
    apart = apart_mm(first, second, crops.offsets_mm)
    return distance_rows(
        "repeatability",
        crops.name,
        crops.knees["kl"].to_numpy(),
        np.linalg.norm(apart, axis=2),
        doubted(first) | doubted(second),
    ), apart
