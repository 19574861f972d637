"""The answers about a folder of files as tables: landmarks.csv, a row a landmark, and landmarks.json."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.files import write_text
from kneel_lib.pipeline.measurement_table import measurement_table, said_of, without_knee

COLUMNS = (
    "file",
    "side",
    "landmark",
    "name",
    "x_px",
    "y_px",
    "x_mm",
    "y_mm",
    "spread_mm",
    "region_across_px",
    "region_along_px",
    "region_degrees",
    "trusted",
    "trust",
    "reason",
)

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def write_tables(output: Path, entries: Sequence[dict[str, Any]]) -> None:
    """landmarks.csv, measurements.csv and landmarks.json of all entries."""
    for name, table in (("landmarks", landmark_table(entries)), ("measurements", measurement_table(entries))):
        write_text(output / f"{name}.csv", as_csv(table))
    written = {
        "knees": [knee for entry in entries for knee in entry["knees"]],
        "failed": {entry["file"]: entry["problem"] for entry in entries if entry["problem"]},
        "missing": {
            entry["file"]: reasons
            for entry in entries
            if not entry["problem"] and (reasons := without_knee(entry))
        },
    }
    write_text(output / "landmarks.json", json.dumps(written, indent=1) + "\n")


def landmark_table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a landmark: the file's own pixels, and mm from its first pixel's centre where the spacing is
    known. A file without a knee, or a knee that was expected and not found, has one row with the reason."""
    rows = [row for entry in entries for row in rows_of(entry)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def as_csv(table: pd.DataFrame) -> str:
    """A table of answers as text, which a spreadsheet takes for nothing else."""
    return without_formulas(table).to_csv(index=False, float_format="%.3f")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names and reasons that a spreadsheet would take for formulas marked as text."""
    columns = [name for name in ("file", "reason") if name in table]
    marked = {
        name: [f"'{text}" if str(text).startswith(FORMULA) else text for text in table[name]]
        for name in columns
    }
    return table.assign(**marked)


def rows_of(entry: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of one file."""
    for reason in without_knee(entry):
        yield (entry["file"], "", "", "", *[np.nan] * 8, False, np.nan, reason)
    for knee in entry["knees"]:
        regions = regions_of(knee)
        for number, point in enumerate(knee["landmarks_px"]):
            mm = [np.nan, np.nan] if knee["landmarks_mm"] is None else knee["landmarks_mm"][number]
            unsure = knee["spread_mm"][number], *regions[number]
            said = (knee["trusted"], knee["trust"], said_of(knee))
            yield (entry["file"], knee["side"], number, landmarks.NAMES[number], *point, *mm, *unsure, *said)


def regions_of(knee: dict[str, Any]) -> list[list[float]]:
    """A landmark's ellipse of 90 % each: half axes across and along the outline in pixels, and by how many
    degrees the latter is turned from the x axis; NaN where it is not known."""
    if knee["region_px"] is None:
        return [[np.nan] * 3] * landmarks.COUNT
    return [[*axes, turned] for axes, turned in zip(knee["region_px"], knee["region_degrees"])]
