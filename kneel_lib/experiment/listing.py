"""The manifest of the recorded files, results/runs/manifest.csv: how many runs and rows each holds, and its
sha256."""

import base64
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from kneel_lib import paths
from kneel_lib.data.crops import sha256
from kneel_lib.data.tables import Schema, matching, read_table, whole
from kneel_lib.files import write_text

LISTING = Schema(
    {
        "file": matching(r"[\w.-]+/[\w.-]+/[\w.-]+\.parquet", "cohort/profile/setting.parquet"),
        "runs": whole(1, 10_000),
        "rows": whole(0, 10_000_000),
        "sha256": matching("[0-9a-f]{64}", "64 hexadecimal digits"),
    },
    ("file",),
    where="get it again from git",
)


def name_of(path: Path) -> str:
    """How a recorded file is named in the manifest."""
    return path.relative_to(paths.RESULTS / "runs").as_posix()


def listing() -> Path:
    """The manifest of the recorded files."""
    return paths.RESULTS / "runs" / "manifest.csv"


def recorded_files() -> dict[str, Any]:
    """{file below results/runs: its row of the manifest}."""
    path = listing()
    return read_listing(path, path.stat().st_mtime_ns) if path.is_file() else {}


@cache
def read_listing(path: Path, changed_ns: int) -> dict[str, Any]:
    """`recorded_files` of a manifest as it is since `changed_ns`."""
    return {str(row.file): row for row in read_table(path, LISTING).itertuples()}


def list_record(path: Path) -> None:
    """Say in the manifest of recorded files what this one is now."""
    with pq.ParquetFile(path) as file:
        rows, packed = file.metadata.num_rows, file.metadata.metadata[b"runs"]
    runs = len(json.loads(zlib.decompress(base64.b64decode(packed))))
    name = name_of(path)
    listed = {file: (file, row.runs, row.rows, row.sha256) for file, row in recorded_files().items()}
    listed[name] = name, runs, rows, sha256(path)
    table = pd.DataFrame([listed[file] for file in sorted(listed)], columns=[*LISTING.columns])
    write_text(listing(), table.to_csv(index=False))


def check_listed(path: Path, content: bytes, runs: int, rows: int) -> None:
    """Raise ValueError unless the manifest of recorded files says the same of this one."""
    listed = recorded_files().get(name_of(path))
    if listed is None:
        raise ValueError(f"{listing().name} does not list it")
    if (listed.runs, listed.rows) != (runs, rows):
        raise ValueError(
            f"it has {rows} rows of {runs} runs, {listing().name} says {listed.rows} of {listed.runs}"
        )
    if hashlib.sha256(content).hexdigest() != listed.sha256:
        raise ValueError(
            f"its sha256 is not the one in {listing().name}: it was changed since it was recorded"
        )
