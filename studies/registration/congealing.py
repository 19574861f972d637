"""Groupwise registration: published landmarks onto crops of unknown scale and place ("congealing", after
Learned-Miller 2006).

A knee's landmarks are known up to where its crop was cut: a scale (mm in a crop pixel) and the place of
landmark 4. Nobody knows what a landmark looks like in these crops either. Both are found together: assume
that every knee lies in the same place, average what is seen around each landmark over all knees, move each
knee to where its own landmarks look most like the averages, and average again. The averages are fog at first
and bone in the end.

Everything is seen in pixels of the crop. A candidate scale moves the sixteen patches apart or together, it
does not magnify what is in them: a large knee has large condyles, and a patch magnified with the candidate
would ask each knee to be as large as the average one, which draws all scales towards their mean.

What no such method can know is the gauge, one scale and one shift common to all knees. In the rounds the
median scale stays at MEDIAN_MM_PER_PX; `edge_gauge` then looks, in the averages, where the landmarks would
lie on the edges of the bones. Whoever compares two placements takes the gauge out first (`disagreement_mm`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from joblib import Parallel, delayed

from kneel_lib import landmarks
from kneel_lib.imaging import peak, vertex, window

MEDIAN_MM_PER_PX = 0.44


@dataclass(frozen=True)
class Round:
    """One round of moving all knees, in pixels of the crop. sigma_px: blur before gradients are taken.
    half_px: half the side of a landmark's patch. reach_px: how far a knee may move. width: its scale may
    change by this share."""

    sigma_px: float
    half_px: int
    reach_px: int
    width: float

    @property
    def scales(self) -> np.ndarray:
        """The nine factors that a knee's scale is tried at."""
        return np.linspace(1 - self.width, 1 + self.width, 9)


ROUNDS = (
    Round(4.0, 32, 24, 0.15),
    Round(4.0, 32, 24, 0.15),
    Round(3.0, 28, 16, 0.12),
    Round(2.5, 26, 14, 0.10),
    Round(2.0, 24, 12, 0.10),
    Round(1.5, 22, 10, 0.08),
    Round(1.2, 22, 8, 0.08),
    Round(1.0, 22, 8, 0.08),
    Round(1.0, 22, 8, 0.08),
)
LEFT_OUT = 0.15
"""Share of the knees with the lowest scores that stay out of the averages."""
STRENGTH_SIGMA_PX = 30.0
"""Gradients are divided by their strength over a neighbourhood of this size, so that a crop's contrast
does not count."""


@dataclass(frozen=True)
class Placement:
    """Where the knees lie. mm_per_px: (n,). centres_px: (n, 2) landmark 4 in pixels of the
    (right-oriented) crop. scores: (n,) mean correlation with the averages. inverted: (n,) booleans, grey
    values that run the other way."""

    mm_per_px: np.ndarray
    centres_px: np.ndarray
    scores: np.ndarray
    inverted: np.ndarray

    def landmarks_px(self, offsets_mm: np.ndarray) -> np.ndarray:
        """(n, 16, 2) in pixels of the crops, for landmarks at offsets_mm (n, 16, 2) from landmark 4."""
        return self.centres_px[:, None] + offsets_mm / self.mm_per_px[:, None, None]

    def select(self, rows: np.ndarray) -> "Placement":
        """The placement of these rows only."""
        return Placement(self.mm_per_px[rows], self.centres_px[rows], self.scores[rows], self.inverted[rows])


def start(images: Sequence[np.ndarray]) -> Placement:
    """The placement before the first round: every knee in the middle of its crop, at the same scale, none
    inverted."""
    middles = np.array([[(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2] for image in images])
    return Placement(
        np.full(len(images), MEDIAN_MM_PER_PX), middles, np.ones(len(images)), np.zeros(len(images), bool)
    )


def register(
    images: Sequence[np.ndarray],
    offsets_mm: np.ndarray,
    rounds: Sequence[Round] = ROUNDS,
    makers: np.ndarray | None = None,
    jobs: int = 1,
    placement: Placement | None = None,
    after_round: Callable[[int, Placement, np.ndarray], object] = lambda number, placement, templates: None,
) -> Placement:
    """The `Placement` of n right-oriented crops, uint8 each, whose landmarks lie at offsets_mm (n, 16, 2)
    from landmark 4.

    makers: rows of the knees that the averages are taken over (None: all). placement: where to go on
    (default: `start`). after_round is called after every round with its number, the placement, and the (16,
    P, P, 2) averages of gradients that the knees were moved by.
    """
    placement = placement or start(images)
    makers = np.arange(len(images)) if makers is None else np.asarray(makers)
    with Parallel(jobs, prefer="threads") as parallel:
        for number, settings in enumerate(rounds, start=1):
            templates = average_patches(images, offsets_mm, placement, settings, makers, parallel)
            moved = parallel(
                delayed(move)(image, offsets, scale, centre, templates, settings)
                for image, offsets, scale, centre in zip(
                    images, offsets_mm, placement.mm_per_px, placement.centres_px
                )
            )
            placement = hold_gauge(Placement(*(np.array(values) for values in zip(*moved))))
            after_round(number, placement, templates)
    return placement


def hold_gauge(placement: Placement) -> Placement:
    """The placement with the median scale put back: else all knees may drift together, one round after the
    other."""
    return replace(
        placement, mm_per_px=placement.mm_per_px * MEDIAN_MM_PER_PX / np.median(placement.mm_per_px)
    )


def gradients(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """(H, W, 2) float32: the crop's gradient along x and y, blurred and divided by its local strength."""
    picture = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_px)
    field = np.dstack(
        [cv2.Sobel(picture, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(picture, cv2.CV_32F, 0, 1, ksize=1)]
    )
    strength = cv2.GaussianBlur((field**2).sum(axis=2), (0, 0), STRENGTH_SIGMA_PX)
    return field / np.sqrt(strength + 0.05)[..., None]


def average_patches(
    images: Sequence[np.ndarray],
    offsets_mm: np.ndarray,
    placement: Placement,
    settings: Round,
    makers: np.ndarray,
    parallel: Parallel,
) -> np.ndarray:
    """(16, P, P, 2): what is seen around each landmark, averaged over the makers that fit best so far."""
    scores = placement.scores[makers]
    chosen = makers[scores >= np.quantile(scores, LEFT_OUT)]
    points = placement.landmarks_px(offsets_mm)
    parts = parallel(delayed(patches)(images[k], points[k], placement.inverted[k], settings) for k in chosen)
    return np.mean(parts, axis=0).astype(np.float32)


def patches(image: np.ndarray, points_px: np.ndarray, inverted: bool, settings: Round) -> np.ndarray:
    """(16, P, P, 2) gradients around a knee's landmarks (16, 2)."""
    field = gradients(image, settings.sigma_px) * (-1 if inverted else 1)
    return np.stack([window(field, point, settings.half_px) for point in points_px])


def move(
    image: np.ndarray,
    offsets_mm: np.ndarray,
    mm_per_px: float,
    centre_px: np.ndarray,
    templates: np.ndarray,
    settings: Round,
) -> tuple[float, np.ndarray, float, bool]:
    """(scale, centre, score, inverted) of one knee after a round: the best place over all scales, between
    pixels and between scales.

    An inverted crop has the same gradients with the other sign, so its best place is the lowest value instead
    of the highest.
    """
    totals = ensemble(image, offsets_mm, mm_per_px, centre_px, templates, settings)
    inverted = bool(-totals.min() > totals.max())
    peaks = [peak(-total if inverted else total) for total in totals]
    scores = np.array([score for _, score in peaks])
    best = int(scores.argmax())
    between = vertex(scores[best - 1 : best + 2]) if 0 < best < len(scores) - 1 else 0.0
    factor = settings.scales[best] + between * (settings.scales[1] - settings.scales[0])
    return mm_per_px * factor, centre_px + peaks[best][0], float(scores[best]), inverted


def ensemble(
    image: np.ndarray,
    offsets_mm: np.ndarray,
    mm_per_px: float,
    centre_px: np.ndarray,
    templates: np.ndarray,
    settings: Round,
) -> np.ndarray:
    """(9, 2 R + 1, 2 R + 1), R = reach_px: the mean correlation of a knee's sixteen patches with the
    averages, at each scale and shift.

    Each landmark is compared with its average once, over all places that any scale can bring it to; a scale
    only says which of them are added up.
    """
    offsets = offsets_mm / mm_per_px
    far = settings.reach_px + int(np.ceil(np.abs(offsets).max() * settings.width / (1 - settings.width))) + 1
    field = gradients(image, settings.sigma_px)
    responses = [
        cv2.matchTemplate(
            window(field, centre_px + offset, settings.half_px + far), template, cv2.TM_CCORR_NORMED
        )
        for offset, template in zip(offsets, templates)
    ]
    return np.stack(
        [
            sum(
                window(response, far + offset * (1 / factor - 1), settings.reach_px)
                for response, offset in zip(responses, offsets)
            )
            / landmarks.COUNT
            for factor in settings.scales
        ]
    )


BRIGHTER = {
    0: (1, 1),
    1: (0, 1),
    2: (0, 1),
    3: (0, 1),
    5: (0, 1),
    6: (0, 1),
    7: (0, 1),
    8: (-1, 1),
    12: (0, -1),
}
"""Landmarks that the paper's Fig.
2 draws on an edge of bone, and the direction (x, y) in which the picture grows brighter there."""
EDGE_ROUND = Round(1.0, 24, 0, 0.0)
FINE_PX = 0.25


def edge_gauge(
    images: Sequence[np.ndarray],
    offsets_mm: np.ndarray,
    placement: Placement,
    reach_px: float = 12.0,
    width: float = 0.06,
    jobs: int = 1,
) -> tuple[float, np.ndarray]:
    """(factor, shift (2,) in pixels): what all scales and centres must be changed by, so that in the average
    the landmarks lie on the edges of the bones.

    In the averages of sharp gradients, the change is tried that moves the landmarks of BRIGHTER to where the
    picture grows brighter fastest.
    """
    with Parallel(jobs, prefer="threads") as parallel:
        templates = average_patches(
            images, offsets_mm, placement, EDGE_ROUND, np.arange(len(images)), parallel
        )
    outward = np.median(offsets_mm / placement.mm_per_px[:, None, None], axis=0)
    slopes = {
        number: cv2.GaussianBlur(
            templates[number] @ (np.array(direction, np.float32) / np.linalg.norm(direction)), (0, 0), 1.0
        )
        for number, direction in BRIGHTER.items()
    }
    factors = np.linspace(1 - width, 1 + width, 49)
    peaks = [
        peak(
            sum(  # type: ignore[arg-type]  # of arrays: there are slopes
                window(
                    slope,
                    EDGE_ROUND.half_px + outward[number] * (1 / factor - 1),
                    round(reach_px / FINE_PX),
                    FINE_PX,
                )
                for number, slope in slopes.items()
            )
        )
        for factor in factors
    ]
    best = int(np.argmax([value for _, value in peaks]))
    return float(factors[best]), peaks[best][0] * FINE_PX


def regauge(placement: Placement, factor: float, shift_px: np.ndarray) -> Placement:
    """The placement with every scale multiplied and every centre shifted alike."""
    return replace(
        placement, mm_per_px=placement.mm_per_px * factor, centres_px=placement.centres_px + shift_px
    )


def in_gauge_of(other: Placement, placement: Placement, offsets_mm: np.ndarray) -> Placement:
    """The placement, changed by one scale and one shift common to all knees (medians over knees and
    landmarks), so that it lies as the other one does."""
    placement = regauge(placement, np.median(other.mm_per_px / placement.mm_per_px), np.zeros(2))
    apart = other.landmarks_px(offsets_mm) - placement.landmarks_px(offsets_mm)
    return regauge(placement, 1.0, np.median(apart, axis=(0, 1)))


def apart_mm(first: Placement, second: Placement, offsets_mm: np.ndarray) -> np.ndarray:
    """(n, 16, 2) mm from the second to the first `Placement` of the same crops, the gauge taken out
    (`in_gauge_of`); mm are the first one's.

    The common shift is one in pixels of the crop, since it is in these that the averages may slide; one in mm
    would leave a part of it that grows with the scale.
    """
    return (
        first.landmarks_px(offsets_mm) - in_gauge_of(first, second, offsets_mm).landmarks_px(offsets_mm)
    ) * first.mm_per_px[:, None, None]


def disagreement_mm(first: Placement, second: Placement, offsets_mm: np.ndarray) -> np.ndarray:
    """(n, 16) lengths of `apart_mm`."""
    return np.linalg.norm(apart_mm(first, second, offsets_mm), axis=2)
