"""Whether a table that was made again says the same: number by number, within a tolerance that is stated."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

TIMES = re.compile(r"(^|_)(seconds?|minutes?|s|ms)(_|$)")
"""Columns of measured times and rates, which no two executions share: they are left out."""

COMMIT = re.compile(r"(^|\W)commit$")
"""Columns that say at which commit a table's runs were made: a certificate is for the commits that follow."""

MEASURES_TIME = ("10_speed",)
"""Notebooks whose tables are about time: they are executed, and have to end; their tables are left out."""


@dataclass(frozen=True)
class Tolerance:
    """Two numbers agree if they differ by no more than `absolute`, or by no more than `relative` of the
    recorded one."""

    absolute: float
    relative: float
    said: str

    def holds(self, recorded: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Which numbers agree; two that are missing do."""
        allowed = np.maximum(self.absolute, self.relative * np.abs(recorded)) * (
            1 + 1e-9
        )  # 1.205 - 1.2 > 0.005
        within = np.abs(now - recorded) <= allowed
        return within | (np.isnan(recorded) & np.isnan(now)) | (recorded == now)


MM = Tolerance(0.005, 0.0, "0.005 mm")
OTHER = Tolerance(0.001, 0.001, "0.001 or 0.1 %")
"""Half of the last digit that the paper gives of a distance; one of the last digit that tables here have."""

LENGTH = re.compile(r"(^|_)(mm|mre)(_|$)")


def tolerance(column: str) -> Tolerance:
    """What is allowed in a column of this name."""
    return MM if LENGTH.search(column) else OTHER


@dataclass(frozen=True)
class Compared:
    """A table beside the recorded one: how many `values` were compared, are `identical` to the last digit,
    lie `beyond` their tolerance, and were `left_out` (times and commits); and the greatest difference of two
    numbers."""

    notebook: str
    table: str
    values: int
    identical: int
    beyond: int
    left_out: int
    greatest_difference: float
    tolerance: str
    equal: bool
    note: str = ""


def compare(notebook: str, table: str, recorded: Path, now: Path) -> tuple[Compared, pd.DataFrame]:
    """A table and its differences beyond tolerance: notebook, table, row (from 0), column, recorded, now,
    tolerance.

    Words have to be the same; two that are missing are. A table with other rows or columns is not equal,
    whatever its numbers.
    """
    first, second = pd.read_csv(recorded), pd.read_csv(now)
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        return absent(notebook, table, f"{size(first)} recorded, {size(second)} now"), no_differences()
    columns = [name for name in first.columns if not TIMES.search(name) and not COMMIT.search(name)]
    beyond, identical, greatest = [no_differences()], 0, 0.0
    for column in columns:
        old, new = first[column], second[column]
        if all(pd.api.types.is_numeric_dtype(part) for part in (old, new)):
            a, b = (part.to_numpy(float) for part in (old, new))
            agrees, same = tolerance(column).holds(a, b), (a == b) | (np.isnan(a) & np.isnan(b))
            greatest = max(greatest, np.nanmax(np.abs(a - b)[~same], initial=0.0))
        else:
            missing = old.isna() & new.isna()
            agrees = same = ((old.astype(str) == new.astype(str)) | missing).to_numpy()
        identical += int(same.sum())
        rows = np.flatnonzero(~agrees)
        where = {"notebook": notebook, "table": table, "row": rows, "column": column}
        what = {"recorded": old.to_numpy()[rows], "now": new.to_numpy()[rows]}
        beyond.append(pd.DataFrame({**where, **what, "tolerance": tolerance(column).said}))
    listed = pd.concat([part.astype(object) for part in beyond], ignore_index=True)
    said = ", ".join(dict.fromkeys(tolerance(column).said for column in columns))
    left_out = (len(first.columns) - len(columns)) * len(first)
    counts = len(columns) * len(first), identical, len(listed), left_out
    return Compared(notebook, table, *counts, float(greatest), said, listed.empty), listed


def size(table: pd.DataFrame) -> str:
    return f"{len(table)} rows of {', '.join(table.columns)}"


def no_differences() -> pd.DataFrame:
    return pd.DataFrame(columns=["notebook", "table", "row", "column", "recorded", "now", "tolerance"])


def absent(notebook: str, table: str, note: str) -> Compared:
    """A table that cannot be compared, and so is not equal."""
    return Compared(notebook, table, 0, 0, 0, 0, np.nan, "", False, note)
