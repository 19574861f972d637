"""Where a picture ends: at its own border, at padding, or at plain strips around it."""

import cv2
import numpy as np

from kneel_lib.data.grey import Radiograph

LOOKED_AT_PX = 512
"""Longest side at which plain strips are looked for."""

PLAIN, REPEATED = 0.02, 0.002
"""Share of the grey range that the pixels of a plain row or column differ by at the most, and that those of a
repeated one differ by from the next."""


def near_border(radiograph: Radiograph, points_px: np.ndarray, margin_px: float) -> bool:
    """Whether a landmark (16, 2) lies outside of what the picture shows, or within a margin of its border."""
    first, last = shown_rectangle(radiograph.grey)
    if beyond(points_px, first + margin_px, last - margin_px):
        return True
    return radiograph.inside is not None and near_padding(radiograph.inside, points_px, margin_px)


def beyond(points_px: np.ndarray, first: np.ndarray, last: np.ndarray) -> bool:
    """Whether a landmark lies outside of the rectangle between two pixels (x, y)."""
    return bool(((points_px < first) | (points_px > last)).any())


def near_padding(inside: np.ndarray, points_px: np.ndarray, margin_px: float) -> bool:
    """Whether a landmark lies on padding or within a margin of it. inside: (H, W), False where it is."""
    away = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    x, y = np.rint(points_px).astype(int).T
    return bool((away[y, x] < margin_px).any())


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
