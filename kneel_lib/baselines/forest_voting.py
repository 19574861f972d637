"""Random-forest regression voting in a constrained local model, RFRV-CLM: the published method inside BoneFinder, written again.

After Lindner, Bromiley, Ionita and Cootes, "Robust and accurate shape model matching using random forest regression-voting",
TPAMI 2015, and Lindner et al., "Fully automatic segmentation of the proximal femur using random forest regression voting", TMI
2013. A forest for each landmark looks at patches around the current point and votes where the landmark is; the votes pile up
in a response image; a shape model is fitted to the peaks of the response images; the next stage looks closer.

The KNEEL paper compares with BoneFinder itself (its Table 2). That is a closed program whose model came trained, on 500
images of the OAI, and bone-finder.com says that its technology is patented (Cootes, Lindner, Ionita; University of Manchester: EP
2893491, US 9928443): this module is for research, and its results are not BoneFinder's. What differs:
- all knees are of one fold, in ROIs at their spacing; there is no Hough-forest detector before: the search starts from the
  ROI's middle and four places around it, and the start with the highest response peaks is kept;
- grey values are first made even in local mean and contrast; features are drawn anew at every node, three scales of a patch
  alike, where BoneFinder draws a set for each tree; splits lower the summed squares, not an entropy;
- the shape is the most probable one under a Gaussian prior and the errors that votes showed on training knees their trees had not
  seen (`shape_search`), in place of a limit on the shape parameters and a search in shrinking circles.
"""

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields, replace

import cv2
import numpy as np
from joblib import Parallel, delayed

from kneel_lib import landmarks
from kneel_lib.baselines.regression_trees import Forest, cast_votes, grow_tree, integral, join
from kneel_lib.baselines.shape_search import PointModel, Pose, align, error_covariance, fit_shape, learn_points, make_pose
from kneel_lib.errors import KneelError
from kneel_lib.files import write_whole
from kneel_lib.parabola import vertex

BAGS = 4
"""Tree t never sees the knees k with k % BAGS == t % BAGS: their votes tell how far votes are off on new knees."""


@dataclass(frozen=True)
class Stage:
    """One resolution. All lengths in mm of the reference frame.

    pixel_mm: a pixel of the reference image. patch_mm: half side of a patch. radius_mm: how far training samples lie from the
    landmark at most, along each axis. search_mm, step_mm: patches are looked at on a grid of this half side and step around the
    current point. passes: how often the whole search is repeated. turn_degrees, resize: standard deviation of the training
    poses' rotation and relative scale. smooth_mm: sigma of the smoothing of a response image.
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

    def to_px(self, length_mm):
        """A length in whole pixels of the reference image, one or more."""
        return max(1, round(length_mm / self.pixel_mm))


@dataclass(frozen=True)
class Options:
    """How big the forests are and how the search goes; the defaults are for ROIs of about 96 mm.

    trees: for each landmark and stage. views: disturbed poses of a training knee. samples: patches that a tree sees of a view.
    candidates, least_leaf, looked_at: see `grow_tree`. kept_variance: share that the shape modes explain. starts_mm: distance of
    the first search's other starts from the ROI's centre (0: one start). contrast_mm: sigma of the local contrast
    normalisation. The defaults were chosen on fold 0 of the real crops.
    """

    stages: tuple = (Stage(1.5, 18.0, 12.0, 10.0, 3.0, 2, 6.0, 0.06, 2.0), Stage(1.0, 15.0, 6.0, 4.0, 1.0, 2, 3.0, 0.03, 1.0),
                     Stage(0.5, 12.0, 3.0, 2.0, 0.5, 2, 2.0, 0.02, 0.5))
    trees: int = 12
    views: int = 2
    samples: int = 8
    candidates: int = 200
    least_leaf: int = 5
    looked_at: int = 400
    kept_variance: float = 0.98
    starts_mm: float = 8.0
    contrast_mm: float = 8.0


TINY = Options(stages=(Stage(3.0, 15.0, 9.0, 9.0, 3.0, 2, 4.0, 0.04, 3.0), Stage(1.6, 8.0, 4.0, 3.2, 1.6, 1, 2.0, 0.02, 1.6)),
               trees=4, views=1, samples=12, candidates=40, looked_at=100, starts_mm=0.0)
"""For tests and for ROIs of few pixels: seconds, and no measure of what the method can do."""

LEAST_KNEES = 8
FILE_VERSION = 1


@dataclass(frozen=True)
class Model:
    """What `train` learns. mm_per_px and size_px describe the ROIs; forests and covariances (32, 32) mm^2: one for each stage."""

    options: Options
    mm_per_px: float
    size_px: int
    points: PointModel
    forests: tuple
    covariances: tuple


@dataclass(frozen=True)
class Canvas:
    """The reference image of a stage: pixel (x, y) lies at origin_mm + pixel_mm * (x, y); it measures shape = (rows, columns)."""

    origin_mm: np.ndarray
    pixel_mm: float
    shape: tuple

    def to_px(self, points_mm):
        return (points_mm - self.origin_mm) / self.pixel_mm

    def to_mm(self, points_px):
        return self.origin_mm + np.asarray(points_px) * self.pixel_mm


def make_canvas(points, stage):
    """A canvas with room around the mean shape for every patch of the stage."""
    margin = stage.patch_mm + max(stage.radius_mm, 1.5 * stage.search_mm) + 6 * stage.pixel_mm
    least, greatest = points.mean.min(axis=0) - margin, points.mean.max(axis=0) + margin
    columns, rows = np.ceil((greatest - least) / stage.pixel_mm).astype(int) + 1
    return Canvas(least, stage.pixel_mm, (int(rows), int(columns)))


def even_contrast(image, sigma_px):
    """Grey values (S, S) uint8 minus their local mean, over their local deviation, black surroundings left out: 128 + 40 z."""
    known = (image > 0).astype(np.float32)
    grey = image.astype(np.float32)
    share = cv2.GaussianBlur(known, (0, 0), sigma_px) + 1e-3
    mean = cv2.GaussianBlur(grey * known, (0, 0), sigma_px) / share
    square = cv2.GaussianBlur(grey ** 2 * known, (0, 0), sigma_px) / share
    deviation = np.sqrt(np.maximum(square - mean ** 2, 0)) + 4
    return np.clip(128 + 40 * known * (grey - mean) / deviation, 0, 255).astype(np.uint8)


def see(image, pose, canvas):
    """The reference image (canvas.shape) uint8 of an ROI whose shape has this pose (mm to ROI pixels), low-passed where coarser."""
    step_px = pose.scale * canvas.pixel_mm
    if step_px > 1.2:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(step_px ** 2 - 1))
    matrix = np.column_stack([pose.matrix * canvas.pixel_mm, pose.apply(canvas.origin_mm)])
    return cv2.warpAffine(image, matrix, canvas.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


def train(images, points_px, mm_per_px, options=Options(), seed=0, jobs=1, progress=lambda done: None):
    """A `Model` of ROIs (n, S, S) uint8 with landmarks (n, 16, 2) in ROI pixels of `mm_per_px` mm; knees with NaN are left out.

    `progress(done)` is called after each forest, of which there are stages x 16.
    """
    check_images(images)
    check_training(images, points_px, mm_per_px, options, jobs)
    whole = np.isfinite(points_px).all(axis=(1, 2))
    images, shapes = images[whole], points_px[whole].astype(float)
    points = learn_points(shapes * mm_per_px, options.kept_variance)
    even = [even_contrast(image, options.contrast_mm / mm_per_px) for image in images]
    stages = [train_stage(even, shapes, points, options, number, seed, jobs, progress) for number in range(len(options.stages))]
    forests, covariances = zip(*stages)
    return Model(options, float(mm_per_px), images.shape[1], points, forests, covariances)


def check_images(images):
    """`KneelError` unless these are square uint8 pictures."""
    if not isinstance(images, np.ndarray) or images.ndim != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        raise KneelError("images must be one uint8 array (n, S, S) of square ROIs")


def check_training(images, points_px, mm_per_px, options, jobs):
    """`KneelError` in one sentence for training input or options that cannot work."""
    if np.shape(points_px) != (len(images), landmarks.COUNT, 2):
        raise KneelError(f"points_px must be ({len(images)}, {landmarks.COUNT}, 2) ROI pixels, not {np.shape(points_px)}")
    if np.ndim(mm_per_px) or not mm_per_px > 0:
        raise KneelError("mm_per_px must be one number above 0: the size of an ROI pixel in mm")
    if int(np.isfinite(points_px).all(axis=(1, 2)).sum()) < LEAST_KNEES:
        raise KneelError(f"forest voting needs {LEAST_KNEES} or more knees with all {landmarks.COUNT} landmarks")
    counts = (options.views, options.samples, options.candidates, options.least_leaf, options.looked_at, jobs)
    if not options.stages or options.trees < BAGS or min(counts) < 1:
        raise KneelError(f"forest voting needs a stage or more, {BAGS} or more trees, and 1 or more views, samples, candidates, "
                         "least_leaf, looked_at and jobs")
    if not 0 < options.kept_variance <= 1 or options.contrast_mm <= 0 or options.starts_mm < 0:
        raise KneelError("kept_variance must be in (0, 1], contrast_mm above 0 and starts_mm 0 or more")
    lengths = ("pixel_mm", "patch_mm", "radius_mm", "search_mm", "step_mm", "smooth_mm", "passes")
    if any(getattr(stage, name) <= 0 for stage in options.stages for name in lengths):
        raise KneelError("every length of a stage, and its passes, must be above 0")


def train_stage(images, shapes, points, options, number, seed, jobs, progress):
    """(`Forest`, error covariance (32, 32) mm^2 of its votes) of one stage."""
    stage = options.stages[number]
    canvas = make_canvas(points, stage)
    random = np.random.default_rng([seed, number])
    seen, places = [], []
    for image, shape in zip(images, shapes):
        for _ in range(options.views):
            pose = align(points.mean, shape).after(draw_pose(stage, random))
            seen.append(see(image, pose, canvas))
            places.append(canvas.to_px(pose.undo(shape)))
    places = np.stack(places)
    tasks = [delayed(grow_landmark)(seen, places[:, n], options, stage, [seed, number, n]) for n in range(landmarks.COUNT)]
    trees = []
    for grown in Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks):
        trees.append(grown)
        progress(number * landmarks.COUNT + len(trees))
    forest = join(trees)
    return forest, vote_errors(forest, stage, seen[::options.views], places[::options.views], canvas, random)


def draw_pose(stage, random):
    """How a training view is out of pose: scale, rotation, and a part of a pixel."""
    return make_pose(np.exp(stage.resize * random.normal()), np.radians(stage.turn_degrees * random.normal()),
                     random.uniform(-0.5, 0.5, 2) * stage.pixel_mm)


def vote_errors(forest, stage, seen, places, canvas, random):
    """Error covariance (32, 32) mm^2 of the votes for training knees, each by the trees that did not see it, from misplaced points."""
    errors = []
    for knee, (image, truth) in enumerate(zip(seen, places)):
        unseen = replace(forest, roots=forest.roots[:, knee % BAGS::BAGS])
        start = truth + random.normal(0, stage.search_mm / 3, truth.shape) / stage.pixel_mm
        voted, _ = peaks(*respond(unseen, stage, integral(image), start))
        errors.append((voted - truth) * stage.pixel_mm)
    return error_covariance(np.array(errors))


def grow_landmark(seen, places, options, stage, seed):
    """The trees of one landmark: places (m, 2) are its true pixels (x, y) in the reference images `seen`."""
    half, radius = stage.to_px(stage.patch_mm), stage.to_px(stage.radius_mm)
    reach = half + radius + 1
    middle = np.rint(places).astype(int)
    sums = np.stack([integral(window(image, *centre[::-1], reach)) for image, centre in zip(seen, middle)])
    random = np.random.default_rng(seed)
    trees = []
    knee = np.arange(len(seen)) // options.views
    for tree in range(options.trees):
        image = np.repeat(np.flatnonzero(knee % BAGS != tree % BAGS), options.samples)
        offset = random.integers(-radius, radius + 1, (len(image), 2))
        target = (places - middle)[image] - offset
        trees.append(grow_tree(sums, image, offset[:, 1] + reach, offset[:, 0] + reach, target, half, options.candidates,
                               options.least_leaf, options.looked_at, int(random.integers(2 ** 31))))
    return trees


def window(image, row, column, reach):
    """The square of 2 reach + 1 pixels around (row, column); the border is repeated outside of the image."""
    rows = np.clip(np.arange(row - reach, row + reach + 1), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(column - reach, column + reach + 1), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def respond(forest, stage, sums, places):
    """The response images of all landmarks, (16, h, h) float64, and their first pixels (16, 2): votes around places (16, 2) px."""
    half, step = stage.to_px(stage.patch_mm), stage.to_px(stage.step_mm)
    search = max(step, stage.to_px(stage.search_mm) // step * step)
    grid = np.arange(-search, search + 1, step)
    rows, columns = (side.ravel() for side in np.meshgrid(grid, grid, indexing="ij"))
    reach = search + stage.to_px(stage.radius_mm)
    last_row, last_column = np.array(sums.shape) - half - 2
    responses, corners = np.zeros((len(places), 2 * reach + 1, 2 * reach + 1)), np.rint(places).astype(int) - reach
    for n, (x, y) in enumerate(corners + reach):
        cast_votes(sums, np.clip(y + rows, half, last_row), np.clip(x + columns, half, last_column), forest.boxes, forest.threshold,
                   forest.left, forest.vote, forest.roots[n], corners[n, 0], corners[n, 1], responses[n])
        responses[n] = cv2.GaussianBlur(responses[n], (0, 0), stage.smooth_mm / stage.pixel_mm)
    return responses / (len(rows) * forest.roots.shape[1]), corners


def peaks(responses, corners):
    """Sub-pixel maxima (16, 2) px of response images, by a parabola along each axis, and their heights (16,)."""
    places, heights = [], []
    for response, corner in zip(responses, corners):
        i, j = np.unravel_index(np.argmax(response[1:-1, 1:-1]), np.array(response.shape) - 2)
        i, j = i + 1, j + 1
        places.append(corner + [j + vertex(response[i, j - 1:j + 2]), i + vertex(response[i - 1:i + 2, j])])
        heights.append(response[i, j])
    return np.array(places), np.array(heights)


@dataclass(frozen=True)
class Step:
    """One pass of the search, of stage number `stage`.

    shape: (16, 2) ROI pixels after the pass; voted: (16, 2) ROI pixels, the peaks of the response images. reference: the reference image
    uint8 that was looked at, on `canvas`; pose: its mm to ROI pixels. responses: (16, h, h) votes a patch and tree; pixel (0, 0)
    of each lies at corners (16, 2) pixels (x, y) of the reference image. score: mean height of the peaks.
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

    def response_on_roi(self, landmark, size_px):
        """One landmark's response image drawn into the ROI's own pixels, (size_px, size_px) float32, zero where nobody voted."""
        pixel = self.canvas.pixel_mm
        matrix = np.column_stack([self.pose.matrix * pixel, self.pose.apply(self.canvas.to_mm(self.corners[landmark]))])
        return cv2.warpAffine(self.responses[landmark].astype(np.float32), matrix, (size_px, size_px), flags=cv2.INTER_LINEAR)


def look(model, number, image, shape):
    """One pass of a stage from `shape` (16, 2) ROI pixels on an image of even contrast: the next `Step`."""
    stage, points = model.options.stages[number], model.points
    canvas = make_canvas(points, stage)
    pose = align(points.mean, shape)
    reference = see(image, pose, canvas)
    responses, corners = respond(model.forests[number], stage, integral(reference), canvas.to_px(pose.undo(shape)))
    places, heights = peaks(responses, corners)
    voted = canvas.to_mm(places)
    found = fit_shape(points, voted, model.covariances[number])
    return Step(number, pose.apply(found), pose.apply(voted), reference, canvas, pose, responses, corners, float(heights.mean()))


def search(model, image, shape, numbers):
    """The steps of the stages with these numbers, one after the other, from `shape` on an image of even contrast."""
    steps = []
    for number in numbers:
        for _ in range(model.options.stages[number].passes):
            steps.append(look(model, number, image, shape))
            shape = steps[-1].shape
    return steps


def first_shapes(model):
    """The shapes (k, 16, 2) ROI pixels that the search starts from: the mean shape with landmark 4 in the ROI's middle, and around it."""
    mean = (model.points.mean - model.points.mean[landmarks.CENTRE]) / model.mm_per_px
    far = model.options.starts_mm / model.mm_per_px
    shifts = np.array([(0, 0), (far, 0), (-far, 0), (0, far), (0, -far)] if far else [(0, 0)], float)
    return mean + (model.size_px - 1) / 2 + shifts[:, None]


def fit_steps(model, image, start_px=None):
    """The `Step`s of one ROI (S, S) uint8, of the start whose first stage ends with the best score.

    start_px: (16, 2) ROI pixels to start from instead of `first_shapes`.
    """
    starts = first_shapes(model) if start_px is None else np.asarray(start_px, float)[None]
    even = even_contrast(image, model.options.contrast_mm / model.mm_per_px)
    best = max((search(model, even, shape, [0]) for shape in starts), key=lambda steps: steps[-1].score)
    return best + search(model, even, best[-1].shape, range(1, len(model.forests)))


def fit(model, images, start_px=None):
    """Landmarks (n, 16, 2) in ROI pixels of ROIs (n, S, S) uint8; start_px: None or shapes (n, 16, 2) in ROI pixels to start from.

    A picture without any content still gets a shape. `KneelError` for ROIs of another size than the training ones.
    """
    check_images(images)
    if images.shape[1] != model.size_px:
        raise KneelError(f"these forests were trained on ROIs of {model.size_px} pixels, not {images.shape[1]}: cut ROIs as for training")
    if start_px is None:
        start_px = [None] * len(images)
    elif np.shape(start_px) != (len(images), landmarks.COUNT, 2) or not np.isfinite(start_px).all():
        raise KneelError(f"start_px must be {len(images)} x {landmarks.COUNT} x 2 finite ROI pixels, one shape an image")
    if not len(images):
        return np.empty((0, landmarks.COUNT, 2))
    return np.stack([fit_steps(model, image, start)[-1].shape for image, start in zip(images, start_px)])


def save(model, path):
    """Write the model as one npz of plain arrays, whole or not at all."""
    points = model.points
    header = {"version": FILE_VERSION, "options": asdict(model.options), "mm_per_px": model.mm_per_px, "size_px": model.size_px,
              "noise": points.noise}
    arrays = {"header": np.array(json.dumps(header)), "mean": points.mean, "modes": points.modes, "variances": points.variances}
    for number, (forest, covariance) in enumerate(zip(model.forests, model.covariances)):
        arrays[f"covariance{number}"] = covariance
        arrays.update({f"{name}{number}": values for name, values in forest.arrays().items()})

    def write(temporary):
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)
    write_whole(path, write)


def load(path):
    """The model that `save` wrote; `KneelError` if the file is missing, damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["version"] != FILE_VERSION:
                raise KneelError(f"{path} is of version {header['version']}, this code reads {FILE_VERSION}: train the forests again")
            options = Options(**header["options"] | {"stages": tuple(Stage(**stage) for stage in header["options"]["stages"])})
            numbers, names = range(len(options.stages)), [field.name for field in fields(Forest)]
            forests = [Forest(**{name: file[f"{name}{number}"] for name in names}) for number in numbers]
            covariances = [file[f"covariance{number}"] for number in numbers]
            points = PointModel(file["mean"], file["modes"], file["variances"], header["noise"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise KneelError(f"{path} holds no forests that this code can read ({error}): train them again") from None
    return Model(options, header["mm_per_px"], header["size_px"], points, tuple(forests), tuple(covariances))
