"""Measurements as plain data: what predict keeps of each knee, and the table measurements.csv."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.measurements import measurements

COLUMNS = ("file", "side", "measurement", "value", "low", "high", "unit", "share", "trusted")


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
    90 %, its unit, the share of the plateau's width (of an area: of its square), and whether the knee is
    trusted."""
    rows = [
        {"file": entry["file"], "side": knee["side"], "measurement": name, **one, "trusted": knee["trusted"]}
        for entry in entries
        for knee in entry["knees"]
        for name, one in knee["measurements"].items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
