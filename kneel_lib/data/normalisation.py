"""The one normalisation of grey values: what every network that is to meet strangers' pictures sees, in
training and in prediction alike.

It is defined on the ROI. The values inside of the picture are stretched between two percentiles, and a gamma
brings their median to the middle: so window, exposure and the display's curve, which differ from hospital to
hospital, hardly matter any more, and an inverted picture that is turned round is the picture itself.
"""

import cv2
import numpy as np

from kneel_lib.imaging import BILINEAR

PERCENTILES = (1, 99)
"""What lies beyond (burnt-in letters, collimation borders, metal) is cut off."""

MEDIAN_RANGE = (0.05, 0.95)
"""Where the stretched median is brought to the middle from: beyond, the gamma would tear the picture apart.
"""

LONG_STEP, AVERAGED_STEPS = 36, 12
"""Pixels from one sample to the next from where on a picture is averaged first, and the steps that are left
then. A whole radiograph of 4300 pixels is looked at in steps of 34."""


def normalised_cut(
    image: np.ndarray,
    origin_px: np.ndarray,
    step_px: float,
    side: int,
    margin_px: int = 0,
    inside: np.ndarray | None = None,
) -> np.ndarray:
    """One square of `side` pixels of a picture, `step_px` apart, normalised; (side, side) uint8, 0 outside.

    image: (H, W), any number type. inside: (H, W), where a pixel is a part of the picture (None: everywhere).
    The statistics leave out what is outside of the picture and a margin of `margin_px` on each side.
    """
    square, counted = sample(image, inside, origin_px, step_px, side)
    return normalise(square, counted, margin_px)


def sample(
    image: np.ndarray, inside: np.ndarray | None, origin_px: np.ndarray, step_px: float, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """(values (side, side) float32, whether each is inside of the picture), bilinear, with a low-pass before
    where it samples down; only the part of the picture that is needed is touched."""
    reach = int(np.ceil(2 * step_px)) + 2
    size = np.array(image.shape[1::-1])
    first = np.clip(np.floor(origin_px).astype(int) - reach, 0, size - 1)
    last = np.clip(np.ceil(origin_px + step_px * side).astype(int) + reach, first + 1, size)
    part: np.ndarray = np.ascontiguousarray(image[first[1] : last[1], first[0] : last[0]], np.float32)
    x, y = origin_px - first
    matrix = np.array([[step_px, 0, x], [0, step_px, y]])
    square = lowpass_sample(part, matrix, side)
    if inside is None:
        steps = np.arange(side) * step_px
        columns, rows = (
            (at >= -0.5) & (at <= length - 0.5) for at, length in zip(origin_px[:, None] + steps, size)
        )
        return square, rows[:, None] & columns[None]
    counted = np.ascontiguousarray(inside[first[1] : last[1], first[0] : last[0]], np.uint8)
    return square, cv2.warpAffine(counted, matrix, (side, side), flags=BILINEAR) > 0


def lowpass_sample(part: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """`side` x `side` values of a float32 picture, bilinear, with a low-pass before where it samples down.

    matrix: (2, 3), takes them to the picture without turning it. Steps beyond LONG_STEP are taken in a
    picture that was averaged down first: the same to a grey value, and not minutes for the largest pictures.
    """
    step = matrix[0, 0]
    by = int(step // AVERAGED_STEPS) if step > LONG_STEP and min(part.shape) > LONG_STEP else 1
    variance = (step**2 - 1) / 4 - (by**2 - 1) / 12  # of the low-pass, less what averaging is of it
    if by > 1:
        height, width = part.shape[0] // by, part.shape[1] // by
        whole = part[: height * by, : width * by]
        part = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
        matrix = matrix / by
        matrix[:, 2] -= (by - 1) / (2 * by)
    if step > 1.2:
        part = cv2.GaussianBlur(part, (0, 0), np.sqrt(variance) / by)
    return cv2.warpAffine(part, matrix, (side, side), flags=BILINEAR, borderMode=cv2.BORDER_REPLICATE)


def normalise(square: np.ndarray, inside: np.ndarray, margin_px: int = 0) -> np.ndarray:
    """Grey values to uint8: linear between the PERCENTILES, then the gamma that brings the median to 127.5;
    0 outside, and everywhere where all values are the same."""
    core = slice(margin_px, len(square) - margin_px)
    values = square[core, core][inside[core, core]]
    if not len(values):
        return np.zeros(square.shape, np.uint8)
    low, middle, high = np.percentile(values, (PERCENTILES[0], 50, PERCENTILES[1]))
    if high <= low:
        return np.zeros(square.shape, np.uint8)
    share = np.clip((middle - low) / (high - low), *MEDIAN_RANGE)
    grey = np.clip((square - low) / (high - low), 0, 1) ** (np.log(0.5) / np.log(share))
    return np.where(inside, np.round(255 * grey), 0).astype(np.uint8)
