"""Metal beside the joint: prostheses, screws, plates, whole or seen through noise."""

from typing import Any

import cv2
import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.normalisation import sample

SIZE = 96
"""Pixels of the square around a knee, a plateau wide, in which metal is looked for."""

LEAST_PX = 20

CRITERIA = ((1, 0.97, 0.9, 0.01), (5, 0.93, 0.85, 0.03))
"""(side of a median filter, white from this share of the grey range on, rim below that share, share of the
disc around a knee that may be so): white itself, and what is white once noise is filtered out. On 529
labelled and 1,600 other real crops the second share is at most 0.026, also with gamma 0.5 and 2 and edges
enhanced, but for four knees with screws or plates, from 0.036 on; drawn screws have 0.035 or more."""


def has_metal(radiograph: Radiograph, knee: Any, bone: int) -> bool:
    """Whether more of the disc around a knee than may be is evenly white and sharply bordered, as metal is;
    letters and the collimator's leaves lie outside of it. bone: -1 where bone is dark and metal darker still.
    """
    step = knee.plateau_px / SIZE
    origin = knee.points_px[landmarks.CENTRE] - step * (SIZE - 1) / 2
    square, inside = sample(radiograph.grey, radiograph.inside, origin, step, SIZE)
    if not inside.any():
        return False
    return any(
        white_share(cv2.medianBlur(bone * square, side), inside, white, rim) > share
        for side, white, rim, share in CRITERIA
    )


def white_share(square: np.ndarray, inside: np.ndarray, white: float, rim: float) -> float:
    """Share of the disc in a square (SIZE, SIZE) float32 that lies in white parts with darker rims."""
    low, high = np.percentile(square[inside], (1, 99.9))
    if high <= low:
        return 0.0
    grey = np.clip((square - low) / (high - low), 0, 1)
    count, parts = cv2.connectedComponents(((grey > white) & inside).astype(np.uint8))
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    disc = np.hypot(x, y) < SIZE / 2
    bright = [parts == number for number in range(1, count)]
    sharp = [part for part in bright if part.sum() > LEAST_PX and np.median(grey[rim_of(part)]) < rim]
    return float(sum((part & disc).sum() for part in sharp) / disc.sum())


def rim_of(part: np.ndarray) -> np.ndarray:
    """The pixels within three of a part, without it."""
    return (cv2.dilate(part.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~part
