"""Pictures for the search of strangers' knees: one knee in each, anywhere, at any size, of either polarity.

Halves of simulated radiographs show whole legs, but no real bone; real crops show real bone, but nothing of
the leg. So most of the real knees are laid over the knee of a simulated leg, plateau on plateau, and their
rim is blended in; the others stay alone on black, as a file of a crop has them.
"""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.normalisation import normalise
from kneel_lib.data.rois import PLATEAU_MM, plateau_mm
from kneel_lib.imaging import similarity, warp

NAME = "search_fields"
SIDE_PX = 160
"""Side of a picture: 128 pixels for the network, and its margin."""

REACH, ALONE_REACH = (1.1, 5.5), (1.1, 2.5)
"""Side of a picture in widths of its knee's plateau: of whole legs, and of crops alone on black."""

ALONE_P, INVERTED_P = 0.3, 0.35
RIM_MM = 10.0
"""How wide the rim of a crop is, over which it is blended into the simulated leg."""

REAL_TIMES, SIMULATED_TIMES = 3, 1


@dataclass(frozen=True)
class Picture:
    """A right-oriented knee to draw from: values (H, W) float32, its landmarks (16, 2) in its pixels."""

    grey: np.ndarray
    points: np.ndarray

    @property
    def plateau(self) -> float:
        """Width of the plateau in pixels."""
        return float(np.linalg.norm(self.points[landmarks.TIBIA[-1]] - self.points[0]))


def search_fields(halves: Cohort, crops: Cohort | None = None) -> Cohort:
    """The cohort for the search, from halves of simulated radiographs and, where they are, real crops.

    Its pictures are normalised and SIDE_PX wide; nominal spacing is one unit a pixel, `mm_per_px` the true
    one. The split of simulated knees is "train". Not mirrored: the augmentation does that.
    """
    parts = [draw_fields(halves, None, SIMULATED_TIMES)]
    if crops is not None:
        parts.insert(0, draw_fields(crops, halves, REAL_TIMES))
    tables, images, points = zip(*parts)
    return Cohort(NAME, pd.concat(tables, ignore_index=True), sum(images, ()), np.concatenate(points), 1.0)


def draw_fields(
    cohort: Cohort, legs: Cohort | None, times: int
) -> tuple[pd.DataFrame, tuple[np.ndarray, ...], np.ndarray]:
    """(table, pictures, landmarks in mm) of every knee of a cohort, `times` times; the same every time."""
    rows, images, points = [], [], []
    for number, row in enumerate(cohort.knees.itertuples()):
        knee, width_mm = picture_of(cohort, number), float(plateau_mm(cohort.landmarks_mm[number]))
        for variant in range(times):
            seed = [zlib.crc32(f"{row.subject_id}{row.side}".encode()), variant]
            image, place, step = draw_field(knee, legs, np.random.default_rng(seed))
            mm_per_px = step * width_mm / knee.plateau
            split = row.split if legs is not None else "train"
            rows.append((row.subject_id, row.side, row.kl, split, mm_per_px, variant))
            images.append(image)
            points.append(place * mm_per_px)
    columns = ["subject_id", "side", "kl", "split", "mm_per_px", "variant"]
    return pd.DataFrame(rows, columns=columns), tuple(images), np.stack(points)


def picture_of(cohort: Cohort, number: int) -> Picture:
    """One knee of a cohort, right-oriented: of halves, left ones are mirrored."""
    image, points = cohort.images[number], cohort.landmarks_px[number]
    if points[0, 0] > points[landmarks.TIBIA[-1], 0]:
        image, points = image[:, ::-1], landmarks.mirrored(points, image.shape[1] - 1)
    return Picture(np.ascontiguousarray(image, np.float32), points)


def draw_field(
    knee: Picture, legs: Cohort | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """(picture (SIDE_PX, SIDE_PX) uint8, landmarks (16, 2) in its pixels, pixels of the knee's own picture in
    one of them). legs: what the knee is laid over; None: it is drawn as it is."""
    alone = legs is not None and random.random() < ALONE_P
    reach = np.exp(random.uniform(*np.log(ALONE_REACH if alone else REACH)))
    step = reach * knee.plateau / SIDE_PX
    free = max(0.5 - 0.58 / reach, 0.0)
    centre = SIDE_PX * (0.5 + random.uniform(-free, free, 2))
    to_knee = np.array([[step, 0, 0], [0, step, 0]])
    to_knee[:, 2] = knee.points[landmarks.CENTRE] - step * centre
    field, inside = see(knee.grey, to_knee)
    if legs is not None and not alone:
        leg = picture_of(legs, int(random.integers(len(legs))))
        field, inside = lay_over(field, inside, knee, leg, to_knee)
    if random.random() < INVERTED_P:
        field = -field
    points = (knee.points - to_knee[:, 2]) / step
    return normalise(field, inside), points, step


def see(grey: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values (SIDE_PX, SIDE_PX), whether each lies in the picture) at the places that the matrix names."""
    size, step = (SIDE_PX, SIDE_PX), float(np.hypot(*matrix[:, 0]))
    field = warp(grey, matrix, step, size, cv2.BORDER_REPLICATE)
    return field, warp(np.ones_like(grey), matrix, 1.0, size) > 0.5


def lay_over(
    field: np.ndarray, inside: np.ndarray, knee: Picture, leg: Picture, to_knee: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The knee's field, laid over the leg's so that their plateaus lie upon each other: grey values brought
    to the leg's mean and deviation, the rim blended in."""
    ends = [0, landmarks.TIBIA[-1]]
    turn = similarity(knee.points[ends], leg.points[ends])
    to_leg = turn[:, :2] @ to_knee
    to_leg[:, 2] += turn[:, 2]
    ground, around = see(leg.grey, to_leg)
    shared = inside & around
    if not shared.any():
        return field, inside
    rim = RIM_MM / PLATEAU_MM * knee.plateau / np.hypot(*to_knee[:, 0])
    distance = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.clip(distance / max(rim, 1), 0, 1)
    matched = (field - field[shared].mean()) / max(field[shared].std(), 1e-3)
    matched = matched * ground[shared].std() + ground[shared].mean()
    return np.where(around, weight * matched + (1 - weight) * ground, matched), inside | around
