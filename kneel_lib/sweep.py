"""A grid of one notebook or more over seeds and folds, by papermill, and every number of its tables in one.

Each point of the grid writes to a folder of its own (`experiment/parameters.py`), so none overwrites another,
and one that fails costs no other.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import paths
from kneel_lib.experiment.parameters import unusual
from kneel_lib.notebook_runner import (
    Execution,
    check_parameters,
    execute,
    notebook_paths,
    print_failures,
    written_tables,
)
from kneel_lib.reporting.export import write_table

SPREAD = ["notebook", "table", "row", "entry", "column"]


def sweep(
    names: Sequence[str] | None,
    grid: dict[str, Sequence[int]],
    given: dict[str, Any],
    output: Path,
    at_once: int = 1,
) -> int:
    """Execute the grid, write `output`/sweep.csv (a row a number) and spread.csv (its mean and spread over
    the grid); returns how many of its points failed.

    grid: {parameter: its values}, of which a notebook gets those that it declares. given: parameters that all
    share, with profile and cohort.
    """
    executions = points(names, grid, given, output)
    failed = execute(executions, at_once)
    done = [execution for execution in executions if execution not in failed]
    parts = [numbers(execution, list(grid)) for execution in done]
    gathered = pd.concat(parts) if parts else pd.DataFrame(columns=[*SPREAD, *grid, "value"])
    write_table(gathered, output / "sweep.csv")
    write_table(spread(gathered), output / "spread.csv")
    print_failures(failed)
    print(f"{len(done)} of {len(executions)} points of the grid ran to their end")
    print(f"{len(gathered)} numbers: {paths.shown(output / 'sweep.csv')}")
    print(f"their mean and spread: {paths.shown(output / 'spread.csv')}", flush=True)
    return len(failed)


def points(
    names: Sequence[str] | None, grid: dict[str, Sequence[int]], given: dict[str, Any], output: Path
) -> list[Execution]:
    """An execution for each notebook and each point of the grid that differs for it."""
    notebooks, found = notebook_paths(names), {}
    for values in product(*grid.values()):
        point = dict(zip(grid, values))
        for path, parameters in check_parameters({**given, **point}, notebooks).items():
            root = output / path.stem
            folder = paths.output_name(given["cohort"], given["profile"], *unusual(path.stem, parameters))
            said = "".join(f", {name} {point[name]}" for name in grid if name in parameters)
            elsewhere = {"KNEEL_OUTPUT": str(root)}
            found[path, folder] = Execution(path, parameters, root / folder, elsewhere, said)
    return sorted(found.values(), key=lambda execution: execution.path)


def numbers(execution: Execution, varied: list[str]) -> pd.DataFrame:
    """Every number of the tables that an execution wrote, a row each.

    row: its place in its table, from 0. entry: what the row says in words. The `varied` parameters have a
    column each, empty where the notebook has none of this name.
    """
    parts = []
    for name, file in written_tables(execution.folder).items():
        table = pd.read_csv(file)
        measured = table.select_dtypes("number")
        words = table.drop(columns=measured.columns).astype(str)
        entry = words.agg(", ".join, axis=1) if len(words.columns) and len(words) else ""
        long = measured.assign(entry=entry, row=np.arange(len(table)))
        long = long.melt(["entry", "row"], var_name="column", value_name="value")
        parts.append(long.assign(table=name))
    found = pd.concat(parts) if parts else pd.DataFrame(columns=[*SPREAD, "value"])
    point = {name: execution.parameters.get(name) for name in varied}
    return found.assign(notebook=execution.path.stem, **point)[[*SPREAD, *varied, "value"]]


def spread(gathered: pd.DataFrame) -> pd.DataFrame:
    """Over the points of the grid: how many have a number, its mean, standard deviation and extremes."""
    over = gathered.groupby(SPREAD, sort=False)["value"]
    return over.agg(points="count", mean="mean", sd="std", least="min", greatest="max").reset_index()
