"""Active appearance and constrained local models by Menpo: the classical rows of Table 1 (section 4.2).

AAM: a holistic model of shape and appearance, fitted by Lucas-Kanade (Wiberg inverse compositional). CLM: a
correlation filter for each landmark and a shape model, fitted by gradient descent (regularised landmark mean
shift). Features: "igo", sine and cosine of the gradient's angle and of twice the angle, and "lbp", local
binary patterns. "grey" is there for figures.

As the authors ran them: Menpo's models and fitters, two scales (a half and one), twenty iterations (ten at
each), 90 % of the shapes' variance, started from the training knees' mean shape in the ROI. What differs:
- they trained at 0.3 mm a pixel. Here every knee is first brought to a mean shape of `DIAGONAL_PX`, about
  0.54 mm a pixel, so that one set of options means the same in a ROI of any size (and at 192 px about one
  gigabyte of memory is enough);
- a CLM patch has 25 pixels (13 mm at the fine scale), not Menpo's 17: an expert sees more around its
  landmark. This and the other options (diagonals, a third scale, appearance modes, fitting algorithms) were
  compared on a quarter of fold 0's training knees, the two patch sizes and two diagonals of the CLM before
  that also on its held-out knees;
- the AAM keeps `APPEARANCE_MODES` appearance modes, not all: 25 to 100 fitted alike there, all of them worse
  and three times slower;
- Menpo has no local binary patterns any more. They are made with scikit-image as Menpo's were by default:
  uniform rotation-invariant codes of 8 samples at radii 1 to 4, a channel for each radius.

Everything that goes in or comes out counts pixels of the ROI, x before y; Menpo's own y before x stays
inside.
"""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
from skimage.feature import local_binary_pattern

from kneel_lib import landmarks
from kneel_lib.errors import KneelError, find


def is_kind(kind: Any, parent: Any) -> bool:
    """`issubclass` that is False, not an error, for what is no class."""
    return inspect.isclass(kind) and issubclass(kind, parent)


def in_flat(these: Any, those: Any) -> np.ndarray:
    """`np.isin` of the flattened array, as `np.in1d` was."""
    return np.isin(np.ravel(these), those)


REMOVED = {
    (scipy.integrate, "simps"): scipy.integrate.simpson,  # gone in SciPy 1.14; menpofit.error imports it
    (np, "Inf"): np.inf,  # gone in NumPy 2; with it menpofit begins every iteration
    (np, "alltrue"): np.all,  # gone in NumPy 2; with it menpofit checks its options
    (np, "issubclass_"): is_kind,  # gone in NumPy 2; with it menpo converts types of pixels
    (np, "in1d"): in_flat,  # gone in NumPy 2.4; with it menpo masks triangulations
    (np, "complex"): complex,  # gone in NumPy 1.24; the type of menpo's filter banks
    (np.lib, "pad"): np.pad,  # gone in NumPy 2; with it menpofit pads correlation filters
}
"""Names that menpo 0.11.1 and menpofit 0.7.1 still use and that NumPy and SciPy removed, and successors that
do the same. Neither library has had a release since: without these names they do not import, or fail in the
middle of a fit. Names that exist are left as they are."""


def put_back() -> None:
    """Set each removed name that is missing; to be called before menpo or menpofit is imported."""
    for (module, name), successor in REMOVED.items():
        if not hasattr(module, name):
            setattr(module, name, successor)


put_back()

from menpo.feature import double_igo, ndfeature, no_op  # noqa: E402
from menpo.image import Image  # noqa: E402
from menpo.shape import PointCloud  # noqa: E402
from menpo.transform import AlignmentSimilarity  # noqa: E402
from menpofit.aam import HolisticAAM, LucasKanadeAAMFitter  # noqa: E402
from menpofit.clm import CLM, GradientDescentCLMFitter  # noqa: E402

DIAGONAL_PX = 150
"""Diagonal of the mean shape's bounding box, to which pictures are scaled: the knee's is about 81 mm."""

SCALES = (0.5, 1.0)
PATCH_PX = 25
APPEARANCE_MODES = 50
SHAPE_VARIANCE = 0.9
ITERATIONS = 20
LBP_SAMPLES, LBP_RADII = 8, (1, 2, 3, 4)
GROUP = "knee"

FAR_SHARE = 0.25
"""A fit has left the picture where a landmark lies further outside than this share of the picture's side."""


@ndfeature
def local_binary_patterns(pixels: np.ndarray) -> np.ndarray:
    """Codes 0 to 9 of a (1, h, w) picture of grey values in 0 to 1, (radii, h, w)."""
    # whole grey values: flat parts stay flat, without codes of rounding noise
    grey = np.round(255 * pixels[0]).clip(0, 255).astype(np.uint8)
    return np.stack(
        [local_binary_pattern(grey, LBP_SAMPLES, radius, "uniform") for radius in LBP_RADII]
    ).astype(pixels.dtype)


FEATURES = {"igo": double_igo, "lbp": local_binary_patterns, "grey": no_op}


def make_aam(pictures: list[Image], features: Callable[..., Any]) -> LucasKanadeAAMFitter:
    """The fitter of a holistic AAM: (n) menpo pictures with landmarks."""
    model = HolisticAAM(
        pictures,
        group=GROUP,
        holistic_features=features,
        diagonal=DIAGONAL_PX,
        scales=SCALES,
        max_appearance_components=APPEARANCE_MODES,
    )
    return LucasKanadeAAMFitter(model, n_shape=SHAPE_VARIANCE)


def make_clm(pictures: list[Image], features: Callable[..., Any]) -> GradientDescentCLMFitter:
    """The fitter of a CLM: (n) menpo pictures with landmarks. The context of a patch is twice its side, as in
    Menpo's defaults."""
    model = CLM(
        pictures,
        group=GROUP,
        holistic_features=features,
        diagonal=DIAGONAL_PX,
        scales=SCALES,
        patch_shape=(PATCH_PX, PATCH_PX),
        context_shape=(2 * PATCH_PX, 2 * PATCH_PX),
    )
    return GradientDescentCLMFitter(model, n_shape=SHAPE_VARIANCE)


KINDS = {"aam": make_aam, "clm": make_clm}


@dataclass(frozen=True)
class MenpoModel:
    """A trained model. kind, features: names in KINDS and FEATURES. mean_px: (16, 2), the training knees'
    mean landmarks, the start.

    fitter: Menpo's, with all that was learned. knees: how many were trained on.
    """

    kind: str
    features: str
    mean_px: np.ndarray
    knees: int
    fitter: Any


def train(kind: str, features: str, images: np.ndarray, points_px: np.ndarray) -> MenpoModel:
    """Train a model on (n, S, S) uint8 ROIs and their (n, 16, 2) landmarks in pixels, x before y.

    Knees with a missing landmark (NaN) are left out. Raises `KneelError` for an unknown kind or features, for
    arrays of another form and where fewer than three whole knees are left.
    """
    make, feature = find(kind, KINDS, "kind of model"), find(features, FEATURES, "features")
    images, points = check_images(images), np.asarray(points_px, float)
    if points.shape != (len(images), landmarks.COUNT, 2):
        raise KneelError(
            f"points must be ({len(images)}, {landmarks.COUNT}, 2), as many as images, and are {points.shape}"
        )
    whole = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    if len(whole) < 3:
        raise KneelError(
            f"only {len(whole)} of {len(images)} knees have all {landmarks.COUNT} landmarks: "
            "a shape model needs 3 or more"
        )
    pictures = [as_picture(images[row], points[row]) for row in whole]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Menpo says that it triangulates the mean shape itself: as wanted
        fitter = make(pictures, feature)
    return MenpoModel(kind, features, points[whole].mean(axis=0), len(whole), fitter)


def fit(model: MenpoModel, images: np.ndarray, start_px: np.ndarray) -> np.ndarray:
    """Landmarks (n, 16, 2) in pixels of (n, S, S) ROIs, from `start_px`, (16, 2) or (n, 16, 2); usually the
    model's `mean_px`.

    A fit that fails or leaves the picture gives back its start.
    """
    images = check_images(images)
    starts = np.broadcast_to(np.asarray(start_px, float), (len(images), landmarks.COUNT, 2))
    predicted = np.empty(starts.shape)
    for row, (image, start) in enumerate(zip(images, starts)):
        predicted[row] = fit_steps(model, image, start)[-1]
    return predicted


def fit_steps(model: MenpoModel, image: np.ndarray, start_px: np.ndarray) -> np.ndarray:
    """The start and the landmarks after every iteration, coarse scale first, (iterations + 1, 16, 2) in
    pixels of the (S, S) ROI.

    Twenty iterations, fewer where a scale came to rest. The last is what `fit` gives: a failed fit ends at
    its start again.
    """
    start = np.asarray(start_px, float)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = model.fitter.fit_from_shape(as_picture(image), as_shape(start), max_iters=ITERATIONS)
        # Menpo also lists the start's projection on the shape model at each scale, which is no iteration.
        projected = set(result._reconstruction_indices)
        steps = np.stack(
            [shape.points[:, ::-1] for row, shape in enumerate(result.shapes) if row not in projected]
        )
    # what a shape that folds, bursts or leaves the picture ends in
    except (ValueError, ArithmeticError, IndexError, MemoryError):
        return np.stack([start, start])
    steps[0] = start
    return steps if inside(steps[-1], image) else np.concatenate([steps, start[None]])


def inside(points: np.ndarray, image: np.ndarray) -> bool:
    """Whether all (16, 2) points are known and lie in the picture or not far from it: true landmarks can lie
    a little outside."""
    side = np.array(image.shape[::-1])
    return bool(
        np.isfinite(points).all()
        and (points > -FAR_SHARE * side).all()
        and (points < (1 + FAR_SHARE) * side).all()
    )


def shape_modes(model: MenpoModel) -> tuple[np.ndarray, np.ndarray]:
    """(displacements (m, 16, 2), shares (m,)): what one standard deviation of a shape mode does to the mean,
    in ROI pixels.

    The mean +- 2 deviations of mode k is `model.mean_px +- 2 * displacements[k]`; times mm in a pixel gives
    mm. shares: of the variance of the aligned training shapes.
    """
    shapes = shape_model(model)
    to_roi = AlignmentSimilarity(shapes.mean(), as_shape(model.mean_px))
    mean = to_roi.apply(shapes.mean()).points
    weights = np.sqrt(shapes.eigenvalues)[:, None] * np.eye(shapes.n_active_components)
    moved = np.stack([to_roi.apply(shapes.instance(weight)).points for weight in weights])
    return (moved - mean)[:, :, ::-1], shapes.eigenvalues_ratio()


def appearance_image(model: MenpoModel, mode: int = 0, deviations: float = 0.0) -> np.ndarray:
    """The AAM's mean appearance, plus `deviations` standard deviations of an appearance mode: (channels, h,
    w), NaN off the knee.

    Channels are those of the features, pixels those of the fine scale's mean shape.
    """
    find(model.kind, {"aam": make_aam}, "kind of model with an appearance")
    appearance = model.fitter.aam.appearance_models[-1]
    weights = np.zeros(mode + 1)
    weights[mode] = deviations
    picture = appearance.instance(weights, normalized_weights=True)
    return np.where(picture.mask.mask, picture.pixels, np.nan)


def responses(
    model: MenpoModel, image: np.ndarray, start_px: np.ndarray, scale: int = -1
) -> tuple[np.ndarray, float]:
    """(maps (16, h, w), cell_px): what each of the CLM's experts makes of the surroundings of its landmark's
    start.

    A map adds up to one; its middle cell lies on the start, rows go down and columns right, a cell measures
    `cell_px` ROI pixels. scale: 0 is the coarse one, -1 the fine one.
    """
    find(model.kind, {"clm": make_clm}, "kind of model with experts")
    picture = as_picture(image, np.asarray(start_px, float)).rescale_to_pointcloud(
        model.fitter.reference_shape, group=GROUP
    )
    scaled = FEATURES[model.features](picture).rescale(model.fitter.scales[scale])
    shape = scaled.landmarks[GROUP]
    maps = model.fitter.clm.expert_ensembles[scale].predict_probability(scaled, shape)[:, 0]
    return maps, float(as_shape(start_px).norm() / shape.norm())


def shape_model(model: MenpoModel) -> Any:
    """Menpo's principal components of the fine scale's shapes, those in use."""
    trained = model.fitter.aam if model.kind == "aam" else model.fitter.clm
    return trained.shape_models[-1].model


def as_picture(image: np.ndarray, points: np.ndarray | None = None) -> Image:
    """A menpo picture of grey values in 0 to 1 of an (h, w) uint8 ROI, with its landmarks, if any."""
    picture = Image(np.asarray(image, np.float64)[None] / 255, copy=False)
    if points is not None:
        picture.landmarks[GROUP] = as_shape(points)
    return picture


def as_shape(points: np.ndarray) -> PointCloud:
    """A menpo shape, y before x, of points with x before y."""
    return PointCloud(np.asarray(points, float)[:, ::-1])


def check_images(images: np.ndarray) -> np.ndarray:
    """The (n, S, S) uint8 array itself; `KneelError` for anything else."""
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise KneelError(f"images must be (n, S, S) of uint8 and are {images.shape} of {images.dtype}")
    return images
