"""Agreement of two ways to measure the same knees: Bland and Altman's limits, and the intraclass correlation.

pingouin computes the correlation; it is imported when it is needed and comes with the extra [agreement].
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.errors import KneelError, find
from kneel_lib.reporting.statistics import mean_interval

LIMIT = 1.96
KEYS = ["subject_id", "side"]
LEAST_KNEES = 5


def agreement_table(
    ours: pd.DataFrame, theirs: pd.DataFrame, measurements: Collection[str] | None = None
) -> pd.DataFrame:
    """A row a measurement that both tables have: knees, bias (the mean of ours less theirs) with its 95 %
    interval over subjects, standard deviation, Bland and Altman's limits of agreement, and the intraclass
    correlation ICC(A,1) (two-way, absolute agreement, single readings) with its 95 % interval.

    ours, theirs: a row a knee with the columns subject_id, side and measurements in one unit. Raises
    `KneelError` where they have fewer than LEAST_KNEES knees in common.
    """
    pairs = paired(ours, theirs)
    names = [name for name in ours if f"{name}_theirs" in pairs and name not in KEYS]
    rows = []
    asked = (
        names
        if measurements is None
        else [find(name, names, "measurement of both tables") for name in measurements]
    )
    if not asked:
        raise KneelError("the tables have no measurement in common: columns of the same name are compared")
    for name in asked:
        both = pairs.dropna(subset=[name, f"{name}_theirs"])
        if len(both) < LEAST_KNEES:
            raise KneelError(f"only {len(both)} knees have {name} in both tables: at least {LEAST_KNEES}")
        rows.append({"measurement": name} | agreement(both[name], both[f"{name}_theirs"], both["subject_id"]))
    return pd.DataFrame(rows)


def paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """The knees of both tables, columns of the second with `_theirs` after their names."""
    first, second = (table.assign(subject_id=table["subject_id"].astype(str)) for table in (ours, theirs))
    renamed = second.rename(columns={name: f"{name}_theirs" for name in second if name not in KEYS})
    for table, what in ((first, "the first"), (second, "the second")):
        twice = table[table.duplicated(KEYS)]
        if len(twice):
            knee = dict(twice.iloc[0][KEYS])
            raise KneelError(f"{what} table has {knee} twice: keep one visit of each knee")
    pairs = first.merge(renamed, on=KEYS)
    if len(pairs) < LEAST_KNEES:
        raise KneelError(f"the tables have {len(pairs)} knees in common: at least {LEAST_KNEES} are needed")
    return pairs


def agreement(ours: pd.Series, theirs: pd.Series, subjects: pd.Series) -> dict[str, Any]:
    """The numbers of one measurement, of the same knees in the same order."""
    difference = (ours - theirs).to_numpy(float)
    bias, low, high = mean_interval(difference, subjects)
    spread = float(difference.std(ddof=1))
    limits = {"limit_low": bias - LIMIT * spread, "limit_high": bias + LIMIT * spread}
    numbers = {"knees": len(difference), "bias": bias, "bias_low": low, "bias_high": high, "sd": spread}
    return numbers | limits | intraclass(ours.to_numpy(float), theirs.to_numpy(float))


def intraclass(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """ICC(A,1) with its 95 % interval."""
    try:
        from pingouin import intraclass_corr
    except ImportError as error:
        raise KneelError(
            f'agreement needs pingouin ({error}): pip install "kneel-compendium[agreement]"'
        ) from None
    knees = np.tile(np.arange(len(ours)), 2)
    table = {"knee": knees, "reader": np.repeat(["ours", "theirs"], len(ours)), "value": np.r_[ours, theirs]}
    found = intraclass_corr(pd.DataFrame(table), targets="knee", raters="reader", ratings="value")
    row = found.set_index("Type").loc["ICC(A,1)"]
    low, high = row["CI95"]
    return {"icc": float(row["ICC"]), "icc_low": float(low), "icc_high": float(high)}
