"""Metal beside the joint: prostheses, screws, plates, whole or seen through noise; and pieces of it that are
small or let rays through."""

from collections.abc import Iterator
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


SAMPLES, BESIDE, LOWERED, ABOVE = 240, 40, 10, 72
"""Of the square in which pieces are looked for, in samples: its side; how much of it lies beside the plateau
on either side; how far below its middle the plateau lies; from how far above the plateau on bright pieces are
letters, which are written above and beside a knee."""

PIECE, PIECE_SHARE, LEAST_PIECE = 25, 0.25, 12
"""Widest piece that is looked for, in samples; by what share of the grey range it is brighter than around it;
how many samples it has at the least."""

STEEP, STEEPER = 0.9, 13.0
"""A piece of metal is one whose rim's gradient, times the logarithm of its area, is above STEEP as a share of
the grey range a sample, and above STEEPER in units of the picture's own steep places: sharpened pictures are
steep everywhere. Eleven of 13 crops with metal that were found by eye among 2,129 have such a piece; of the
529 labelled ones two have, and both show screws."""


def has_metal(radiograph: Radiograph, knee: Any, bone: int) -> bool:
    """Whether there is metal: white areas, or a steep piece. bone: -1 where bone is dark and metal darker
    still."""
    return is_white(radiograph, knee, bone) or steepest_piece(radiograph, knee, bone) > 1


def steepest_piece(radiograph: Radiograph, knee: Any, bone: int) -> float:
    """How steep the rim of the steepest bright piece is, beside and below the joint; above 1 it is metal."""
    grey, known = around(radiograph, knee, bone)
    if not known.any():
        return 0.0
    gradient = np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1))))
    usual = np.percentile(gradient[known], 90) + 1e-3
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (PIECE, PIECE))
    bright = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, disc, borderType=cv2.BORDER_REFLECT) > PIECE_SHARE
    bright &= known
    bright[: SAMPLES // 2 + LOWERED - ABOVE] = False
    found = [steepness(part, gradient, known) for part in pieces(bright)]
    return max((min(rim / STEEP, rim / usual / STEEPER) for rim in found), default=0.0)


def around(radiograph: Radiograph, knee: Any, bone: int) -> tuple[np.ndarray, np.ndarray]:
    """(grey values (SAMPLES, SAMPLES) around a knee's joint, as shares of their range, smoothed a little;
    which of them are inside of the picture, and above or below the plateau)."""
    step = knee.plateau_px / (SAMPLES - 2 * BESIDE)
    middle = (knee.points_px[0] + knee.points_px[landmarks.TIBIA[-1]]) / 2
    origin = middle - step * (SAMPLES / 2 + np.array([0, LOWERED]))
    square, inside = sample(radiograph.grey, radiograph.inside, origin, step, SAMPLES)
    known = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
    known[:, :BESIDE] = known[:, -BESIDE:] = False
    grey = cv2.medianBlur(bone * square, 3)
    low, high = np.percentile(grey[known], (5, 95)) if known.any() else (0.0, 1.0)
    return ((grey - low) / max(high - low, 1e-6)).astype(np.float32), known


def pieces(bright: np.ndarray) -> Iterator[np.ndarray]:
    """The connected parts (H, W) bool of a mask that are not too small."""
    count, parts, sizes, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        if sizes[number, cv2.CC_STAT_AREA] >= LEAST_PIECE:
            yield parts == number


def steepness(part: np.ndarray, gradient: np.ndarray, known: np.ndarray) -> float:
    """Median gradient along the rim of a part, times the logarithm of its area."""
    whole, square = part.astype(np.uint8), np.ones((3, 3), np.uint8)
    rim = (cv2.dilate(whole, square) > cv2.erode(whole, square, borderValue=1)) & known
    return float(np.median(gradient[rim]) * np.log(part.sum())) if rim.any() else 0.0


def is_white(radiograph: Radiograph, knee: Any, bone: int) -> bool:
    """Whether more of the disc around a knee than may be is evenly white and sharply bordered, as metal is;
    letters and the collimator's leaves lie outside of it."""
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
