"""Where a picture ends: at its own border, at padding, or at plain strips around it."""

import cv2
import numpy as np

from kneel_lib.data.grey import Radiograph


def near_border(radiograph: Radiograph, points_px: np.ndarray, margin_px: float) -> bool:
    """Whether a landmark (16, 2) lies outside of what the picture shows, or within a margin of its border."""
    first, last = radiograph.shown
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
