"""The network check: a second placement of every crop, by a network that has never seen the knee, and what is
made of the two.

A small network is trained on one half of the subjects, on whole crops at one nominal spacing, with the
landmarks where the templates put them. It averages over the errors of its labels, and predicts the other
half's landmarks in plain pixels of the crop. A knee's own shape, scaled and shifted but not rotated, is then
laid onto its sixteen predictions.
"""

from collections.abc import Callable

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.rois import cut_rois
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import BEST
from kneel_lib.network import training
from studies.registration.congealing import MEDIAN_MM_PER_PX, Placement, disagreement_mm, in_gauge_of
from studies.registration.simulated_crops import Crops

CHECK = Profile("check", size_px=128, spacing_mm=0.75, width=16, depth=4, epochs=40)
REPLACED_MM = 2.0
"""Knees whose two placements are this far apart (mean over landmarks) take the network's."""


def halves(crops: Crops) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(rows to train on, rows to predict)] twice: two halves of the subjects, KL grades in proportion."""
    splitter = StratifiedGroupKFold(2, shuffle=True, random_state=0)
    return list(splitter.split(crops.knees, crops.knees["kl"], crops.knees["subject_id"]))


def plain_cohort(crops: Crops, placement: Placement) -> Cohort:
    """The crops as a `Cohort` in which every crop has the same nominal spacing:
    landmarks in mm are pixels times that number, inverted crops are turned."""
    images = tuple(255 - image if flip else image for image, flip in zip(crops.images, placement.inverted))
    knees = crops.knees.assign(mm_per_px=MEDIAN_MM_PER_PX)
    return Cohort(
        "plain", knees, images, placement.landmarks_px(crops.offsets_mm) * MEDIAN_MM_PER_PX, MEDIAN_MM_PER_PX
    )


def predict_half(
    crops: Crops,
    placement: Placement,
    known: np.ndarray,
    unseen: np.ndarray,
    seed: int = 0,
    profile: Profile = CHECK,
    device: str = "cpu",
    after_epoch: Callable[[training.State], object] = lambda state: None,
) -> np.ndarray:
    """(rows, 16, 2) landmarks of the rows `unseen` in pixels of their crops, by a network trained on the
    rows `known`."""
    plain = plain_cohort(crops, placement)
    learnt = cut_rois(
        plain.select(known), profile.size_px, profile.spacing_mm, "image", margin_px=profile.size_px // 8
    )
    state = training.train(BEST, profile, learnt, seed, device, after_epoch=after_epoch)
    rois = cut_rois(plain.select(unseen), profile.size_px, profile.spacing_mm, "image")
    return rois.to_mm(training.predict(state.model, rois, device)) / MEDIAN_MM_PER_PX


def far_points_lose(distances_px: np.ndarray, px_per_mm: float) -> np.ndarray:
    """Weights of Cauchy: points that lie far off, as the others go, count for little."""
    return 1 / (1 + (distances_px / (1.5 * np.median(distances_px) + 0.2)) ** 2)


def fit_shape(
    points_px: np.ndarray,
    offsets_mm: np.ndarray,
    rounds: int = 20,
    weigh: Callable[[np.ndarray, float], np.ndarray] = far_points_lose,
) -> tuple[float, np.ndarray, float]:
    """(mm_per_px, centre_px, median distance left in px) by least squares, weighted anew in every round by
    weigh(distances in px, px in a mm)."""
    weights = np.ones(len(points_px))
    for _ in range(rounds):
        weights = weights / weights.sum()
        middle_mm, middle_px = weights @ offsets_mm, weights @ points_px
        spread = offsets_mm - middle_mm
        px_per_mm = (weights[:, None] * spread * (points_px - middle_px)).sum() / (
            weights[:, None] * spread**2
        ).sum()
        centre = middle_px - px_per_mm * middle_mm
        distances = np.linalg.norm(points_px - centre - px_per_mm * offsets_mm, axis=1)
        weights = weigh(distances, px_per_mm)
    return 1 / px_per_mm, centre, float(np.median(distances))


def fit_placement(
    points_px: np.ndarray,
    offsets_mm: np.ndarray,
    inverted: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray, float]] = fit_shape,
) -> Placement:
    """The `Placement` that lays each knee's shape onto its points (n, 16, 2): a scale and a shift;
    its scores are 1 / (1 + the median distance left in pixels)."""
    fitted = [fit(points, offsets) for points, offsets in zip(points_px, offsets_mm)]
    scales, centres, left = (np.array(values) for values in zip(*fitted))
    return Placement(scales, centres, 1 / (1 + left), np.asarray(inverted))


def combine(
    first: Placement, second: Placement, offsets_mm: np.ndarray
) -> tuple[Placement, np.ndarray, np.ndarray]:
    """(the `Placement` made of both, check_mm (n,), replaced (n,) booleans). The second is brought to the
    first one's gauge.

    Knees on which the two are REPLACED_MM or more apart take the second. All others keep the first: it is the
    more precise of the two.
    """
    check_mm = disagreement_mm(first, second, offsets_mm).mean(axis=1)
    replaced = check_mm >= REPLACED_MM
    second = in_gauge_of(first, second, offsets_mm)
    return (
        Placement(
            np.where(replaced, second.mm_per_px, first.mm_per_px),
            np.where(replaced[:, None], second.centres_px, first.centres_px),
            first.scores,
            first.inverted,
        ),
        check_mm,
        replaced,
    )
