"""The worst real knees by number: how far recorded answers are off, and what was doubted. No picture, and no
subject's number."""

import hashlib
from collections import Counter

import numpy as np
import pandas as pd

from kneel_lib import paths
from kneel_lib.data.cohort import knee_name
from kneel_lib.experiment.store import Run, errors_of, recorded_in
from kneel_lib.reporting import selection

COHORT, PROFILE, ROI = selection.FINAL_LABELS, "native", "image"
NETWORK, RIVAL = "best_normalised", "rfrv_clm"
SHOWN = 12


def named(name: str) -> str:
    """A knee's name in these tables: the first digits of the sha256 of its subject and side."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def knee_errors(runs: list[Run]) -> pd.DataFrame:
    """Of knees that were held out, by name: kl, mean and greatest error in mm, and of which landmark."""
    said = selection.pooled_predictions(selection.whole_seeds(selection.cross_validated(runs)), ROI)
    errors = errors_of(said)
    table = pd.DataFrame(
        {
            "kl": said["kl"].to_numpy(),
            "mean_mm": errors.mean(axis=1),
            "greatest_mm": errors.max(axis=1),
            "landmark": errors.argmax(axis=1),
        }
    )
    return table.set_index(pd.Index([named(knee_name(row)) for _, row in said.iterrows()], name="knee"))


def worst_table() -> pd.DataFrame:
    """The SHOWN knees of which the network out of fold is farthest off, with the forests' error, and the
    trust where the knee is one of those on which the trust was judged."""
    folder = paths.RESULTS / "runs" / COHORT / PROFILE
    network, rival = (
        knee_errors(list(recorded_in(folder / f"{name}.parquet").values())) for name in (NETWORK, RIVAL)
    )
    judged = pd.read_csv(paths.RESULTS / "trust_knees.csv")
    judged.index = pd.Index([named(knee_name(row)) for _, row in judged.iterrows()])
    worst = network.nlargest(SHOWN, "mean_mm")
    worst["rank_percent"] = 100 * np.arange(1, len(worst) + 1) / len(network)
    worst["forest_mm"] = rival["mean_mm"].reindex(worst.index)
    return worst.join(judged["trust"]).reset_index()


def unsure_table() -> pd.DataFrame:
    """Of the knees on which the trust was judged, by networks that had not seen them, those that are farthest
    off: mean error, whether all landmarks are within 3 mm, and the trust said."""
    judged = pd.read_csv(paths.RESULTS / "trust_knees.csv")
    judged.insert(0, "knee", [named(knee_name(row)) for _, row in judged.iterrows()])
    columns = ["knee", "mre_mm", "near", "trust", "deviation_mm", "greatest_spread_mm", "log_shape_distance"]
    return judged.nlargest(SHOWN // 2, "mre_mm")[columns].reset_index(drop=True)


def doubt_table(knees: pd.DataFrame) -> pd.DataFrame:
    """Why predict doubts: a row a reason, numbers in it left out, and of how many knees by grade. knees:
    validity_knees.csv."""
    counts: dict[str, Counter[int]] = {}
    for kl, doubts in zip(knees["kl"], knees["doubts"].fillna("")):
        for reason in dict.fromkeys(plain(doubt) for doubt in doubts.split("; ") if doubt):
            counts.setdefault(reason, Counter())[kl] += 1
    rows = [
        {"doubt": reason, "knees": sum(by.values())} | {f"KL {kl}": by[kl] for kl in range(5)}
        for reason, by in counts.items()
    ]
    columns = ["doubt", "knees", *(f"KL {kl}" for kl in range(5))]
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["knees", "doubt"], ascending=[False, True], ignore_index=True
    )


OF_A_KNEE = (
    "views disagree",
    "no knee has this shape",
    "the networks hesitate",
    "landmarks are likely to be off",
    "a plateau of",
    "the picture is not what knees look like",
)
"""How doubts begin that hold a number."""


def plain(doubt: str) -> str:
    """A doubt without what differs from knee to knee: "views disagree by 3.4 mm at landmark 12" -> "views
    disagree"."""
    for start in OF_A_KNEE:
        if doubt.startswith(start):
            return start.replace("a plateau of", "a plateau that no adult has")
    return "no knee found" if "shows no knee" in doubt else doubt
