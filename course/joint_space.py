"""Joint-space width as lab 6 teaches it: the least distance between the landmarks' polylines.

The library itself measures between curves through the landmarks, orthogonal to the plateau's line
(`kneel_lib.pipeline.measurements`). A student can write this one in ten lines.
"""

import numpy as np

FACING = ((6, 7, 8), (13, 14, 15)), ((0, 1, 2), (9, 10, 11))
"""Landmarks of tibia and femur that face each other over the joint space: medial, lateral."""


def least_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The least distance between two polylines, (n, 2) and (m, 2), each sampled finely; in their own unit."""
    share = np.linspace(0, 1, 100)
    a, b = (
        np.concatenate([p + share[:, None] * (q - p) for p, q in zip(line[:-1], line[1:])])
        for line in (first, second)
    )
    return float(np.linalg.norm(a[:, None] - b[None], axis=2).min())


def least_widths(points: np.ndarray) -> np.ndarray:
    """(2,) medial and lateral width between the polylines of landmarks (16, 2), in their own unit."""
    return np.array([least_distance(*(points[list(bone)] for bone in bones)) for bones in FACING])
