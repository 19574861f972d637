"""Whether a picture looks as knees do where an answer says that one is: an appearance model (Cootes and
others, 2001) without the shape, which `quality` judges by itself.

The picture is laid onto a template by the answer's landmarks and held against the principal components of
pictures of knees, in three `Channel`s. What no mixture of knees explains stands out: metal as thin as a wire,
padding of any kind, letters over a bone, halves that do not belong together. `python -m
studies.strangers.appearance` fits the model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.normalisation import normalise, sample
from kneel_lib.data.shown import LOOKED_AT_PX
from kneel_lib.errors import KneelError
from kneel_lib.files import load_arrays
from kneel_lib.imaging import BILINEAR, similarity

MODEL = Path(__file__).parent.parent / "weights" / "appearance.npz"
SIZE, FINER = 48, 3
"""Pixels of the template's side, and samples a pixel that fine structures are measured from."""

SPAN = 1.25
"""Width of the template in plateaus."""

DETAIL_SIGMA, WIDEST_LINE, SMOOTH_SIGMA = 1.5, 7, 0.8
"""Of the low-pass below which detail begins, in samples; of a disc that a bright line is narrower than, in
samples; of the smoothing of energies and residuals, in pixels of the template."""

RIM_PX, RIM = 2, 15
"""What a wide border leaves beside it, at the size at which borders are looked for; the square, in samples,
that must be inside of the picture for its middle to count."""

LOUDEST = 12
"""A channel is judged by the mean of so many pixels, those that stand out most."""


def pooled(picture: np.ndarray) -> np.ndarray:
    """Samples to pixels of the template."""
    return np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def relative_energy(structures: np.ndarray, inside: np.ndarray, least: float) -> np.ndarray:
    """Logarithm of the mean square of structures at each pixel, relative to that of the usual pixel inside; a
    share `least` of which counts as none: beneath it are eight bits and JPEG."""
    energy = cv2.GaussianBlur(pooled(structures**2), (0, 0), SMOOTH_SIGMA)
    usual = float(np.median(energy[inside])) if inside.any() else 0.0
    told = np.log(energy + least * usual + 1e-9)
    return np.asarray(told - np.log((1 + least) * usual + 1e-9))


def plain(grey: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Grey values themselves."""
    return pooled(grey)


def detail(grey: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """How much there is of anything small."""
    return relative_energy(grey - cv2.GaussianBlur(grey, (0, 0), DETAIL_SIGMA), inside, 0.1)


def bright_lines(grey: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """How much there is of anything bright and narrow (a white top hat)."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDEST_LINE, WIDEST_LINE))
    return relative_energy(cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, disc), inside, 0.3)


@dataclass(frozen=True)
class Channel:
    """One way to look at a knee.

    measure: of (SIZE * FINER, SIZE * FINER) grey values in 0 to 1, and which of the (SIZE, SIZE) pixels are
    inside of the picture, makes (SIZE, SIZE). reach: how far above and below the landmarks' hull along the
    shafts, in plateaus. limit: the distance beyond which a picture is no knee's, in standard deviations.
    """

    measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reach: float
    limit: float


CHANNELS = {
    "grey": Channel(plain, 0.0, 8.0),
    "detail": Channel(detail, 0.0, 4.8),
    "lines": Channel(bright_lines, 0.45, 6.4),
}
"""Grey values differ most from hospital to hospital, so they have the widest limit. Bright lines are sought
on the shafts too, where a frame that somebody drew around the joint (dark) is none."""

MARGIN, SHAFT = 0.15, 0.7
"""How far around the landmarks' hull is looked at, and how wide the part is that reaches along the shafts, in
plateaus."""


@dataclass(frozen=True)
class Appearance:
    """What knees look like in one channel. seen: (SIZE, SIZE) which pixels are looked at, n of them. mean:
    (n,), modes: (k, n) of unit length, deviation: (n,) of the residuals of knees that the modes have not
    seen."""

    seen: np.ndarray
    mean: np.ndarray
    modes: np.ndarray
    deviation: np.ndarray

    def distances(self, picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """(n,) how far each pixel of a channel's picture (SIZE, SIZE) is from what the modes explain, in
        standard deviations; 0 where it is not inside."""
        known = inside[self.seen]
        told = np.where(known, picture[self.seen], self.mean)
        left = np.where(known, residuals(told, self.mean, self.modes), 0)
        return np.asarray(np.abs(smoothed(left, self.seen)) / self.deviation)


def looked_at(template: np.ndarray, reach: float) -> np.ndarray:
    """(SIZE, SIZE) bool: the landmarks' hull with a margin, and its middle part reaching up and down."""
    unit = SIZE / SPAN
    hull = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(hull, np.round(cv2.convexHull(template.astype(np.float32))).astype(np.int32), 1)
    margin, far = round(MARGIN * unit), round(reach * unit)
    around = cv2.dilate(hull, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1)))
    middle = template[[0, landmarks.TIBIA[-1]], 0].mean()
    shaft = np.abs(np.arange(SIZE) - middle) <= SHAFT / 2 * unit
    along = cv2.dilate(hull * shaft[None], np.ones((2 * far + 1, 1), np.uint8))
    return np.asarray((around > 0) | (along > 0))


def look_at(
    radiograph: Radiograph, points_px: np.ndarray, side: str, bone: int, template: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({channel: (SIZE, SIZE)}, whether each pixel is inside of the picture (SIZE, SIZE)) of a knee, as a
    right one with bright bone, laid onto the template.

    points_px: (16, 2) in pixels of the picture. bone: 1 bright, -1 dark. template: (16, 2) in its pixels.
    """
    values, inside = laid_onto(radiograph, points_px, side, template)
    grey = normalise(bone * values, inside).astype(np.float32) / 255
    core = cv2.erode(inside.astype(np.float32), np.ones((RIM, RIM), np.uint8), borderValue=1)
    whole = pooled(core) > 0.99
    return {name: channel.measure(grey, whole) for name, channel in CHANNELS.items()}, whole


def laid_onto(
    radiograph: Radiograph, points_px: np.ndarray, side: str, template: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(values, whether each is inside of the picture), (SIZE * FINER, SIZE * FINER), by the similarity that
    takes the template's landmarks to the answer's."""
    length = SIZE * FINER
    shape = (template + 0.5) * FINER - 0.5
    matrix = similarity(landmarks.mirrored(shape, length - 1) if side == "L" else shape, points_px)
    step, reach = float(np.hypot(*matrix[:, 0])), int(np.ceil(length * np.sqrt(2)))
    origin = matrix @ [(length - 1) / 2, (length - 1) / 2, 1] - step * (reach - 1) / 2
    square, inside = sample(radiograph.grey, radiograph.inside, origin, step, reach)
    matrix[:, 2] -= origin
    values, known = (
        cv2.warpAffine(each, matrix / step, (length, length), flags=BILINEAR, borderMode=cv2.BORDER_REPLICATE)
        for each in (square, inside.astype(np.uint8))
    )
    return (values[:, ::-1], known[:, ::-1] > 0) if side == "L" else (values, known > 0)


def residuals(pictures: np.ndarray, mean: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """What the modes (k, n) do not explain of pictures (..., n)."""
    away = pictures - mean
    return np.asarray(away - (away @ modes.T) @ modes)


def smoothed(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Residuals (n,) of the pixels that are looked at, smoothed over the template; others have none."""
    picture = np.zeros(seen.shape, np.float32)
    picture[seen] = values
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), SMOOTH_SIGMA)[seen])


def loudness(distances: np.ndarray) -> float:
    """The mean of the LOUDEST of distances (n,)."""
    return float(np.sort(distances)[-LOUDEST:].mean())


def within(radiograph: Radiograph) -> Radiograph:
    """The radiograph with plain strips around what it shows, and RIM_PX of what lies next to them, counted as
    padding."""
    first, last = radiograph.shown
    rim = RIM_PX * max(max(radiograph.grey.shape) / LOOKED_AT_PX, 1)
    (left, top), (right, bottom) = np.ceil(first + rim).astype(int), np.floor(last - rim).astype(int) + 1
    shown = np.zeros(radiograph.grey.shape, bool)
    shown[top:bottom, left:right] = True
    return replace(radiograph, inside=shown if radiograph.inside is None else shown & radiograph.inside)


def unlike_knees(radiograph: Radiograph, points_px: np.ndarray, side: str, bone: int) -> tuple[float, int]:
    """(how far a picture is from what knees look like, as a share of the limit of the channel in which it is
    farthest; the landmark next to where that is)."""
    template, model = load()
    pictures, inside = look_at(within(radiograph), points_px, side, bone, template)
    told = {name: known.distances(pictures[name], inside) for name, known in model.items()}
    shares = {name: loudness(distances) / CHANNELS[name].limit for name, distances in told.items()}
    worst = max(shares, key=lambda name: shares[name])
    y, x = np.argwhere(model[worst].seen)[told[worst].argmax()]
    return shares[worst], int(np.linalg.norm(template - [x, y], axis=1).argmin())


PARTS = ("seen", "mean", "modes", "deviation")


@cache
def load() -> tuple[np.ndarray, dict[str, Appearance]]:
    """(template (16, 2), {channel: `Appearance`}) of MODEL; `KneelError` where it is not whole or there."""
    kept = load_arrays(MODEL, ["template", *(f"{name}_{part}" for name in CHANNELS for part in PARTS)])
    if kept is None:
        raise KneelError(f"{MODEL} is not there, or not whole: get it again from git")
    parts = {name: [kept[f"{name}_{part}"] for part in PARTS] for name in CHANNELS}
    return kept["template"], {name: Appearance(*arrays) for name, arrays in parts.items()}
