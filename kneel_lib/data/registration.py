"""Groupwise registration: published landmarks onto crops of unknown scale and place ("congealing", after Learned-Miller 2006).

A knee's landmarks are known up to where its crop was cut: a scale (mm in a crop pixel) and the place of landmark 4. Nobody knows what a landmark
looks like in these crops either. Both are found together: assume that every knee lies in the same place, average what is seen around each
landmark over all knees, move each knee to where its own landmarks look most like the averages, and average again. The averages are fog at
first and bone in the end. What no such method can know is the gauge, one scale and one shift common to all knees: here the median scale
stays at FIRST_MM_PER_PX, and whoever compares two placements takes the gauge out first (`disagreement_mm`).

The table `data/oai_crops_registration.csv` was made by the same idea with other code; this module does not replace it yet.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from joblib import Parallel, delayed

from kneel_lib import landmarks

GRID_MM = 0.5
"""Crops are compared on a grid of this spacing, whatever their own."""

FIRST_MM_PER_PX = 0.48


@dataclass(frozen=True)
class Round:
    """One round of moving all knees. sigma_mm: blur before gradients are taken. half_mm: half the side of a landmark's patch. reach_mm: how far a knee
    may move. scales: what its scale may be multiplied with."""

    sigma_mm: float
    half_mm: float
    reach_mm: float
    scales: tuple


def steps(width, count=5):
    """Scale factors from 1 - width to 1 + width."""
    return tuple(np.linspace(1 - width, 1 + width, count))


ROUNDS = (Round(2.0, 12.0, 14.0, steps(0.12, 7)), Round(2.0, 12.0, 14.0, steps(0.12, 7)), Round(1.5, 10.0, 10.0, steps(0.10, 7)), Round(1.2, 9.0, 8.0, steps(0.08)),
          Round(1.0, 8.0, 6.0, steps(0.06)), Round(0.8, 8.0, 5.0, steps(0.04)), Round(0.6, 7.0, 4.0, steps(0.03)), Round(0.5, 7.0, 3.0, steps(0.02)))
LEFT_OUT = 0.15
"""Share of the knees with the lowest scores that stay out of the averages."""


@dataclass(frozen=True)
class Placement:
    """Where the knees lie. mm_per_px: (n,). centres_px: (n, 2) landmark 4 in pixels of the (right-oriented) crop. scores: (n,) mean correlation with the averages."""

    mm_per_px: np.ndarray
    centres_px: np.ndarray
    scores: np.ndarray


def register(images, offsets_mm, rounds=ROUNDS, jobs=-1, after_round=lambda number, placement, templates: None):
    """The `Placement` of n right-oriented crops, uint8 each, whose landmarks lie at offsets_mm (n, 16, 2) from landmark 4.

    after_round(number, placement, templates) is called after every round; templates are (16, P, P, 2) averages of gradients.
    """
    count = len(images)
    placement = Placement(np.full(count, FIRST_MM_PER_PX), np.array([[(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2] for image in images]), np.ones(count))
    with Parallel(jobs) as parallel:
        for number, settings in enumerate(rounds, start=1):
            templates = average_patches(images, offsets_mm, placement, settings, parallel)
            moved = parallel(delayed(move)(image, offsets, scale, centre, templates, settings)
                             for image, offsets, scale, centre in zip(images, offsets_mm, placement.mm_per_px, placement.centres_px))
            scales, centres, scores = (np.array(values) for values in zip(*moved))
            placement = Placement(*hold_gauge(scales, centres), scores)
            after_round(number, placement, templates)
    return placement


def hold_gauge(scales, centres):
    """Scales and centres with the median scale put back to FIRST_MM_PER_PX: else all knees may drift together, one round after the other."""
    return scales * FIRST_MM_PER_PX / np.median(scales), centres


def gradients(image, mm_per_px, sigma_mm):
    """(H, W, 2) float32 on GRID_MM: the picture's gradient, blurred and divided by its local strength, so that contrast does not count."""
    factor = mm_per_px / GRID_MM
    size = max(round(image.shape[1] * factor), 8), max(round(image.shape[0] * factor), 8)
    matrix = np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])
    picture = cv2.warpAffine(image.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    picture = cv2.GaussianBlur(picture, (0, 0), sigma_mm / GRID_MM)
    field = np.dstack([cv2.Sobel(picture, cv2.CV_32F, 1, 0), cv2.Sobel(picture, cv2.CV_32F, 0, 1)])
    strength = cv2.GaussianBlur((field ** 2).sum(axis=2), (0, 0), 6.0 / GRID_MM)
    return field / np.sqrt(strength + 1.0)[..., None]


def window(field, middle, half):
    """The square of 2 * half + 1 grid points around `middle` (x, y), sampled between points; zero outside."""
    matrix = np.array([[1, 0, middle[0] - half], [0, 1, middle[1] - half]], float)
    return cv2.warpAffine(field, matrix, (2 * half + 1, 2 * half + 1), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def places(offsets_mm, mm_per_px, centre_px):
    """(16, 2) grid positions of a knee's landmarks."""
    return (centre_px * mm_per_px + offsets_mm) / GRID_MM


def average_patches(images, offsets_mm, placement, settings, parallel):
    """(16, P, P, 2): what is seen around each landmark, averaged over the knees that fit best so far."""
    chosen = np.flatnonzero(placement.scores >= np.quantile(placement.scores, LEFT_OUT))
    half = round(settings.half_mm / GRID_MM)
    parts = parallel(delayed(patches)(images[k], offsets_mm[k], placement.mm_per_px[k], placement.centres_px[k], settings.sigma_mm, half) for k in chosen)
    return np.mean(parts, axis=0).astype(np.float32)


def patches(image, offsets_mm, mm_per_px, centre_px, sigma_mm, half):
    """(16, P, P, 2) of one knee."""
    field = gradients(image, mm_per_px, sigma_mm)
    return np.stack([window(field, place, half) for place in places(offsets_mm, mm_per_px, centre_px)])


def move(image, offsets_mm, mm_per_px, centre_px, templates, settings):
    """(scale, centre, score) of one knee after a round: the best peak over all scales, between grid points and between scales."""
    found = [best_shift(image, offsets_mm, mm_per_px * factor, centre_px, templates, settings) for factor in settings.scales]
    scores = np.array([score for _, score in found])
    best = int(scores.argmax())
    scale = mm_per_px * settings.scales[best]
    if 0 < best < len(scores) - 1:
        scale *= 1 + vertex(scores[best - 1:best + 2]) * (settings.scales[best + 1] - settings.scales[best]) / settings.scales[best]
    return scale, centre_px + found[best][0] * GRID_MM / scale, float(scores[best])


def best_shift(image, offsets_mm, mm_per_px, centre_px, templates, settings):
    """(shift (2,) in grid points, score) at one scale: the peak of the sixteen correlations, each looked for around its own landmark."""
    reach = round(settings.reach_mm / GRID_MM)
    half = templates.shape[1] // 2
    field = gradients(image, mm_per_px, settings.sigma_mm)
    total = sum(cv2.matchTemplate(window(field, place, half + reach), template, cv2.TM_CCORR_NORMED)
                for place, template in zip(places(offsets_mm, mm_per_px, centre_px), templates)) / landmarks.COUNT
    row, column = np.unravel_index(total.argmax(), total.shape)
    shift = np.array([column - reach, row - reach], float)
    if 0 < row < total.shape[0] - 1 and 0 < column < total.shape[1] - 1:
        shift += vertex(total[row, column - 1:column + 2]), vertex(total[row - 1:row + 2, column])
    return shift, float(total.max())


def disagreement_mm(first, second, offsets_mm):
    """(n, 16) mm between the landmarks of two placements of the same crops, one common scale and one common shift taken out.

    first and second: (mm_per_px (n,), centres_px (n, 2)) each; mm are the first one's.
    """
    (scale, centre), (other_scale, other_centre) = first, second
    other_scale = other_scale * np.median(scale / other_scale)
    places_px, other_px = (centre[:, None] + offsets_mm / scale[:, None, None] for scale, centre in ((scale, centre), (other_scale, other_centre)))
    apart = (places_px - other_px) * scale[:, None, None]
    return np.linalg.norm(apart - np.median(apart, axis=(0, 1)), axis=2)


def vertex(values):
    """Where the parabola through three values, the middle one the largest, has its vertex: -0.5 to 0.5 steps from the middle."""
    left, middle, right = values
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
