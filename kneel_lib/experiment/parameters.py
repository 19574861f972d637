"""What the parameters of the notebooks may be, and where a notebook with other ones writes.

A setup cell calls `check`, whatever has set the parameters: the reader, papermill, or `notebook_runner`,
which asks the same before it starts anything.
"""

import ast
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from kneel_lib import paths
from kneel_lib.data.folds import FOLDS
from kneel_lib.data.tables import said
from kneel_lib.errors import KneelError
from kneel_lib.experiment.cohorts import NAMES
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.rows import DATASETS, SETTINGS
from kneel_lib.experiment.spec import MOST_SEED

SHOWN = 60
"""The most letters of a value in a message, and of one in the name of a folder."""


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
    "settings": names_among(SETTINGS),
    "models": from_to(1, FOLDS),
    "datasets": names_among(DATASETS),
    "counts": list_of(
        "a whole number of labelled knees from 2 to 100000",
        lambda value: type(value) is int and 2 <= value <= 100_000,
    ),
    "rounds": from_to(1, 1000),
    "steps": from_to(1, 100_000),
}
"""{parameter of the notebooks: its values}, in the order in which a folder's name has them; others may have
any of their default's type."""

USUAL = {
    "seed": 0,
    "fold": 0,
    "models": 1,
    "datasets": ["A", "B", "val"],
    "counts": [25],
    "rounds": 1,
    "steps": 2,
}
USUAL_SETTINGS = {
    "04_losses": ["wing", "l1", "l2", "l2_nowd"],
    "05_blocks_and_regularisation": ["wing", "wing_nowd", "mixup_0.75_nowd"],
    "06_augmentation": ["wing", "released_ranges", "cutout_10"],
    "09_report": ["mean_shape", "wing", "best"],
}
"""What stands in the published parameters cells (a test holds them to it). It is kept here too, since a
reader may change the cell: what another value makes must not take the place of what the usual one made."""


OF_NETWORKS = ("04_losses", "05_blocks_and_regularisation")
"""Notebooks that look into the networks of their settings."""


@dataclass(frozen=True)
class Parameters:
    """The checked parameters of one notebook."""

    notebook: str
    values: dict[str, Any]

    def output(self, cohort: str) -> Path:
        """The folder of what this notebook builds: `paths.output`, with every unusual parameter in its name.

        cohort: the one that "auto" has turned out to be.
        """
        return paths.output(cohort, self.values["profile"], *unusual(self.notebook, self.values))


def check(notebook: str, namespace: Mapping[str, Any]) -> Parameters:
    """The parameters of a running notebook, for its setup cell; `KneelError` names the one that is wrong.

    notebook: the name of its file, without the ending. namespace: its `globals()`, in which the parameters
    cell has left its annotations, and IPython the source of every cell (`In`): papermill only warns of a name
    that the notebook does not have.
    """
    declared, cells = namespace.get("__annotations__", {}), namespace.get("In", ())
    for name in injected(cells):
        check_name(name, declared, notebook)
    for name in without_type(cells):
        raise KneelError(f"parameter {name} has no type in the parameters cell: write `{name}: TYPE = VALUE`")
    for name, kind in declared.items():
        check_name(name, ALLOWED, "any notebook")
        check_value(name, namespace[name], get_origin(kind) or kind)
    if notebook in OF_NETWORKS:
        check_networks(namespace["settings"], notebook)
    return Parameters(notebook, {name: namespace[name] for name in declared})


def injected(cells: Collection[str]) -> Iterator[str]:
    """The names that papermill's own cells set: it heads them with "# Parameters"."""
    for source in cells:
        if source.startswith("# Parameters\n"):
            for line in ast.parse(source).body:
                if isinstance(line, ast.Assign):
                    yield from (target.id for target in line.targets if isinstance(target, ast.Name))


def without_type(cells: Collection[str]) -> Iterator[str]:
    """The parameters that a cell with annotated ones, one of them the profile, sets without a type."""
    for source in cells:
        try:
            lines = ast.parse(source).body
        except SyntaxError:  # IPython's own commands
            continue
        typed = [line.target for line in lines if isinstance(line, ast.AnnAssign)]
        if any(isinstance(target, ast.Name) and target.id == "profile" for target in typed):
            plain = [target for line in lines if isinstance(line, ast.Assign) for target in line.targets]
            yield from (target.id for target in plain if isinstance(target, ast.Name))


def check_networks(names: Sequence[str], notebook: str) -> None:
    """`KneelError` for a row without a network, where a notebook looks into the networks of its rows."""
    for name in names:
        if SETTINGS[name].method != "network":
            raise KneelError(f"parameter settings: {name} has no network, which {notebook} looks into")


def check_name(name: str, known: Collection[str], where: str) -> None:
    """`KneelError` for a parameter that is not among the `known` ones, with the one it resembles."""
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise KneelError(
            f"no parameter '{name[:SHOWN]}' in {where}: {hint}there are {', '.join(sorted(known))}"
        )


def check_value(name: str, value: object, kind: type, like: str = "") -> None:
    """`KneelError` for a value of another type (a whole number may stand for a float), or one that is not
    `ALLOWED`.

    like: what the message says after the type.
    """
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise KneelError(f"parameter {name} must be of type {kind.__name__}{like}: got {shown(value)}")
    if name in ALLOWED and not ALLOWED[name].holds(value):
        raise KneelError(f"parameter {name}: {shown(value)}, allowed is {ALLOWED[name].said}")


def shown(value: object) -> str:
    """A parameter's value as a message shows it: as Python writes it, unless it is long."""
    short = not isinstance(value, int) or abs(value) < 10**SHOWN
    return repr(value) if short and len(repr(value)) <= SHOWN else said(value)


def unusual(notebook: str, values: Mapping[str, Any]) -> list[str]:
    """The parts that parameters add to the name of an output folder, e.g. ["seed3", "fold1"]; none where
    they have their usual values."""
    usual = USUAL | {"settings": USUAL_SETTINGS.get(notebook)}
    places = [name for name in ALLOWED if name not in ("profile", "cohort")]
    return [part(name, values[name]) for name in places if name in values and values[name] != usual[name]]


def part(name: str, value: Any) -> str:
    """ "seed3" or "settings_wing+l1"; a long list as a digest, since the names of folders are bounded."""
    if not isinstance(value, list):
        return f"{name}{value}"
    text = "+".join(map(str, value))
    return f"{name}_{text if len(text) <= SHOWN else hashlib.sha256(text.encode()).hexdigest()[:12]}"
