"""The stores of finished runs: a folder a run while they are made, a parquet file a setting and profile once
recorded.

In the working store (`paths.runs()`) a run's folder holds spec.json (what the hash is of), manifest.json
(where and how it came about), history.csv, predictions.csv (out-of-fold) and weights.safetensors. Under
results/runs a file <cohort>/<profile>/<setting>.parquet holds the predictions of all recorded runs of one
row, without weights; specs, manifests and histories are in its metadata (json, deflated). A manifest says of
each file what it held when it was written: the run's own of the working store, and results/runs/manifest.csv
(`listing`) of the recorded files. Whoever reads a run gets it whole, or one line that says what is not.
"""

import base64
import io
import json
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from kneel_lib import paths
from kneel_lib.data.crops import sha256
from kneel_lib.errors import KneelError
from kneel_lib.experiment.audit import check_errors, check_history
from kneel_lib.experiment.listing import check_listed, list_record, listing, name_of, recorded_files
from kneel_lib.experiment.predictions import (
    AGAIN,
    COORDINATES,
    EMA,
    FINAL,
    check_cells,
    check_rows,
    errors_of,
)
from kneel_lib.experiment.predictions import points_of as points_of
from kneel_lib.experiment.profiles import PROFILES, profile_for
from kneel_lib.experiment.provenance import faults, refusal
from kneel_lib.experiment.rows import NAMED
from kneel_lib.experiment.spec import RECIPE, RunSpec, as_data, from_data
from kneel_lib.files import last_line, sweep, write_whole
from kneel_lib.simulation import search_fields

WEIGHTS = "weights.safetensors"
FILES = ("spec.json", "history.csv", "predictions.csv")
"""What `load_run` reads beside the manifest."""

WITH_NETWORK = ("network", "roi", "search")
"""Methods whose runs hold a network's weights."""

UNITS_A_MM = {"x": 100, "y": 100, "e": 1000}
"""Recorded predictions are whole numbers: places in hundredths of a mm, errors in thousandths."""


@dataclass(frozen=True)
class Run:
    """A finished run. predictions: a row a knee, ROI centre (column roi) and kind of weights (column
    weights): x and y in mm in the picture's frame, e = error in mm. folder: in the working store, or the file
    that it is recorded in."""

    folder: Path
    spec: RunSpec
    manifest: dict[str, Any]
    history: pd.DataFrame
    predictions: pd.DataFrame

    def chosen(self, roi: str = "truth", weights: str = FINAL) -> pd.DataFrame:
        """The predictions for ROIs around this centre by these weights."""
        return self.predictions[(self.predictions["roi"] == roi) & (self.predictions["weights"] == weights)]

    def errors(self, roi: str = "truth", weights: str = FINAL) -> np.ndarray:
        """Landmark errors in mm, (knees, 16), for ROIs centred on the "truth", "displaced" or on the
        "image"."""
        return errors_of(self.chosen(roi, weights))

    @property
    def has_ema(self) -> bool:
        """Whether EMA weights were kept beside the last ones, and tried."""
        return bool((self.predictions["weights"] == EMA).any())


def find_run(spec: RunSpec, weights: bool = False) -> Run | None:
    """The finished run of this spec, from the working store or the recorded ones, or None.

    weights: only one that has its network's weights.
    """
    folder = paths.runs() / spec.address
    needs_network = weights and spec.setting.method in WITH_NETWORK
    if (folder / "manifest.json").is_file() and (not needs_network or (folder / WEIGHTS).is_file()):
        return load_run(folder)
    return None if needs_network else recorded_in(record_of(spec)).get(spec.hash)


def load_run(folder: Path) -> Run:
    """A finished run from its folder; `KneelError` if a file is missing, damaged, changed since it was
    written, or of another run."""
    folder = Path(folder)
    try:
        spec, manifest = (json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "manifest"))
        check_files(folder, manifest)
        history, predictions = (
            pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])
            for name in ("history", "predictions")
        )
        run = Run(folder, from_data(spec), manifest, history, predictions)
        if folder.parts[-4:] != run.spec.address.parts:
            raise ValueError(f"its spec.json is that of {run.spec.address}")
        check_cells(predictions, folder / "predictions.csv", is_searched(run.spec))
    except NOT_WHOLE as error:
        raise KneelError(
            f"{folder} is not a whole run ({last_line(error)}): delete it; "
            "it is made again when it is asked for"
        ) from None
    return checked(run, folder)


NOT_WHOLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What reading something else in the place of a run may raise."""


def is_searched(spec: RunSpec) -> bool:
    return search_fields.NAME in (spec.cohort, spec.target)


def checked(run: Run, place: Path) -> Run:
    """The run, if what it says of itself is so; else `KneelError`."""
    said = f"{place}, {run.spec.name}"
    if not isinstance(run.manifest.get("train_seconds"), (int, float)):
        raise KneelError(f"{said}: the manifest says no train_seconds: {AGAIN}")
    check_history(run.history, run.spec, said)
    check_rows(run.predictions, run.spec, said)
    check_errors(run.predictions, run.spec, said)
    return run


def described_files(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """{file name: {"sha256": of its content, "rows": of a csv}}, what a manifest says of a run's files."""
    return {
        name: {"sha256": sha256(folder / name)}
        | ({"rows": len(pd.read_csv(folder / name))} if name.endswith(".csv") else {})
        for name in names
        if (folder / name).is_file()
    }


def check_files(folder: Path, manifest: Any, names: Collection[str] = FILES) -> None:
    """Raise ValueError for the first file of a run that is not as its manifest says. Manifests of older runs
    say nothing of files."""
    listed = manifest.get("files", {})
    for name in names:
        if name in listed and sha256(folder / name) != listed[name]["sha256"]:
            rows = f"{listed[name]['rows']} rows and " if "rows" in listed[name] else ""
            raise ValueError(f"{name} has not the {rows}content that manifest.json says")


def working_runs(store: Path | None = None) -> list[Run]:
    """Every finished run of the working store (or another one of folders), sorted by its address."""
    found = sorted(Path(store or paths.runs()).glob("*/*/*/*/manifest.json"))
    return [load_run(path.parent) for path in found if not path.parent.name.endswith(".partial")]


def recorded_runs() -> list[Run]:
    """Every run under results/runs, sorted by its address; `KneelError` if a file is not as it was
    recorded."""
    folder = paths.RESULTS / "runs"
    files = {*folder.glob("*/*/*.parquet"), *(folder / name for name in recorded_files())}
    runs = [run for path in sorted(files) for run in recorded_in(path).values()]
    return sorted(runs, key=lambda run: str(run.spec.address))


def finished_runs() -> list[Run]:
    """Every run that is recorded or in the working store, each once."""
    return list({run.spec.hash: run for run in [*recorded_runs(), *working_runs()]}.values())


def record_of(spec: RunSpec) -> Path:
    """The file in which a run of this spec is recorded."""
    return paths.RESULTS / "runs" / spec.cohort / spec.profile.name / f"{spec.setting.name}.parquet"


def recorded_in(path: Path) -> dict[str, Run]:
    """{hash: run} of one recorded file; none where there is no such file, and none is listed."""
    if path.is_file():
        return read_record(path, path.stat().st_mtime_ns)
    if name_of(path) in recorded_files():
        raise KneelError(f"{path} is not there, but listed in {listing().name}: get it again from git")
    return {}


@cache
def read_record(path: Path, changed_ns: int) -> dict[str, Run]:
    """`recorded_in` of a file as it is since `changed_ns`; `KneelError` if it is damaged, or not as the
    manifest of recorded files says."""
    try:
        content = path.read_bytes()
        with pq.ParquetFile(io.BytesIO(content)) as file:
            table, packed = file.read(), file.metadata.metadata[b"runs"]
        described = json.loads(zlib.decompress(base64.b64decode(packed)))
        check_listed(path, content, len(described), table.num_rows)
        predictions = as_predictions(table)
        strange = set(predictions["run"].astype(str)) - described.keys()
        if strange:
            raise ValueError(f"it has predictions of a run {min(strange)}, which it does not describe")
        check_cells(predictions, path, path.parts[-3] == search_fields.NAME)
        rows = predictions.groupby("run", sort=False).indices
        return {
            name: read_run(path, name, run, predictions.iloc[rows.get(name, slice(0))])
            for name, run in described.items()
        }
    except (*NOT_WHOLE, zlib.error, pa.ArrowException) as error:
        raise KneelError(
            f"{path} is not a whole record of runs ({last_line(error)}): get it again from git"
        ) from None


def as_predictions(table: pa.Table) -> pd.DataFrame:
    """The rows of a recorded file, places and errors in mm, these in one block of memory."""
    units = [UNITS_A_MM[name[0]] for name in COORDINATES]
    values = np.column_stack([table[name].to_numpy() for name in COORDINATES]).astype(float) / units
    others = table.drop_columns(COORDINATES).to_pandas()
    numbers = pd.to_numeric(others["subject_id"], errors="coerce")
    if (numbers.astype("Int64").astype(str) == others["subject_id"]).all():
        others["subject_id"] = numbers.astype(int)  # as a csv is read
    return pd.concat([others, pd.DataFrame(values, columns=COORDINATES)], axis=1)


def other_columns(predictions: pd.DataFrame) -> list[str]:
    return [str(name) for name in predictions.columns if name not in COORDINATES]


def read_run(path: Path, name: str, described: dict[str, Any], rows: pd.DataFrame) -> Run:
    """A recorded run, its predictions as they were when it was finished, from its own rows of the file.
    name: the hash that it is recorded under."""
    spec = from_data(described["spec"])
    if spec.hash != name or record_of(spec).parts[-3:] != path.parts[-3:]:
        raise ValueError(f"what it calls run {name} is configured as {spec.address}")
    predictions = rows.drop(columns="run").reset_index(drop=True).assign(fold=spec.held_out)
    history = pd.DataFrame(described["history"])
    return checked(Run(path, spec, described["manifest"], history, predictions), path)


def write_record(path: Path, runs: Iterable[Run]) -> None:
    """Write the recorded file of one row, whole or not at all."""
    ordered = sorted(runs, key=lambda run: run.spec.name)
    described = {
        run.spec.hash: {
            "spec": as_data(run.spec),
            "manifest": run.manifest,
            "history": run.history.to_dict(orient="list"),
        }
        for run in ordered
    }
    packed = base64.b64encode(zlib.compress(json.dumps(described).encode(), 9))
    parts = [run.predictions.assign(run=run.spec.hash, fold=str(run.spec.held_out)) for run in ordered]
    predictions = pd.concat(parts, ignore_index=True)
    predictions["subject_id"] = predictions["subject_id"].astype(str)
    for name in COORDINATES:
        predictions[name] = (predictions[name] * UNITS_A_MM[name[0]]).round().astype("Int32")
    others = other_columns(predictions)
    order = [name for name in ("subject_id", "side", "run", "roi", "weights") if name in others]
    predictions = predictions.sort_values(order, kind="stable")[[*others, *COORDINATES]]
    table = pa.Table.from_pandas(predictions, preserve_index=False)
    split = {name: "BYTE_STREAM_SPLIT" for name in COORDINATES}  # one stream a byte: halves the file
    options = {
        "compression": "zstd",
        "compression_level": 19,
        "write_statistics": False,
        "store_schema": False,
    }

    def write(temporary: Path) -> None:
        layout = {"use_dictionary": others, "column_encoding": split}
        with pq.ParquetWriter(temporary, table.schema, **options, **layout) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({"runs": packed})

    write_whole(path, write)
    list_record(path)


def record(
    profiles: Collection[str], settings: Collection[str] | None = None, store: Path | None = None
) -> list[Run]:
    """Put the finished runs of these profiles (and of these settings alone, if given) from the working store
    under results/runs, without weights. Runs that today's code would not make are left out. Returns the new
    ones.

    Raises `KneelError`, when all others are recorded, with the runs of which nobody could say what code made
    them (`provenance.faults`).
    """
    sweep(paths.RESULTS / "runs")
    new: dict[Path, list[Run]] = {}
    for run in working_runs(store):
        wanted = run.spec.profile.name in profiles and (not settings or run.spec.setting.name in settings)
        if wanted and is_current(run.spec) and run.spec.hash not in recorded_in(record_of(run.spec)):
            new.setdefault(record_of(run.spec), []).append(run)
    refused: list[Run] = []
    why: dict[str, str] = {}
    with FileLock(listing().with_name(".manifest.csv.lock")):  # files and manifest change together
        for path, runs in new.items():
            before = list(recorded_in(path).values())
            why |= faults(runs, before)
            refused += [run for run in runs if run.spec.hash in why]
            new[path] = [run for run in runs if run.spec.hash not in why]
            if new[path]:
                write_record(path, [*before, *new[path]])
    if refused:
        raise KneelError(refusal(refused, why))
    return [replace(run, folder=path) for path, runs in new.items() for run in runs]


def is_current(spec: RunSpec) -> bool:
    """Whether the spec is of today's recipe, and its setting and profile, where they have names, are still
    the same."""
    setting, profile = NAMED.get(spec.setting.name), PROFILES.get(spec.profile.name)
    if setting is None or profile is None or spec.kind == "test":
        return spec.recipe == RECIPE
    return (spec.recipe, spec.setting, spec.profile) == (RECIPE, setting, profile_for(setting, profile))
