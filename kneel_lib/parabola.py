"""Peaks between samples."""

import numpy as np


def vertex(values):
    """Where the parabola through three values at -1, 0, 1, the middle one the largest, is highest: at most half a step off; 0 where it has no peak."""
    left, middle, right = values
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
