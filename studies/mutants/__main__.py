"""How many small changes of the code the quick tests notice, on a sample: mutation testing with cosmic-ray.

    python -m studies.mutants [--sample 72] [--seed 0] [--modules losses metrics ...]
    [--table results/mutants.csv] [--resume]

Every module of MODULES is changed in one place at a time (another operator, number or comparison, a condition
turned round, a decorator left out), in a copy of the checkout, and its own test files are run on that, but
for those that train. A change that no test notices has survived. All of them would take a day, so a sample is
drawn by the seed, as many from each module; what is reported is the share of the sample. Each change is a row
of results/mutants.csv: module, line, the change, noticed or not. `--resume` goes on where a sample stopped.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from cosmic_ray import commands
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem

from kneel_lib.cli import carry_out
from kneel_lib.errors import KneelError, find
from kneel_lib.files import write_text
from kneel_lib.paths import RESULTS, ROOT
from kneel_lib.progress import Progress

MODULES = {
    "losses": ("network/losses.py", "network/test_losses.py", "network/test_loss_properties.py"),
    "metrics": ("metrics.py", "test_metrics.py", "test_metric_properties.py"),
    "statistics": ("reporting/statistics.py", "test_metrics.py", "test_metric_properties.py"),
    "rois": ("data/rois.py", "data/test_rois.py", "data/test_data.py", "data/test_geometry_properties.py"),
    "augmentation": ("network/augmentation.py", "network/test_augmentation.py"),
    "training": ("network/training.py", "network/test_training_steps.py"),
}
"""{name: (module below kneel_lib, its test files below tests)}."""

COPIED = ("kneel_lib", "studies", "tests", "data", "pyproject.toml")
TOO_EASY = ("Shift", "_Bit")
"""Changes from or to an operator on bits are left out: no number here knows one, so any test would notice."""

LONGEST_SECONDS = 300.0
COLUMNS = ["module", "line", "operator", "occurrence", "noticed", "change"]
TABLE = RESULTS / "mutants.csv"


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=72)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", nargs="+", choices=list(MODULES), default=list(MODULES))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--resume", action="store_true")
    return carry_out(parser.parse_args(arguments), study)


def study(chosen: argparse.Namespace) -> int:
    path = chosen.table.absolute()
    with tempfile.TemporaryDirectory(prefix="kneel-mutants-") as folder:
        copy_checkout(Path(folder))
        os.chdir(folder)
        os.environ["PYTHONPATH"] = folder  # so that the tests import the copy
        table = try_sample(chosen.modules, chosen.sample, chosen.seed, path, chosen.resume)
    print(shares(table).to_string(index=False))
    return 0


def copy_checkout(folder: Path) -> None:
    """What the tests need, where it can be changed."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "downloads"))
        else:
            shutil.copy(source, folder / name)


def try_sample(modules: list[str], count: int, seed: int, path: Path, resume: bool) -> pd.DataFrame:
    """The table of a sample; written anew after every change, so that a stopped one can go on."""
    draw, each = random.Random(seed), count // len(modules)
    sample = [one for name in modules for one in draw.sample(changes_of(name), each)]
    table = pd.read_csv(path) if resume and path.is_file() else pd.DataFrame(columns=COLUMNS)
    known = set(zip(table["module"], table["operator"], table["occurrence"]))
    for name in sorted({name for name, _ in sample}):
        check_unchanged(name)
    progress = Progress("mutants", len(sample), unit="mutant")
    for number, (name, item) in enumerate(sample, start=1):
        change = item.mutations[0]
        if (name, change.operator_name, change.occurrence) not in known:
            table = pd.concat([table, pd.DataFrame([row_of(name, item)])], ignore_index=True)
            write_text(path, table.to_csv(index=False))
        progress.advance(number, f"{table['noticed'].mean():.0%} noticed")
    progress.close()
    return table


def changes_of(name: str) -> list[tuple[str, WorkItem]]:
    """[(module, change)] of every change that cosmic-ray knows for a module, in a fixed order."""
    path = Path("kneel_lib", find(name, MODULES, "module")[0])
    with use_db(":memory:", WorkDB.Mode.create) as database:
        commands.init([path], database, {})
        items = list(database.work_items)
    kept = [one for one in items if not any(part in one.mutations[0].operator_name for part in TOO_EASY)]
    return [(name, item) for item in sorted(kept, key=place)]


def place(item: WorkItem) -> tuple[Any, ...]:
    change = item.mutations[0]
    return change.start_pos, change.operator_name, change.occurrence


def command(name: str) -> str:
    """The tests of a module, stopped at the first that fails."""
    files = " ".join(f"tests/{file}" for file in MODULES[name][1:])
    return f'{sys.executable} -m pytest -n 0 -x -q -p no:cacheprovider -m "not trains" {files}'


def check_unchanged(name: str) -> None:
    """Raise `KneelError` unless the tests pass without a change: else every change would seem noticed."""
    done = subprocess.run(command(name), shell=True, capture_output=True, text=True)
    if done.returncode:
        raise KneelError(f"the tests of {name} fail without a change: {done.stdout.strip().splitlines()[-1]}")


def row_of(name: str, item: WorkItem) -> dict[str, Any]:
    """The row of one change, after its tests were run."""
    change = item.mutations[0]
    result = mutate_and_test(item.mutations, command(name), LONGEST_SECONDS)
    if result.worker_outcome != WorkerOutcome.NORMAL:
        raise KneelError(f"{name}: the tests of a change did not run ({(result.output or '')[-200:]})")
    lines = (result.diff or "").splitlines()
    pair = [line[1:].strip() for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return {
        "module": name,
        "line": change.start_pos[0],
        "operator": change.operator_name,
        "occurrence": change.occurrence,
        "noticed": result.test_outcome != TestOutcome.SURVIVED,
        "change": " -> ".join(pair),
    }


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """(module, changes, noticed, percent) of each module and of all together."""
    groups = [*table.groupby("module"), ("all", table)]
    rows = [(name, len(rows), int(rows["noticed"].sum())) for name, rows in groups]
    made = pd.DataFrame(rows, columns=["module", "changes", "noticed"])
    return made.assign(percent=(100 * made["noticed"] / made["changes"]).round(1))


if __name__ == "__main__":
    sys.exit(main())
