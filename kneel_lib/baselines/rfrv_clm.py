"""Random-forest regression voting in a constrained local model: RFRV-CLM, the method inside BoneFinder.

After Lindner, Bromiley, Ionita and Cootes, "Robust and accurate shape model matching using random forest
regression-voting", TPAMI 2015, and Lindner et al., "Fully automatic segmentation of the proximal femur using
random forest regression voting", TMI 2013. A forest for each landmark votes, from patches around the current
point, where the landmark is; the votes pile up in a response image; a shape model is fitted to the peaks of
the response images; the next stage does so at a finer resolution.

The KNEEL paper compares with BoneFinder itself (its Table 2). That is a closed program whose model came
trained, on 500 images of the OAI, and bone-finder.com says that its technology is patented (Cootes, Lindner,
Ionita; University of Manchester: EP 2893491, US 9928443): this module is for research, and its results are
not BoneFinder's. What differs:
- all knees are of one fold, in ROIs at their spacing; there is no Hough-forest detector before: the search
  starts from the ROI's middle and four places around it; the one with the highest response peaks is kept;
- grey values are first made even in local mean and contrast; features are drawn anew at every node, three
  scales of a patch alike, where BoneFinder draws a set a tree; splits lower summed squares, not an entropy;
- the shape is the most probable one under a Gaussian prior and the errors that votes showed on training knees
  their trees had not seen (`shape_search`), in place of a limit on the shape parameters and a search in
  shrinking circles.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from joblib import Parallel, delayed

from kneel_lib import landmarks
from kneel_lib.baselines.forest_options import BAGS, Options, Stage, check_images, check_training
from kneel_lib.baselines.reference_image import (
    Canvas,
    draw_pose,
    even_contrast,
    make_canvas,
    respond,
    see,
    window,
)
from kneel_lib.baselines.regression_trees import Forest, Tree, grow_tree, integral, join
from kneel_lib.baselines.shape_search import (
    PointModel,
    Pose,
    align,
    error_covariance,
    fit_shape,
    learn_points,
)
from kneel_lib.errors import KneelError
from kneel_lib.files import load_arrays, write_arrays
from kneel_lib.imaging import peaks

TINY = Options(
    stages=(
        Stage(3.0, 15.0, 9.0, 9.0, 3.0, 2, 4.0, 0.04, 3.0),
        Stage(1.6, 8.0, 4.0, 3.2, 1.6, 1, 2.0, 0.02, 1.6),
    ),
    trees=4,
    views=1,
    samples=12,
    candidates=40,
    looked_at=100,
    starts_mm=0.0,
)
"""For tests and for ROIs of few pixels: seconds, and no measure of what the method can do."""

FILE_VERSION = 1


@dataclass(frozen=True)
class Model:
    """What `train` learns, for such ROIs; forests and covariances (32, 32) mm^2: one for each stage."""

    options: Options
    mm_per_px: float
    size_px: int
    points: PointModel
    forests: tuple[Forest, ...]
    covariances: tuple[np.ndarray, ...]


def train(
    images: np.ndarray,
    points_px: np.ndarray,
    mm_per_px: float,
    options: Options = Options(),
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int], Any] = lambda done: None,
) -> Model:
    """A `Model` of ROIs (n, S, S) uint8 with landmarks (n, 16, 2) in ROI pixels of `mm_per_px` mm.

    Knees with NaN are left out. `progress(done)` is called after each forest, of which there are stages x 16.
    """
    check_images(images)
    check_training(images, points_px, mm_per_px, options, jobs)
    whole = np.isfinite(points_px).all(axis=(1, 2))
    images, shapes = images[whole], points_px[whole].astype(float)
    points = learn_points(shapes * mm_per_px, options.kept_variance)
    even = [even_contrast(image, options.contrast_mm / mm_per_px) for image in images]
    numbers = range(len(options.stages))
    stages = [train_stage(even, shapes, points, options, number, seed, jobs, progress) for number in numbers]
    forests, covariances = zip(*stages)
    return Model(options, float(mm_per_px), images.shape[1], points, forests, covariances)


def train_stage(
    images: list[np.ndarray],
    shapes: np.ndarray,
    points: PointModel,
    options: Options,
    number: int,
    seed: int,
    jobs: int,
    progress: Callable[[int], Any],
) -> tuple[Forest, np.ndarray]:
    """(`Forest`, error covariance (32, 32) mm^2 of its votes) of one stage."""
    stage = options.stages[number]
    canvas = make_canvas(points, stage)
    random = np.random.default_rng([seed, number])
    seen, shown = [], []
    for image, shape in zip(images, shapes):
        for _ in range(options.views):
            pose = align(points.mean, shape).after(draw_pose(stage, random))
            seen.append(see(image, pose, canvas))
            shown.append(canvas.to_px(pose.undo(shape)))
    places = np.stack(shown)
    tasks = [
        delayed(grow_landmark)(seen, places[:, n], options, stage, [seed, number, n])
        for n in range(landmarks.COUNT)
    ]
    trees = []
    for grown in Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks):
        trees.append(grown)
        progress(number * landmarks.COUNT + len(trees))
    forest, once = join(trees), slice(None, None, options.views)
    return forest, vote_errors(forest, stage, seen[once], places[once], random)


def vote_errors(
    forest: Forest, stage: Stage, seen: list[np.ndarray], places: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Error covariance (32, 32) mm^2 of votes from misplaced points by trees that did not see the knee."""
    errors = []
    for knee, (image, truth) in enumerate(zip(seen, places)):
        unseen = replace(forest, roots=forest.roots[:, knee % BAGS :: BAGS])
        start = truth + random.normal(0, stage.search_mm / 3, truth.shape) / stage.pixel_mm
        voted, _ = peaks(*respond(unseen, stage, integral(image), start))
        errors.append((voted - truth) * stage.pixel_mm)
    return error_covariance(np.array(errors))


def grow_landmark(
    seen: list[np.ndarray], places: np.ndarray, options: Options, stage: Stage, seed: list[int]
) -> list[Tree]:
    """The trees of one landmark: places (m, 2) are its true pixels (x, y) in the reference images `seen`."""
    half, radius = stage.to_px(stage.patch_mm), stage.to_px(stage.radius_mm)
    reach = half + radius + 1
    middle = np.rint(places).astype(int)
    windows = (window(image, y, x, reach) for image, (x, y) in zip(seen, middle))
    sums = np.stack([integral(part) for part in windows])
    random = np.random.default_rng(seed)
    trees = []
    knee = np.arange(len(seen)) // options.views
    for tree in range(options.trees):
        image = np.repeat(np.flatnonzero(knee % BAGS != tree % BAGS), options.samples)
        offset = random.integers(-radius, radius + 1, (len(image), 2))
        target = (places - middle)[image] - offset
        samples = image, offset[:, 1] + reach, offset[:, 0] + reach, target
        limits = options.candidates, options.least_leaf, options.looked_at
        trees.append(grow_tree(sums, *samples, half, *limits, int(random.integers(2**31))))
    return trees


@dataclass(frozen=True)
class Step:
    """One pass of the search, of stage number `stage`.

    shape: (16, 2) ROI pixels after the pass; voted: (16, 2) ROI pixels, the peaks of the response images.
    reference: the reference image uint8, on `canvas`; pose: its mm to ROI pixels. responses: (16, h, h) votes
    a patch and tree; pixel (0, 0) of each lies at corners (16, 2) pixels (x, y) of the reference image.
    score: mean height of the peaks.
    """

    stage: int
    shape: np.ndarray
    voted: np.ndarray
    reference: np.ndarray
    canvas: Canvas
    pose: Pose
    responses: np.ndarray
    corners: np.ndarray
    score: float

    def response_on_roi(self, landmark: int, size_px: int) -> np.ndarray:
        """One landmark's response image in ROI pixels, (size_px, size_px) float32, zero without votes."""
        pixel = self.canvas.pixel_mm
        corner = self.pose.apply(self.canvas.to_mm(self.corners[landmark]))
        matrix = np.column_stack([self.pose.matrix * pixel, corner])
        response = self.responses[landmark].astype(np.float32)
        return cv2.warpAffine(response, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR)


def look(model: Model, number: int, image: np.ndarray, shape: np.ndarray) -> Step:
    """One pass of a stage from `shape` (16, 2) ROI pixels on an image of even contrast: the next `Step`."""
    stage, points = model.options.stages[number], model.points
    canvas = make_canvas(points, stage)
    pose = align(points.mean, shape)
    reference = see(image, pose, canvas)
    start = canvas.to_px(pose.undo(shape))
    responses, corners = respond(model.forests[number], stage, integral(reference), start)
    places, heights = peaks(responses, corners)
    voted = canvas.to_mm(places)
    found = fit_shape(points, voted, model.covariances[number])
    points_px = pose.apply(found), pose.apply(voted)
    return Step(number, *points_px, reference, canvas, pose, responses, corners, float(heights.mean()))


def search(model: Model, image: np.ndarray, shape: np.ndarray, numbers: Iterable[int]) -> list[Step]:
    """The steps of the stages with these numbers in turn, from `shape` on an image of even contrast."""
    steps = []
    for number in numbers:
        for _ in range(model.options.stages[number].passes):
            steps.append(look(model, number, image, shape))
            shape = steps[-1].shape
    return steps


def first_shapes(model: Model) -> np.ndarray:
    """Where the search starts, (k, 16, 2) ROI pixels: mean shapes, landmark 4 in the middle and around it."""
    mean = (model.points.mean - model.points.mean[landmarks.CENTRE]) / model.mm_per_px
    far = model.options.starts_mm / model.mm_per_px
    shifts = np.array([(0, 0), (far, 0), (-far, 0), (0, far), (0, -far)] if far else [(0, 0)], float)
    return mean + (model.size_px - 1) / 2 + shifts[:, None]


def fit_steps(model: Model, image: np.ndarray) -> list[Step]:
    """The `Step`s of one ROI (S, S) uint8, of the start whose first stage ends with the best score."""
    even = even_contrast(image, model.options.contrast_mm / model.mm_per_px)
    tried = [search(model, even, shape, [0]) for shape in first_shapes(model)]
    best = max(tried, key=lambda steps: steps[-1].score)
    return best + search(model, even, best[-1].shape, range(1, len(model.forests)))


def fit(model: Model, images: np.ndarray) -> np.ndarray:
    """Landmarks (n, 16, 2) in ROI pixels of ROIs (n, S, S) uint8.

    A picture without any content still gets a shape. `KneelError` for ROIs of another size than in training.
    """
    check_images(images)
    if images.shape[1] != model.size_px:
        raise KneelError(
            f"these forests were trained on ROIs of {model.size_px} pixels, not {images.shape[1]}: "
            "cut ROIs as for training"
        )
    if not len(images):
        return np.empty((0, landmarks.COUNT, 2))
    return np.stack([fit_steps(model, image)[-1].shape for image in images])


def save(model: Model, path: Path | str) -> None:
    """Write the model as one npz of plain arrays, whole or not at all."""
    points = model.points
    header = {
        "version": FILE_VERSION,
        "options": asdict(model.options),
        "mm_per_px": model.mm_per_px,
        "size_px": model.size_px,
        "noise": points.noise,
    }
    arrays = {
        "header": np.array(json.dumps(header)),
        "mean": points.mean,
        "modes": points.modes,
        "variances": points.variances,
    }
    for number, (forest, covariance) in enumerate(zip(model.forests, model.covariances)):
        arrays[f"covariance{number}"] = covariance
        arrays.update({f"{name}{number}": values for name, values in forest.arrays().items()})
    write_arrays(path, np.savez_compressed, **arrays)


def load(path: Path | str) -> Model:
    """The model that `save` wrote; `KneelError` if the file is missing, damaged or something else."""
    try:
        arrays = load_arrays(path) or {}
        header = json.loads(str(arrays["header"]))
        if header["version"] != FILE_VERSION:
            raise KneelError(
                f"{path} is of version {header['version']}, this code reads {FILE_VERSION}: "
                "train the forests again"
            )
        options = Options(
            **header["options"] | {"stages": tuple(Stage(**stage) for stage in header["options"]["stages"])}
        )
        numbers, names = range(len(options.stages)), [field.name for field in fields(Forest)]
        forests = [Forest(**{name: arrays[f"{name}{number}"] for name in names}) for number in numbers]
        covariances = [arrays[f"covariance{number}"] for number in numbers]
        points = PointModel(arrays["mean"], arrays["modes"], arrays["variances"], header["noise"])
    except (ValueError, KeyError, TypeError):
        raise KneelError(f"{path} holds no forests that this code can read: train them again") from None
    return Model(options, header["mm_per_px"], header["size_px"], points, tuple(forests), tuple(covariances))
