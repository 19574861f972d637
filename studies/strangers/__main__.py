"""`python -m studies.strangers`: what `predict` does with distorted and spoilt files of knees that its
networks have not seen, and how far its trust can be trusted: results/strangers.csv, trust.csv,
trust_knees.csv, conformal.csv and measurement_intervals.csv."""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, paths
from kneel_lib.cli import carry_out
from kneel_lib.data.cohort import Cohort
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.runs import commit
from kneel_lib.files import write_text
from kneel_lib.pipeline import quality
from kneel_lib.pipeline.predict import Networks
from kneel_lib.pipeline.quality import TRUST
from kneel_lib.progress import Progress
from kneel_lib.reporting.selection import FINAL_LABELS
from kneel_lib.reporting.statistics import conformal_ellipses
from studies.strangers import intervals, trust
from studies.strangers.distortions import RIGHT, SPOILT
from studies.strangers.measure import Told, ask, labelled, summary
from studies.strangers.unseen import networks_asked, networks_unseen

SPLIT = "val"
BINS = {"five folds": 8, SPLIT: 4}
"""{which knees: into how many quantiles of trust they are sorted}."""


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.strangers", description=__doc__)
    parser.add_argument(
        "weights",
        type=Path,
        help="folder of landmark networks of the folds (pretrain --folds 0 1 2 3 4 --output FOLDER): each "
        "knee is asked of those that held it out",
    )
    parser.add_argument("--spacing", type=float, help="tell the spacing, in mm a pixel")
    parser.add_argument("--trust", action="store_true", help="calibrate the trust, in place of the table")
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    crops = load_cohort(FINAL_LABELS)
    networks = networks_unseen(options.weights, crops)
    unseen = np.array([bool(landmark) for landmark, _ in networks])
    if not options.trust:
        unseen &= (crops.knees["split"] == SPLIT).to_numpy()
    cohort, asked = crops.select(unseen), list(compress(networks, unseen))
    about = {
        "cohort": FINAL_LABELS if options.trust else f"{FINAL_LABELS}, {SPLIT}",
        "trained_on": f"{FINAL_LABELS}, without the knee's fold",
        "networks": networks_asked(options.weights),
        "commit": commit(),
    }
    if options.trust:
        calibrate(cohort, asked, about)
    else:
        made = labelled(distorted(cohort, asked, options.spacing), **about, spacing_mm=options.spacing)
        write(made, "strangers")
    return 0


def distorted(cohort: Cohort, networks: Sequence[Networks], spacing: float | None) -> pd.DataFrame:
    """A row a kind of file."""
    kinds = (*RIGHT, *SPOILT)
    progress, rows = Progress("distortions", len(kinds), unit="kind"), []
    for kind in kinds:
        told = ask(cohort, kind, networks, spacing)
        rows.append({"distortion": kind.name, "right": kind.right, **summary(told)})
        progress.advance(len(rows), kind.name)
    progress.close()
    return pd.DataFrame(rows)


def calibrate(cohort: Cohort, networks: Sequence[Networks], about: dict[str, str]) -> None:
    """Fit the trust on the knees as they are, and show how it does on subjects that it has not seen."""
    told = ask(cohort, RIGHT[0], networks, None)
    signs = trust.gather(told, cohort.knees)
    judged, found = trust.unseen(signs), [one for one in told if one.knee]
    ratios = trust.error_ratios(found, judged)
    regions = {"region_ratios": np.round(conformal_ellipses(ratios, trust.COVERAGE), 4).tolist()}
    write_text(TRUST, json.dumps({**trust.fit(signs), **regions, **about}, indent=1) + "\n")
    quality.read_trust.cache_clear()  # intervals of measurements are made of the new regions
    errors = intervals.errors(found, judged)
    factors = {"measurement_ratios": intervals.ratios(errors)}
    write_text(TRUST, json.dumps({**quality.read_trust(), **factors}, indent=1) + "\n")
    write(labelled(intervals.table(errors, list(signs["subject_id"])), **about), "measurement_intervals")
    write(labelled(conformal_table(found, ratios, signs, judged), **about), "conformal")
    write(labelled(reliability_table(signs, judged), **about), "trust")
    write(labelled(signs.assign(trust=judged), **about), "trust_knees")


def reliability_table(signs: pd.DataFrame, judged: np.ndarray) -> pd.DataFrame:
    """`trust.reliability` of all knees, and of those of the split val, which the search has not seen either:
    the column checked_on."""
    parts = []
    for name, bins in BINS.items():
        chosen = np.ones(len(signs), bool) if name != SPLIT else (signs["split"] == SPLIT).to_numpy()
        made = trust.reliability(signs[chosen], judged[chosen], bins)
        made.insert(0, "checked_on", name)
        parts.append(made)
    return pd.concat(parts, ignore_index=True)


def conformal_table(
    found: Sequence[Told], ratios: np.ndarray, knees: pd.DataFrame, judged: np.ndarray
) -> pd.DataFrame:
    """A row a landmark, of all grades, and a row a grade, of all landmarks: how often a region holds the
    truth for knees of subjects that gave it no part, and the half axes across and along the outline in mm in
    the median. knees: of each answer, columns subject_id and kl. judged: (knees,) trust in each."""
    deviations = np.stack([one.knee.deviation_px * one.mm_per_px for one in found if one.knee])
    sizes = quality.expected_size(deviations, 1 - judged)
    axes = sizes[..., None] * conformal_ellipses(ratios, trust.COVERAGE)
    inside = trust.covered(ratios, list(knees["subject_id"]))
    grades = knees["kl"].to_numpy()
    groups: list[tuple[Any, Any, Any]] = [
        (number, "all", np.s_[:, number]) for number in range(landmarks.COUNT)
    ]
    groups += [("all", grade, np.s_[grades == grade]) for grade in np.unique(grades)]
    rows = [
        {
            "landmark": landmark,
            "kl": grade,
            "knees": len(inside[chosen]),
            "coverage": inside[chosen].mean(),
            **dict(zip(("across_mm", "along_mm"), np.median(axes[chosen].reshape(-1, 2), axis=0))),
        }
        for landmark, grade, chosen in groups
    ]
    return pd.DataFrame(rows)


def write(table: pd.DataFrame, name: str) -> None:
    path = paths.RESULTS / f"{name}.csv"
    write_text(path, table.to_csv(index=False, float_format="%.4f"))
    print(f"{len(table)} rows in {paths.shown(path)}")


if __name__ == "__main__":
    sys.exit(main())
