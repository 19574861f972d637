"""What a picture shows, without the plain or repeated strips around it."""

import cv2
import numpy as np

LOOKED_AT_PX = 512
"""Longest side at which plain strips are looked for."""

PLAIN, REPEATED = 0.02, 0.002
"""Share of the grey range that the pixels of a plain row or column differ by at the most, and that those of a
repeated one differ by from the next."""


def shown_rectangle(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, last) pixel (x, y) of a picture (H, W) without the plain rows and columns around it, and
    without those that only repeat the next one inwards, as padding with the edge does."""
    scale = min(LOOKED_AT_PX / max(grey.shape), 1.0)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = np.ptp(np.percentile(small, (1, 99)))
    first, last = np.zeros(2), np.array(grey.shape[::-1]) - 1.0
    for axis, length in enumerate(grey.shape[::-1]):
        lines = np.ptp(small, axis=axis) > PLAIN * contrast
        changes = np.abs(np.diff(small, axis=1 - axis)).max(axis=axis) > REPEATED * contrast
        changing = np.flatnonzero(changes)
        if len(changing):
            lines[: changing[0]] = lines[changing[-1] + 2 :] = False
        told = np.flatnonzero(lines)
        if len(told):
            step = length / small.shape[1 - axis]
            first[axis] = told[0] * step
            last[axis] = (told[-1] + 1) * step - 1
    return first, last
