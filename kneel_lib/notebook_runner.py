"""The notebook runner: checks parameters, then runs every notebook by papermill in a process of its own, past
failures.

`publish_notebooks` refreshes the outputs inside notebooks/ themselves and stamps each with the hash of its
code, so that a test can tell when code and outputs have parted.
"""

import ast
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment.parameters import SHOWN, check_name, check_value, unusual
from kneel_lib.figures.publishing import WITHOUT_PICTURES
from kneel_lib.figures.shown import fewer_colours
from kneel_lib.files import last_line, make_writable, write_whole

HASH_KEY = "kneel_code_sha256"
MOST = 4

PAPERMILL = """
from runpy import run_module
from kneel_lib.processes import end_with
end_with({parent})
run_module("papermill", run_name="__main__", alter_sys=True)
"""
"""`python -m papermill` that ends with us, `parent`, also where we are killed; a kernel ends with its own."""


def notebook_paths(names: Sequence[str] | None = None) -> list[Path]:
    """The study's notebooks in reading order, or those whose file names start with one of `names`."""
    found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    for name in names or ():
        if not any(path.name.startswith(name) for path in found):
            raise KneelError(
                f"no notebook starts with '{name}': there are {', '.join(path.stem for path in found)}"
            )
    return [path for path in found if not names or any(path.name.startswith(name) for name in names)]


def declared_parameters(path: Path) -> dict[str, Any]:
    """{name: default value} of a notebook's parameters cell (literals only)."""
    return {
        name: ast.literal_eval(entry["default"])
        for name, entry in papermill.inspect_notebook(str(path)).items()
    }


def check_parameters(given: dict[str, Any], notebooks: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """{notebook: the given parameters it declares}; `KneelError` for a name that none declares, a value of
    another type, or one that is not `ALLOWED`."""
    declared = {path: declared_parameters(path) for path in notebooks}
    known = {name for parameters in declared.values() for name in parameters}
    checked: dict[Path, dict[str, Any]] = {path: {} for path in declared}
    for name, value in given.items():
        check_name(name, known, "any of the notebooks")
        for path, parameters in declared.items():
            if name in parameters:
                default = parameters[name]
                meant = as_list(value) if isinstance(default, list) else value
                check_value(name, meant, type(default), f", like {default!r} in {path.name}")
                checked[path][name] = meant
    return checked


def as_list(value: Any) -> Any:
    """The list that the text "a,b" or "[a,b]" stands for, as a shell leaves it; other values as they are."""
    if not isinstance(value, str):
        return value
    return [part.strip().strip("'\"") for part in value.strip().strip("[]").split(",") if part.strip()]


def parse_parameter(text: str) -> tuple[str, Any]:
    """("name", value) of "name=value"; the value is a Python literal, else plain text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise KneelError(f"parameter '{text[:SHOWN]}': write name=value")
    try:
        return name, ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return name, value


@dataclass(frozen=True, eq=False)
class Execution:
    """A notebook to execute with some parameters; the executed copy goes to `folder`/notebooks.

    environment: variables that are its own, e.g. KNEEL_OUTPUT. said: what tells it from other executions of
    the same notebook, where there are some.
    """

    path: Path
    parameters: dict[str, Any]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    said: str = ""

    @property
    def target(self) -> Path:
        return self.folder / "notebooks" / self.path.name


def run_notebooks(
    given: dict[str, Any], output: Path | str, names: Sequence[str] | None = None, at_once: int = 1
) -> list[str]:
    """Run the notebooks with these parameters; executed copies go to `output`/notebooks, where a notebook has
    unusual parameters with these in the folder's name. Returns the names that failed."""
    chosen = check_parameters(given, notebook_paths(names))
    executions = [
        Execution(path, parameters, Path("-".join([str(output), *unusual(path.stem, parameters)])))
        for path, parameters in chosen.items()
    ]
    failed = execute(executions, at_once)
    print_summary(executions, failed)
    return [execution.path.name for execution in failed]


def execute(executions: Sequence[Execution], at_once: int = 1) -> dict[Execution, str]:
    """Execute notebooks, past failures; returns those that failed, with one line of what went wrong.

    at_once: how many run side by side, each with one thread (`threads.py`); the first one always runs alone,
    since it draws the cohort that all others read. What two of them need is made by one, and the other waits
    for it.
    """
    for execution in executions:
        make_writable(execution.target.parent)

    def execute_one(place: int) -> str:
        one = executions[place]
        print(f"[{place + 1}/{len(executions)}] {one.path.name}{one.said}", flush=True)
        started = time.monotonic()
        trouble = run_notebook(one, f"{one.path.name[:2]}: " if at_once > 1 else "")
        ended = f"{'failed' if trouble else 'done'} in {time.monotonic() - started:.0f} s"
        print(f"    {one.path.name}{one.said} {ended}", flush=True)
        return trouble

    with ThreadPoolExecutor(at_once) as pool:
        troubles = [execute_one(0), *pool.map(execute_one, range(1, len(executions)))]
    return {execution: trouble for execution, trouble in zip(executions, troubles) if trouble}


def side_by_side(engine: str | None) -> int:
    """How many notebooks to run at once unless the user says it: as many as there are cores, up to MOST;
    one, where a named engine spreads the runs itself."""
    return 1 if engine not in (None, "sequential") else min(os.cpu_count() or 1, MOST)


def run_notebook(execution: Execution, prefix: str = "") -> str:
    """Run one notebook in its own process; returns "" or the one line that says what went wrong.

    prefix: put before each line that it prints.
    """
    how = "--no-progress-bar --log-output --log-level WARNING --kernel python3 --stdout-file /dev/stdout"
    notebook = execution.path, execution.target
    papermill = PAPERMILL.format(parent=os.getpid())
    command: list[str | Path] = [sys.executable, "-c", papermill, *notebook, *how.split()]
    for name, value in execution.parameters.items():
        command += ["--parameters_yaml", json.dumps({name: value})]
    quiet = {"PYTHONWARNINGS": "ignore", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment = {**os.environ, **quiet, **execution.environment}
    with tempfile.TemporaryFile("w+") as errors:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(command, **streams, text=True, env=environment) as process:
            # passed on by hand: papermill would open a redirected output anew and cut off what stood in it
            for line in process.stdout or ():
                print(f"{prefix}{line}", end="", flush=True)
        errors.seek(0)
        return last_line(errors.read()) if process.returncode else ""


def print_summary(executions: Sequence[Execution], failed: Mapping[Execution, str]) -> None:
    """What was built, where, and what failed."""
    for folder in dict.fromkeys(execution.folder for execution in executions):
        print(f"\nbuilt under {folder}:")
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                print(f"    {file.relative_to(folder)}")
    print_failures(failed)
    print(f"{len(executions) - len(failed)} of {len(executions)} notebooks ran to their end", flush=True)


def print_failures(failed: Mapping[Execution, str]) -> None:
    for execution, trouble in failed.items():
        print(f"failed: {execution.path.name}{execution.said}: {trouble}")


def written_tables(folder: Path) -> dict[str, Path]:
    """{name below the folder, e.g. "tables/losses.csv": the csv file}, of all that notebooks wrote there."""
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.csv"))}


def code_hash(notebook: Any) -> str:
    """sha256 over the sources of the code cells, in order."""
    sources = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def publish_notebooks(names: Sequence[str] | None = None) -> None:
    """Execute the notebooks in place with their default parameters, without pictures of real knees;
    stamp them."""
    os.environ[WITHOUT_PICTURES] = "1"
    for path in notebook_paths(names):
        print(path.name, flush=True)
        notebook = nbformat.read(path, as_version=4)
        try:
            place = {"metadata": {"path": str(paths.NOTEBOOKS)}}
            NotebookClient(notebook, timeout=None, kernel_name="python3", resources=place).execute()
        except CellExecutionError as error:
            raise KneelError(f"{path.name} failed and was left as it was: {last_line(error)}") from None
        clean(notebook)
        notebook["metadata"][HASH_KEY] = code_hash(notebook)
        write_whole(path, lambda temporary: nbformat.write(notebook, temporary))


TEXTS = {"text", "text/plain", "text/html", "text/markdown"}
"""Keys of an output under which there are words."""


def forget_root(texts: dict[str, Any]) -> None:
    """Name files from the project's folder on, not from this machine's root, in an output or its data."""
    for kind in TEXTS & texts.keys():
        texts[kind] = texts[kind].replace(f"{paths.ROOT}/", "")


def clean(notebook: Any) -> None:
    """Drop what changes from run to run and says nothing: times of cells, counts of the kernel's version,
    warnings of libraries, and where the project lies on this machine.

    A table is kept as HTML, without the same once more as plain text, a drawing with a palette of colours.
    """
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                data = output.get("data", {})
                forget_root(output)
                forget_root(data)
                if "text/html" in data:
                    data.pop("text/plain", None)
                if "image/png" in data:
                    data["image/png"] = fewer_colours(data["image/png"])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    known = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook["metadata"] = nbformat.from_dict(known)
