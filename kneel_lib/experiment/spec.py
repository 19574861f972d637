"""What a run is: everything that its numbers depend on, in one frozen record; its hash is the address."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.folds import fold_number, take_knees
from kneel_lib.data.roi_fields import is_for_localisation
from kneel_lib.errors import KneelError, find
from kneel_lib.experiment.cohorts import load_cohort, roi_cohort, roi_cohort_name, unseen_cohort
from kneel_lib.experiment.profiles import Profile, profile_for
from kneel_lib.experiment.rows import NAMED, ROI, SEARCH, SETTINGS, from_scratch
from kneel_lib.experiment.settings import Setting
from kneel_lib.network.ranges import Augmentation
from kneel_lib.simulation import search_fields
from kneel_lib.simulation.population import SIMULATOR

RECIPE = 1
"""Raise this when the code changes what a run computes: older runs are then not found any more."""

SIMULATED, UNSEEN = "simulated", "simulated_unseen"
"""The cohort, and the start of a setting, of knees that are drawn; and the start of those whose shapes hold
nothing of the held-out subjects."""

PSEUDO_LABELLED = "pseudo_labelled"
"""The cohort of crops without landmarks under what a network says of them (`students`)."""

MOST_SEED = 2**32 - 1
"""Above it numpy takes another road."""

STARTS = ROI.name, SIMULATED, UNSEEN, *SETTINGS
"""What a setting can start from: another kind of training, or the network of a row."""

HELD_OUT = {"split": "val", "transfer": "all", "all": "all", "test": "test"}
"""{kind of run: what its predictions are called in the column fold}; for "fold" the fold's number."""


@dataclass(frozen=True)
class Start:
    """The network that a run begins with: what it was trained on and how.

    knees, simulator: of a simulated cohort, how many are drawn (None: all) and the simulator's version. run:
    the hash of the very run, where the caller named one; else it is the one of the same fold and seed.
    """

    cohort: str
    setting: Setting
    profile: Profile
    knees: int | None = None
    simulator: int | None = None
    run: str = ""


@dataclass(frozen=True)
class Pipeline:
    """What a whole pipeline on a test set is made of (Table 2). landmarks, roi: hashes of the runs whose
    networks or forests are averaged. views_mm: how far the ROI of each view is moved."""

    stages: int
    views_mm: tuple[tuple[float, float], ...]
    trained_on: str
    landmarks: tuple[str, ...]
    roi: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunSpec:
    """All that a run's numbers depend on, apart from the machine.

    kind: "fold" (fold 0 to 4 of the cohort is held out), "split" (trained on its split train, tried on val),
        "transfer" (trained on all of `cohort`, tried on all of `target`), "all" (trained on every knee, tried
        on none) or "test" (a pipeline on a test set).
    cohort, fingerprint, knees: what is trained on; of kind "test", what is tried.
    labels: how many of the training knees may be used (None: all). start: the network to begin with (None:
    scratch).
    """

    kind: str
    setting: Setting
    profile: Profile
    cohort: str
    fingerprint: str
    knees: int
    fold: int | None = None
    seed: int = 0
    labels: int | None = None
    start: Start | None = None
    target: str = ""
    target_fingerprint: str = ""
    pipeline: Pipeline | None = None
    recipe: int = RECIPE

    @property
    def tried_on(self) -> str:
        """The cohort that the run's predictions are of."""
        return self.target or self.cohort

    @property
    def held_out(self) -> int | str:
        """The number of the fold that is held out, or "val", "all" or "test"."""
        return HELD_OUT[self.kind] if self.fold is None else self.fold

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that name the run: of every field, defaults included."""
        return hashlib.sha256(json.dumps(as_data(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """What the run is called within its setting and profile."""
        return f"fold{self.held_out}-seed{self.seed}-{self.hash}"

    @property
    def address(self) -> Path:
        """The run's folder, relative to a store."""
        return Path(self.cohort, self.profile.name, self.setting.name, self.name)

    @property
    def generator_seed(self) -> int:
        """One number for seed and fold together: what all randomness of the run comes from."""
        return int(np.random.SeedSequence([self.seed, self.fold or 0]).generate_state(1)[0])

    @property
    def origin(self) -> str:
        """Where training began: "scratch", "low_cost" (ROI localisation: one landmark a knee), "row" (the
        network of another row), or the cohort that was trained on before."""
        if self.start is None:
            return "scratch"
        if self.setting.start in SETTINGS:
            return "row"
        return "low_cost" if self.start.setting.name == ROI.name else self.start.cohort

    @property
    def said(self) -> str:
        """How the run is named in progress lines."""
        labels = "" if self.labels is None else f", {self.labels} labels"
        start = f", from {self.start.cohort} {self.start.setting.name}" if self.start else ""
        return f"{self.setting.name}, fold {self.held_out}, seed {self.seed}{labels}{start}"


def as_data(record: Any) -> Any:
    """A spec as plain data for json: every field that numbers depend on (labels of rows are left out)."""
    if is_dataclass(record):
        return {f.name: as_data(getattr(record, f.name)) for f in fields(record) if f.compare}
    return [as_data(entry) for entry in record] if isinstance(record, tuple) else record


NESTED = {
    "setting": Setting,
    "profile": Profile,
    "augmentation": Augmentation,
    "start": Start,
    "pipeline": Pipeline,
}


def from_data(data: Mapping[str, Any], kind: Any = RunSpec) -> Any:
    """The record that `as_data` was made from; TypeError where a field is missing, unknown or malformed."""
    missing = {f.name for f in fields(kind) if f.compare} - data.keys()
    if missing:
        raise TypeError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
    values = {name: read_field(name, value) for name, value in data.items()}
    if kind is Setting:
        values["label"] = NAMED[values["name"]].label if values["name"] in NAMED else values["name"]
    return kind(**values)


def read_field(name: str, value: Any) -> Any:
    """One field's value: records for mappings, tuples for lists; a setting's own `start` is a name."""
    if isinstance(value, Mapping):
        return from_data(value, NESTED[name])
    return tuple(read_field(name, entry) for entry in value) if isinstance(value, list) else value


def plan(
    setting: Setting,
    profile: Profile,
    cohort: Cohort,
    fold: int | str = 0,
    seed: int = 0,
    labels: int | None = None,
    first: RunSpec | None = None,
    source: Cohort | None = None,
) -> RunSpec:
    """The spec of the run that `runs.get_run` loads or makes.

    fold: 0 to 4, "val" (train on the cohort's split "train" and hold out "val") or "all" (train on every
    knee). labels: how many of the training knees may be used. first: the run whose network is begun with, in
    the place of the one that the setting names. source: train on all of this cohort, and try on all of
    `cohort`. Raises `KneelError` for what cannot be run.
    """
    check_number("seed", seed, 0, MOST_SEED)
    if labels is not None:
        check_number("labels", labels, 2, len(cohort))
    chosen = take_knees(cohort, profile.knees)
    check_pictures(setting, source or cohort)
    if source is not None:
        return plan_transfer(setting, profile, take_knees(source, profile.knees), chosen, seed)
    kind = {"val": "split", "all": "all"}.get(str(fold), "fold")
    start = start_at(first) if first else start_for(setting, profile, chosen, fold, seed)
    return RunSpec(
        kind,
        setting,
        profile,
        chosen.name,
        chosen.fingerprint,
        len(chosen),
        fold_number(fold) if kind == "fold" else None,
        seed,
        labels,
        start,
    )


def check_number(name: str, value: object, low: int, high: int) -> None:
    """Raise `KneelError` unless a parameter is a whole number between two, both allowed."""
    if type(value) is not int or not low <= value <= high:
        shown = (
            repr(value)[:40] if type(value) is not int or abs(value) < 10**40 else "a number far too large"
        )
        raise KneelError(f"{name}: {shown}, allowed is a whole number from {low} to {high}")


def check_pictures(setting: Setting, cohort: Cohort) -> None:
    """Raise `KneelError` for ROI localisation or the search on pictures that are not for it, and anything
    else on those that are."""
    searched = cohort.name == search_fields.NAME
    if setting.method == SEARCH.method and not searched:
        raise KneelError(f"the search is trained on pictures of its own: give {search_fields.NAME}")
    if searched and setting.method != SEARCH.method:
        raise KneelError(
            f"the pictures of {cohort.name} are for the search, not for {setting.name}: choose another cohort"
        )
    if is_for_localisation(cohort) and setting.method != ROI.method:
        raise KneelError(
            f"{cohort.name} has pictures in which the knee is still to be found: ROI localisation is what "
            f"they are for, not {setting.name}; choose another cohort"
        )
    if setting.method == ROI.method and not is_for_localisation(cohort):
        raise KneelError(
            f"in the pictures of {cohort.name} the knee is found already: for ROI localisation give "
            f"{roi_cohort_name(cohort.name)}"
        )


def plan_transfer(setting: Setting, profile: Profile, source: Cohort, target: Cohort, seed: int) -> RunSpec:
    """`plan` of a run that is trained on all knees of one cohort and tried on all of another."""
    if setting.start:
        raise KneelError(
            f"setting {setting.name} starts from another run, which a transfer does not do: choose its "
            f"recipe from scratch, {from_scratch(setting).name}"
        )
    if source.fingerprint == target.fingerprint:
        raise KneelError(
            f"a network that is trained on all knees of {source.name} cannot be tried on the same ones: "
            "choose another cohort to train on or to try on"
        )
    return RunSpec(
        "transfer",
        setting,
        profile,
        source.name,
        source.fingerprint,
        len(source),
        seed=seed,
        target=target.name,
        target_fingerprint=target.fingerprint,
    )


def start_at(first: RunSpec) -> Start:
    """The `Start` at a run that is at hand."""
    return Start(first.cohort, first.setting, first.profile, run=first.hash)


def start_for(setting: Setting, profile: Profile, cohort: Cohort, fold: int | str, seed: int) -> Start | None:
    """The `Start` that a setting names, without loading or making what it was trained on."""
    if not setting.start:
        return None
    if setting.start == ROI.name:
        return Start(roi_cohort_name(cohort.name), ROI, profile_for(ROI, profile))
    if setting.start in (SIMULATED, UNSEEN):
        if cohort.name == SIMULATED:
            raise KneelError(
                f"setting {setting.name} starts from the simulated knees and cannot be tried on the same "
                "ones: choose another cohort, such as crops"
            )
        return Start(setting.start, from_scratch(setting), profile, profile.simulated, SIMULATOR)
    row = SETTINGS[find(setting.start, STARTS, "start")]
    return Start(cohort.name, row, profile, run=plan(row, profile, cohort, fold, seed).hash)


@dataclass(frozen=True)
class Beginning:
    """The run that a setting starts from, with its data: `plan` and `runs.get_run` take them as they are."""

    setting: Setting
    profile: Profile
    cohort: Cohort
    source: Cohort | None = None


def beginning_of(setting: Setting, profile: Profile, cohort: Cohort, fold: int | str) -> Beginning | None:
    """The same recipe on all simulated knees, another row, or ROI localisation; None from scratch."""
    if setting.start in (SIMULATED, UNSEEN):
        seen = setting.start == SIMULATED
        source = (
            load_cohort(SIMULATED, profile.simulated)
            if seen
            else unseen_cohort(take_knees(cohort, profile.knees), fold, profile.simulated)
        )
        return Beginning(from_scratch(setting), profile, cohort, source)
    if setting.start in SETTINGS:
        return Beginning(SETTINGS[setting.start], profile, cohort)
    if not setting.start:
        return None
    return Beginning(ROI, profile_for(ROI, profile), roi_cohort(cohort, profile.simulated))
