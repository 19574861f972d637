"""How far measurements from predicted landmarks lie off those from true ones."""

import numpy as np
import pandas as pd

from kneel_lib.pipeline.measurements import DEFINITIONS, NAMES, measured


def measured_all(points_mm: np.ndarray) -> np.ndarray:
    """(n, measurements) in mm, mm2 and degrees, of landmarks (n, 16, 2) in mm."""
    return np.array([list(measured(points).values()) for points in points_mm]).reshape(-1, len(NAMES))


def error_table(values: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """A row a measurement: bias (the mean of value less truth), standard deviation and mean absolute error of
    values (n, measurements) of `measured_all`, in the measurement's unit; knees where either is NaN are left
    out."""
    error = values - truth
    rows = []
    for column, definition in enumerate(DEFINITIONS):
        known = error[np.isfinite(error[:, column]), column]
        spread = {
            "bias": known.mean() if len(known) else np.nan,
            "sd": known.std(ddof=1) if len(known) > 1 else np.nan,
            "mean_absolute": np.abs(known).mean() if len(known) else np.nan,
        }
        about = {"measurement": definition.name, "unit": definition.unit, "knees": len(known)}
        rows.append(about | spread)
    return pd.DataFrame(rows)
