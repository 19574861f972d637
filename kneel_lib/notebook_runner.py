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
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from kneel_lib import paths
from kneel_lib.data.folds import FOLDS
from kneel_lib.data.tables import said
from kneel_lib.errors import KneelError
from kneel_lib.experiment.cohorts import NAMES
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.rows import DATASETS, SETTINGS
from kneel_lib.experiment.spec import MOST_SEED
from kneel_lib.figures.publishing import WITHOUT_PICTURES
from kneel_lib.figures.shown import fewer_colours
from kneel_lib.files import last_line, make_writable, write_whole

HASH_KEY = "kneel_code_sha256"
MOST = 4

PAPERMILL = """
from runpy import run_module
from kneel_lib.processes import end_with_parent
end_with_parent()
run_module("papermill", run_name="__main__", alter_sys=True)
"""
"""`python -m papermill` that ends with us, also where we are killed; a kernel ends with its papermill."""


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


@dataclass(frozen=True)
class Allowed:
    """What a notebook's parameter may be: said to who gives another value, and tested."""

    said: str
    holds: Callable[[Any], bool]


def from_to(low: int, high: int) -> Allowed:
    """A whole number between two, both allowed."""
    return Allowed(f"a whole number from {low} to {high}", lambda value: low <= value <= high)


def name_among(names: Collection[str]) -> Allowed:
    return Allowed(f"one of {', '.join(names)}", lambda value: value in names)


def list_of(said: str, holds: Callable[[Any], bool]) -> Allowed:
    """A list of different entries, one at least."""
    return Allowed(
        f"a list of one or more different entries, each {said}",
        lambda values: (
            len(values) > 0 and all(map(holds, values)) and all(values.count(value) == 1 for value in values)
        ),
    )


def names_among(names: Collection[str]) -> Allowed:
    return list_of(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


ALLOWED = {
    "profile": name_among(PROFILES),
    "cohort": name_among(("auto", *NAMES)),
    "seed": from_to(0, MOST_SEED),
    "fold": from_to(0, FOLDS - 1),
    "models": from_to(1, FOLDS),
    "rounds": from_to(1, 1000),
    "steps": from_to(1, 100_000),
    "settings": names_among(SETTINGS),
    "datasets": names_among(DATASETS),
    "counts": list_of(
        "a whole number of labelled knees from 2 to 100000",
        lambda value: type(value) is int and 2 <= value <= 100_000,
    ),
}
"""{parameter of the notebooks: its values}; others may have any of their default's type."""


def check_parameters(given: dict[str, Any], notebooks: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """{notebook: the given parameters it declares}; `KneelError` for a name that none declares, a value of
    another type, or one that is not `ALLOWED`."""
    declared = {path: declared_parameters(path) for path in notebooks}
    known = sorted({name for parameters in declared.values() for name in parameters})
    for name, value in given.items():
        if name not in known:
            raise KneelError(f"no notebook has a parameter '{name[:SHOWN]}': there are {', '.join(known)}")
        for path, parameters in declared.items():
            if name in parameters and not same_type(value, parameters[name]):
                raise KneelError(
                    f"parameter {name} of {path.name} must be of type {type(parameters[name]).__name__}, "
                    f"like {parameters[name]!r}: got {shown(value)}"
                )
        if name in ALLOWED and not ALLOWED[name].holds(value):
            raise KneelError(f"parameter {name}: {shown(value)}, allowed is {ALLOWED[name].said}")
    return {
        path: {name: given[name] for name in parameters if name in given}
        for path, parameters in declared.items()
    }


def shown(value: object) -> str:
    """A parameter's value as a message shows it: as Python writes it, unless it is long."""
    short = not isinstance(value, int) or abs(value) < 10**SHOWN
    return repr(value) if short and len(repr(value)) <= SHOWN else said(value)


SHOWN = 60


def same_type(value: object, default: object) -> bool:
    """Whether a parameter may take this value: the default's type, or a whole number for a float."""
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def parse_parameter(text: str) -> tuple[str, Any]:
    """("name", value) of "name=value"; the value is a Python literal, else plain text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise KneelError(f"parameter '{text[:SHOWN]}': write name=value")
    try:
        return name, ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return name, value


def run_notebooks(
    given: dict[str, Any], output: Path | str, names: Sequence[str] | None = None, at_once: int = 1
) -> list[str]:
    """Run the notebooks with these parameters; executed copies go to `output`/notebooks. Returns the names
    that failed.

    at_once: how many run side by side, each with one thread (`threads.py`); the first one always runs alone,
    since it draws the cohort that all others read. What two of them need is made by one, and the other waits
    for it.
    """
    notebooks = notebook_paths(names)
    chosen = check_parameters(given, notebooks)
    folder = Path(output) / "notebooks"
    make_writable(folder)

    def run_one(place: int) -> str | None:
        path = notebooks[place]
        print(f"[{place + 1}/{len(notebooks)}] {path.name}", flush=True)
        started = time.monotonic()
        prefix = f"{path.name[:2]}: " if at_once > 1 else ""
        trouble = run_notebook(path, folder / path.name, chosen[path], prefix)
        ended = f"{'failed' if trouble else 'done'} in {time.monotonic() - started:.0f} s"
        print(f"    {path.name} {ended}", flush=True)
        return trouble

    with ThreadPoolExecutor(at_once) as pool:
        troubles = [run_one(0), *pool.map(run_one, range(1, len(notebooks)))]
    failed = {path.name: trouble for path, trouble in zip(notebooks, troubles) if trouble}
    print_summary(notebooks, failed, output)
    return list(failed)


def side_by_side(engine: str | None) -> int:
    """How many notebooks to run at once unless the user says it: as many as there are cores, up to MOST;
    one, where a named engine spreads the runs itself."""
    return 1 if engine not in (None, "sequential") else min(os.cpu_count() or 1, MOST)


def run_notebook(path: Path, target: Path, parameters: dict[str, Any], prefix: str = "") -> str:
    """Run one notebook in its own process; returns "" or the one line that says what went wrong.

    prefix: put before each line that it prints.
    """
    how = "--no-progress-bar --log-output --log-level WARNING --kernel python3 --stdout-file /dev/stdout"
    command: list[str | Path] = [sys.executable, "-c", PAPERMILL, path, target, *how.split()]
    for name, value in parameters.items():
        command += ["--parameters_yaml", json.dumps({name: value})]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    with tempfile.TemporaryFile("w+") as errors:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(command, **streams, text=True, env=environment) as process:
            # passed on by hand: papermill would open a redirected output anew and cut off what stood in it
            for line in process.stdout or ():
                print(f"{prefix}{line}", end="", flush=True)
        errors.seek(0)
        return last_line(errors.read()) if process.returncode else ""


def print_summary(notebooks: Any, failed: Any, output: Any) -> None:
    """What was built, where, and what failed."""
    print(f"\nbuilt under {output}:")
    for file in sorted(Path(output).rglob("*")):
        if file.is_file():
            print(f"    {file.relative_to(output)}")
    for path in notebooks:
        if path.name in failed:
            print(f"failed: {path.name}: {failed[path.name]}")
    print(f"{len(notebooks) - len(failed)} of {len(notebooks)} notebooks ran to their end", flush=True)


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


def clean(notebook: Any) -> None:
    """Drop what changes from run to run and says nothing: times of cells, counts of the kernel's version,
    warnings of libraries with the paths of this machine.

    A table is kept as HTML, without the same once more as plain text, a drawing with a palette of colours.
    """
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                data = output.get("data", {})
                if "text/html" in data:
                    data.pop("text/plain", None)
                if "image/png" in data:
                    data["image/png"] = fewer_colours(data["image/png"])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    known = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook["metadata"] = nbformat.from_dict(known)
