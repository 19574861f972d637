"""Sampling windows of pictures between pixels, laying shapes onto each other, and finding peaks between
samples."""

from collections.abc import Sequence

import cv2
import numpy as np


def vertex(values: Sequence[float] | np.ndarray) -> float:
    """Where the parabola through three values at -1, 0, 1, the middle one the largest, is highest:
    at most half a step off; 0 where it has no peak."""
    left, middle, right = values
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


BILINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    step_px: float,
    size: tuple[int, int],
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """The picture of `size` (width, height); `matrix` (2, 3) takes its pixels, `step_px` apart, to the image.

    Bilinear, as in the paper, with a low-pass before where it samples down.
    """
    if step_px > 1.2:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(step_px**2 - 1))
    return cv2.warpAffine(image, matrix, size, flags=BILINEAR, borderMode=border)


def cut(image: np.ndarray, origin_px: np.ndarray, step_px: float, side: int) -> np.ndarray:
    """One square of `side` pixels, `step_px` apart; zero outside."""
    matrix = np.array([[step_px, 0, origin_px[0]], [0, step_px, origin_px[1]]])
    return warp(image, matrix, step_px, (side, side))


def window(field: np.ndarray, middle: np.ndarray, half: int, step: float = 1.0) -> np.ndarray:
    """The square of 2 * half + 1 points around `middle` (x, y), `step` pixels apart, sampled between pixels;
    zero outside."""
    matrix = np.array([[step, 0, middle[0] - half * step], [0, step, middle[1] - half * step]], float)
    return cv2.warpAffine(field, matrix, (2 * half + 1, 2 * half + 1), flags=BILINEAR)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix of the similarity that takes points (n, 2) as near as can be, in least squares, to as
    many others."""
    (a, b) = (points @ np.array([1, 1j]) for points in (source, target))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def peak(total: np.ndarray) -> tuple[np.ndarray, float]:
    """(shift (2,) in pixels from the middle, value) of the largest value of a square (2 R + 1, 2 R + 1)."""
    row, column = np.unravel_index(total.argmax(), total.shape)
    shift = np.array([column, row], float) - total.shape[0] // 2
    if 0 < row < total.shape[0] - 1 and 0 < column < total.shape[1] - 1:
        shift += vertex(total[row, column - 1 : column + 2]), vertex(total[row - 1 : row + 2, column])
    return shift, float(total[row, column])


def peaks(responses: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sub-pixel maxima (16, 2) px of response images, by a parabola along each axis, and their heights
    (16,)."""
    places, heights = [], []
    for response, corner in zip(responses, corners):
        i, j = np.unravel_index(np.argmax(response[1:-1, 1:-1]), np.array(response.shape) - 2)
        i, j = i + 1, j + 1
        places.append(
            corner + [j + vertex(response[i, j - 1 : j + 2]), i + vertex(response[i - 1 : i + 2, j])]
        )
        heights.append(response[i, j])
    return np.array(places), np.array(heights)
