"""Measurements as plain data: what predict keeps of each knee, and the table measurements.csv."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.measurements import measurements
from kneel_lib.pipeline.search import MISSING

COLUMNS = ("file", "side", "measurement", "value", "low", "high", "unit", "share", "trusted", "reason")


def described_measurements(knee: Knee) -> dict[str, dict[str, Any]]:
    """{name: value, low, high, unit, share} of a knee as plain data; None where a number is not known."""
    return {
        one.name: {
            "value": known(one.value),
            "low": known(one.low),
            "high": known(one.high),
            "unit": one.unit,
            "share": known(one.share, 5),
        }
        for one in measurements(knee)
    }


def known(value: float, digits: int = 3) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def measurement_table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a measurement of a knee: its value, the interval that holds the true one with a probability of
    90 %, its unit, the share of the plateau's width (of an area: of its square), whether the knee is trusted,
    and what there is to say of it. A file without a knee, or a knee that was expected and not found, has one
    row with the reason."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        named = {"file": entry["file"]}
        rows += [{**named, "trusted": False, "reason": reason} for reason in without_knee(entry)]
        for knee in entry["knees"]:
            about = {**named, "side": knee["side"], "trusted": knee["trusted"], "reason": said_of(knee)}
            rows += [{**about, "measurement": name, **one} for name, one in knee["measurements"].items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def without_knee(entry: Mapping[str, Any]) -> list[str]:
    """Why a file, or a half of its picture, has no knee among the answers."""
    notes = [note for knee in entry["knees"] for note in knee["notes"] if note.startswith(MISSING)]
    return [*filter(None, [entry["problem"]]), *dict.fromkeys(notes)]


def said_of(knee: dict[str, Any]) -> str:
    """The doubts about a knee and the notes on it, as one text."""
    return "; ".join([*knee["doubts"], *knee["notes"]])
