"""The re-run certificate: notebooks are executed again, with nothing kept from before, and their tables are
held against recorded ones (docs/certificate.md).

`record` keeps the tables of an execution, a folder a notebook, with run.json: parameters, commit, machine.
`certify` executes with the recorded parameters and compares (`comparison`).
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment.runs import environment
from kneel_lib.files import write_text
from kneel_lib.notebook_runner import (
    Execution,
    check_parameters,
    declared_parameters,
    execute,
    notebook_paths,
    print_failures,
    written_tables,
)
from studies.certify.comparison import MEASURES_TIME, Compared, absent, compare, no_differences

SHOWN = 20
"""How many differences are printed; a file has all of them."""


def record(
    names: Sequence[str] | None, given: dict[str, Any], reference: Path, at_once: int = 1
) -> dict[Execution, str]:
    """Execute notebooks and keep their tables in `reference`; returns those that failed, whose record stays
    as it was.

    given: parameters in place of the declared ones, with profile and cohort.
    """
    made_by = environment()  # before the records, which are part of the tree, change
    declared = {path: declared_parameters(path) for path in notebook_paths(names)}
    chosen = check_parameters(given, declared)
    parameters = {path: {**declared[path], **chosen[path]} for path in declared}
    with tempfile.TemporaryDirectory() as folder:
        executions = anew(parameters, Path(folder))
        failed = execute(executions, at_once)
        for execution in executions:
            if execution not in failed:
                keep(execution, reference / execution.path.stem, made_by)
    print_failures(failed)
    done = len(executions) - len(failed)
    print(f"the tables of {done} notebooks are recorded in {paths.shown(reference)}", flush=True)
    return failed


def keep(execution: Execution, target: Path, made_by: dict[str, Any]) -> None:
    """Put the tables of an execution in the place of those recorded before. made_by: code and machine."""
    shutil.rmtree(target, ignore_errors=True)
    for name, file in tables_of(execution).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / name)
    made = {"parameters": execution.parameters, **made_by}
    write_text(target / "run.json", json.dumps(made, indent=1) + "\n")


def anew(parameters: Mapping[Path, dict[str, Any]], folder: Path) -> list[Execution]:
    """Executions below an empty folder that find no finished run, no cache and no real data: whatever their
    tables say is computed now, or drawn from the repository's own files."""
    own = {name: str(folder / name.lower()) for name in ("RUNS", "CACHE", "DATA")}
    kept = {f"KNEEL_{name}": place for name, place in own.items()} | {"KNEEL_ENGINE": "sequential"}
    return [
        Execution(path, chosen, folder / path.stem, kept | {"KNEEL_OUTPUT": str(folder / path.stem)})
        for path, chosen in parameters.items()
    ]


def tables_of(execution: Execution) -> dict[str, Path]:
    """{name, e.g. "figures/training.csv": file}; the folder of cohort and profile is left out of the name."""
    if execution.path.stem in MEASURES_TIME:
        return {}
    return {name.partition("/")[2]: file for name, file in written_tables(execution.folder).items()}


def certify(names: Sequence[str] | None, reference: Path, at_once: int = 1) -> list[Compared]:
    """Execute the recorded notebooks again and compare their tables; prints every difference beyond tolerance
    (the first `SHOWN`) and the summary.

    Where all recorded notebooks take part, the certificate is written beside the records: certificate.csv, a
    row a table. `KneelError` where nothing is recorded.
    """
    parameters = recorded_parameters(names, reference)
    with tempfile.TemporaryDirectory() as folder:
        executions = anew(parameters, Path(folder))
        failed = execute(executions, at_once)
        found = [
            compare_notebook(execution, failed.get(execution, ""), reference) for execution in executions
        ]
    compared = [table for tables, _ in found for table in tables]
    certificate = pd.DataFrame([asdict(table) for table in compared])
    differences = pd.concat([part for _, part in found], ignore_index=True)
    print_differences(compared, differences)
    whole = {path.parent.name for path in reference.glob("*/run.json")}
    if whole == {path.stem for path in parameters}:
        write_text(reference / "certificate.csv", certificate.to_csv(index=False, float_format="%.6g"))
        print(f"the certificate: {paths.shown(reference / 'certificate.csv')}")
    equal, identical = (certificate[name].sum() for name in ("equal", "identical"))
    print(f"{identical} of {certificate['values'].sum()} values are the same to the last digit")
    print(f"{len(executions) - len(failed)} of {len(executions)} notebooks ran to their end")
    print(f"{equal} of {len(compared)} tables equal within tolerance", flush=True)
    return compared


def recorded_parameters(names: Sequence[str] | None, reference: Path) -> dict[Path, dict[str, Any]]:
    """{notebook: the parameters of its recorded execution}, of those that are recorded."""
    found = {}
    for path in notebook_paths(names):
        file = reference / path.stem / "run.json"
        if file.is_file():
            parameters = json.loads(file.read_text("utf-8"))["parameters"]
            found[path] = check_parameters(parameters, [path])[path]
        elif names:
            raise KneelError(f"nothing is recorded of {path.name}: `make certify RECORD=1` does it")
    if not found:
        raise KneelError(f"nothing is recorded in {paths.shown(reference)}: `make certify RECORD=1` does it")
    return found


def compare_notebook(
    execution: Execution, trouble: str, reference: Path
) -> tuple[list[Compared], pd.DataFrame]:
    """Each table of one notebook beside its record; all are unequal where the notebook failed."""
    notebook, now = execution.path.stem, tables_of(execution)
    before = {
        file.relative_to(reference / notebook).as_posix(): file
        for file in (reference / notebook).rglob("*.csv")
    }
    tables, differences = [], [no_differences()]
    for name in sorted(before.keys() | now.keys()):
        if trouble or name not in before or name not in now:
            gone = "not written now" if name in before else "not recorded"
            tables.append(absent(notebook, name, trouble or gone))
        else:
            table, beyond = compare(notebook, name, before[name], now[name])
            tables.append(table)
            differences.append(beyond)
    if trouble and not tables:
        tables.append(absent(notebook, "", trouble))
    return tables, pd.concat(differences, ignore_index=True)


def print_differences(compared: Sequence[Compared], differences: pd.DataFrame) -> None:
    for table in compared:
        if table.note:
            print(f"{table.notebook}, {table.table}: {table.note}")
    for one in differences.head(SHOWN).itertuples():
        place = f"{one.notebook}, {one.table}, row {one.row}, {one.column}"
        print(f"{place}: {one.recorded} recorded, {one.now} now (tolerance {one.tolerance})")
    if len(differences) > SHOWN:
        file = paths.cache() / "certificate_differences.csv"
        write_text(file, differences.to_csv(index=False))
        print(f"and {len(differences) - SHOWN} more: {paths.shown(file)}")
