"""How far measurements of unseen knees are off those of the annotated landmarks, and the factors that turn
deviations into intervals that hold 90 % of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.pipeline import quality
from kneel_lib.pipeline.measurements import DEFINITIONS, NAMES, deviations, least_zero, signed_values
from studies.strangers import trust
from studies.strangers.measure import Told


@dataclass(frozen=True)
class Errors:
    """Of n knees: predicted less annotated, and the deviation that follows from the landmarks' regions; both
    (n, measurements), in mm, mm2 and degrees."""

    error: np.ndarray
    deviation: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        return np.abs(self.error) / self.deviation


def errors(told: Sequence[Told], trusts: np.ndarray) -> Errors:
    """The `Errors` of knees that were found. trusts: (n,) of each, unseen by what it is judged by."""
    powers = np.array([definition.power for definition in DEFINITIONS])
    rows = []
    for one, trusted in zip(told, trusts):
        assert one.knee is not None, "a knee that was found"
        points, scale = one.knee.points_px, one.mm_per_px**powers
        values = [least_zero(signed_values(shape)) * scale for shape in (points, one.places)]
        region = quality.region_px(one.knee.deviation_px, trusted)
        rows.append((values[0] - values[1], deviations(points, region) * scale))
    return Errors(*np.stack(rows, axis=1))


def ratios(found: Errors) -> dict[str, float]:
    """{measurement: what its deviation is multiplied by to hold a new knee with a probability of 90 %}."""
    return dict(zip(NAMES, trust.conformal(found.ratios).round(4).tolist()))


def table(found: Errors, subjects: Sequence[Any]) -> pd.DataFrame:
    """A row a measurement: mean and standard deviation of its errors, half of its interval in the median, and
    how often the interval holds the truth for knees of subjects that gave its multiple no part. (The regions
    that it is carried over from were fitted on all knees.)"""
    return pd.DataFrame(
        {
            "measurement": NAMES,
            "unit": [definition.unit for definition in DEFINITIONS],
            "knees": len(found.error),
            "bias": found.error.mean(axis=0),
            "sd": found.error.std(axis=0, ddof=1),
            "half_interval": np.median(found.deviation, axis=0) * trust.conformal(found.ratios),
            "coverage": trust.coverage(found.ratios, subjects),
        }
    )
