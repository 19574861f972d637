"""What errors of the registration cost: the error budget of the labels.

`record` writes results/registration.csv (distances between placements, `agreement`),
results/registration_budget.csv (what an error is made of) and results/registration_pck.csv (PCK curves with
the registration's error added once more, and of that error alone).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import metrics, paths
from kneel_lib.data.crops import ROI_SPACING_MM
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.rows import BEST
from kneel_lib.experiment.store import Run, points_of, recorded_runs
from kneel_lib.reporting import selection
from kneel_lib.reporting.export import write_table
from studies.registration.agreement import crops_of, ensemble, known_truth, repeatability
from studies.registration.congealing import apart_mm
from studies.registration.simulated_crops import cut_crops

RADII_MM = np.arange(0.25, 3.01, 0.25)
DRAWS = 20

Alike = tuple[str, int | str, int | None, str, str]
"""(profile, held out, labels, start, fingerprint) of runs that differ by the seed alone."""


def error_vectors(predictions: pd.DataFrame) -> np.ndarray:
    """(n, 16, 2) mm from the label to the prediction, of recorded predictions of the real crops (a row a
    knee)."""
    cohort = load_cohort(selection.STUDY)
    place = {(row.subject_id, row.side): number for number, row in enumerate(cohort.knees.itertuples())}
    rows = [place[key] for key in zip(predictions["subject_id"], predictions["side"])]
    return points_of(predictions) - cohort.landmarks_mm[rows]


def pck_curves(errors: np.ndarray, registration_mm: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """A row a radius: PCK (bone means) of the errors (n, 16, 2), of these with the registration's error
    (m, 16, 2) of a knee drawn at random added once more, and of that error and the rounding to whole
    pixels alone: what a network without an error of its own would reach on these labels."""
    random = np.random.default_rng(seed)

    def lengths(vectors: np.ndarray) -> np.ndarray:
        return np.linalg.norm(vectors, axis=2)

    drawn = [registration_mm[random.integers(len(registration_mm), size=len(errors))] for _ in range(DRAWS)]
    rounding = [random.uniform(-ROI_SPACING_MM / 2, ROI_SPACING_MM / 2, errors.shape) for _ in range(DRAWS)]
    lines = {
        "recorded": lengths(errors),
        "registration error added once more": np.concatenate([lengths(errors + more) for more in drawn]),
        "registration and rounding alone": np.concatenate(
            [lengths(more + whole) for more, whole in zip(drawn, rounding)]
        ),
    }
    return pd.DataFrame(
        [
            {"line": line, "radius_mm": radius, "pck": metrics.pck_paper(values, radius)[0]}
            for line, values in lines.items()
            for radius in RADII_MM
        ]
    )


def spread_row(source: str, measured: str, cohort: str, vectors: np.ndarray, **more: str) -> dict[str, Any]:
    """A row of the budget from error vectors (n, 16, 2) in mm:
    median and mean length, and root mean square."""
    length = np.linalg.norm(vectors, axis=2)
    return {
        "source": source,
        "measured_by": measured,
        "cohort": cohort,
        "median_mm": np.median(length),
        "mean_mm": length.mean(),
        "rms_mm": np.sqrt((length**2).mean()),
        "knees": len(length),
        **more,
    }


def seed_pairs(recorded: list[Run]) -> dict[Alike, tuple[Run, Run]]:
    """Pairs of recorded runs of `best` on the real crops that differ by the seed alone."""
    groups: dict[Alike, dict[int, Run]] = {}
    for run in recorded:
        spec = run.spec
        if spec.cohort == selection.STUDY and spec.setting.name == BEST.name and spec.kind == "fold":
            start = "scratch" if spec.start is None else spec.start.cohort
            key = spec.profile.name, spec.held_out, spec.labels, start, spec.fingerprint
            groups.setdefault(key, {})[spec.seed] = run
    return {key: (group[0], group[1]) for key, group in groups.items() if {0, 1} <= set(group)}


def network_rows(recorded: list[Run]) -> list[dict[str, Any]]:
    """Rows of the budget for the network: seed to seed where all labels or most are used, and from fold to
    fold."""
    rows = []
    pairs = seed_pairs(recorded)
    if pairs:
        key = max(pairs, key=lambda key: (np.inf if key[2] is None else key[2], key[3] == "scratch"))
        first, second = (run.chosen() for run in pairs[key])
        rows.append(
            spread_row(
                "network, one seed",
                f"two seeds, fold {key[1]}, labels: {key[2] or 'all'}, start: {key[3]}; difference / sqrt 2",
                selection.STUDY,
                (points_of(first) - points_of(second)) / np.sqrt(2),
                profile=key[0],
            )
        )
    for profile in ("study", "long", "native"):
        group = [
            run
            for run in recorded
            if run.spec.cohort == selection.STUDY
            and run.spec.setting.name == BEST.name
            and run.spec.profile.name == profile
            and run.spec.kind == "fold"
            and run.spec.seed == 0
            and run.spec.labels is None
            and run.spec.start is None
        ]
        by_fold = [run.errors().mean() for run in group]
        if len(by_fold) == 5:
            rows.append(
                {
                    "source": "fold to fold",
                    "measured_by": "standard deviation of the five folds' MRE",
                    "cohort": selection.STUDY,
                    "rms_mm": np.std(by_fold, ddof=1),
                    "knees": sum(len(run.errors()) for run in group),
                    "profile": profile,
                }
            )
    return rows


def budget(
    recorded: list[Run],
    simulated_mm: np.ndarray,
    halves_mm: np.ndarray,
    placed_mm: np.ndarray,
    errors: np.ndarray,
) -> pd.DataFrame:
    """results/registration_budget.csv: what an error is made of, a row a source.
    All vectors (n, 16, 2) in mm."""
    random = np.random.default_rng(0)
    rounding = random.uniform(-ROI_SPACING_MM / 2, ROI_SPACING_MM / 2, errors.shape)
    rows = [
        spread_row("whole pixels", "published points are whole pixels of 0.3 mm", "none: computed", rounding),
        spread_row("registration", "templates against the known truth", "simulated", simulated_mm),
        spread_row(
            "registration, averages alone",
            "two halves of the subjects as makers; difference / sqrt 2",
            selection.STUDY,
            halves_mm / np.sqrt(2),
        ),
        spread_row(
            "registration",
            "table on file against the one made here; difference / sqrt 2",
            selection.STUDY,
            placed_mm / np.sqrt(2),
        ),
        *network_rows(recorded),
        spread_row(
            "all together",
            "recorded out-of-fold errors of best, 5 folds, seed 0",
            selection.STUDY,
            errors,
            profile="native",
        ),
    ]
    return pd.DataFrame(
        rows,
        columns=["source", "measured_by", "cohort", "profile", "median_mm", "mean_mm", "rms_mm", "knees"],
    )


def record(jobs: int = 1, folder: Path = paths.RESULTS) -> list[Path]:
    """Measure distances and the error budget on the real crops and on the full simulated cohort, and write
    their tables; returns the files."""
    cohort, recorded = load_cohort(selection.STUDY), recorded_runs()
    crops = crops_of(cohort)
    agreed, placement = ensemble(crops, jobs)
    truth_rows, simulated_mm = known_truth(cut_crops(load_cohort("simulated")), jobs)
    repeated, halves_mm = repeatability(crops, jobs)
    best = [
        run
        for run in recorded
        if run.spec.cohort == selection.STUDY
        and run.spec.setting.name == BEST.name
        and run.spec.profile.name == "native"
        and run.spec.kind == "fold"
        and run.spec.seed == 0
    ]
    errors = error_vectors(selection.pooled_predictions(best))
    placed_mm = apart_mm(crops.truth, placement, crops.offsets_mm)
    return write(
        {
            "registration.csv": pd.DataFrame(agreed + truth_rows + repeated),
            "registration_budget.csv": budget(recorded, simulated_mm, halves_mm, placed_mm, errors),
            "registration_pck.csv": pck_curves(errors, placed_mm / np.sqrt(2)).assign(
                cohort=selection.STUDY, profile="native", folds=5, seed=0, knees=len(errors)
            ),
        },
        folder,
    )


def write(written: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    for name, table in written.items():
        write_table(table, folder / name)
    return [folder / name for name in written]
