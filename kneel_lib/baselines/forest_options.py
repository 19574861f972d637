"""Options of random-forest regression voting (`rfrv_clm`) as data, and checks of training input."""

from dataclasses import dataclass

import numpy as np

from kneel_lib import landmarks
from kneel_lib.errors import KneelError

BAGS = 4
"""Tree t never sees the knees k with k % BAGS == t % BAGS: their votes show the error on new knees."""

LEAST_KNEES = 8


@dataclass(frozen=True)
class Stage:
    """One resolution. All lengths in mm of the reference frame.

    pixel_mm: a pixel of the reference image. patch_mm: half side of a patch. radius_mm: how far training
    samples lie from the landmark at most, along each axis. search_mm, step_mm: patches lie on a grid of this
    half side and step around the current point. passes: how often the stage is repeated. turn_degrees,
    resize: standard deviation of the training poses' rotation and relative scale. smooth_mm: sigma of the
    smoothing of a response image.
    """

    pixel_mm: float
    patch_mm: float
    radius_mm: float
    search_mm: float
    step_mm: float
    passes: int = 1
    turn_degrees: float = 3.0
    resize: float = 0.03
    smooth_mm: float = 1.0

    def to_px(self, length_mm: float) -> int:
        """A length in whole pixels of the reference image, one or more."""
        return max(1, round(length_mm / self.pixel_mm))


@dataclass(frozen=True)
class Options:
    """How big the forests are and how the fit goes; the defaults are for ROIs of about 96 mm.

    trees: for each landmark and stage. views: disturbed poses of a training knee. samples: patches that a
    tree sees of a view. candidates, least_leaf, looked_at: see `grow_tree`. kept_variance: share that the
    shape modes explain. starts_mm: distance of the first stage's other starts from the ROI's centre (0: one
    start). contrast_mm: sigma of the local contrast normalisation. The defaults were chosen on fold 0 of the
    real crops.
    """

    stages: tuple[Stage, ...] = (
        Stage(1.5, 18.0, 12.0, 10.0, 3.0, 2, 6.0, 0.06, 2.0),
        Stage(1.0, 15.0, 6.0, 4.0, 1.0, 2, 3.0, 0.03, 1.0),
        Stage(0.5, 12.0, 3.0, 2.0, 0.5, 2, 2.0, 0.02, 0.5),
    )
    trees: int = 12
    views: int = 2
    samples: int = 8
    candidates: int = 200
    least_leaf: int = 5
    looked_at: int = 400
    kept_variance: float = 0.98
    starts_mm: float = 8.0
    contrast_mm: float = 8.0


def check_images(images: np.ndarray) -> None:
    """`KneelError` unless these are square uint8 pictures."""
    if (
        not isinstance(images, np.ndarray)
        or images.ndim != 3
        or images.shape[1] != images.shape[2]
        or images.dtype != np.uint8
    ):
        raise KneelError("images must be one uint8 array (n, S, S) of square ROIs")


def check_training(
    images: np.ndarray, points_px: np.ndarray, mm_per_px: float, options: Options, jobs: int
) -> None:
    """`KneelError` in one sentence for training input or options that cannot work."""
    if np.shape(points_px) != (len(images), landmarks.COUNT, 2):
        raise KneelError(
            f"points_px must be ({len(images)}, {landmarks.COUNT}, 2) ROI pixels, not {np.shape(points_px)}"
        )
    if np.ndim(mm_per_px) or not mm_per_px > 0:
        raise KneelError("mm_per_px must be one number above 0: the size of an ROI pixel in mm")
    if int(np.isfinite(points_px).all(axis=(1, 2)).sum()) < LEAST_KNEES:
        raise KneelError(
            f"forest voting needs {LEAST_KNEES} or more knees with all {landmarks.COUNT} landmarks"
        )
    counts = (options.views, options.samples, options.candidates, options.least_leaf, options.looked_at, jobs)
    if not options.stages or options.trees < BAGS or min(counts) < 1:
        raise KneelError(
            f"forest voting needs a stage or more, {BAGS} or more trees, and 1 or more views, samples, "
            "candidates, least_leaf, looked_at and jobs"
        )
    if not 0 < options.kept_variance <= 1 or options.contrast_mm <= 0 or options.starts_mm < 0:
        raise KneelError("kept_variance must be in (0, 1], contrast_mm above 0 and starts_mm 0 or more")
    lengths = ("pixel_mm", "patch_mm", "radius_mm", "search_mm", "step_mm", "smooth_mm", "passes")
    if any(getattr(stage, name) <= 0 for stage in options.stages for name in lengths):
        raise KneelError("every length of a stage, and its passes, must be above 0")
