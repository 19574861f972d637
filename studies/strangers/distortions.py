"""What strangers' files do to a knee, and what is no knee at all: pictures as data, each with where its
landmarks went."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from skimage import data as samples

from kneel_lib import landmarks
from kneel_lib.data.rois import plateau_mm

Distorted = tuple[np.ndarray, np.ndarray]
"""(picture (H, W) or (H, W, 3), uint8 or uint16; landmarks (16, 2) in its pixels)."""


@dataclass(frozen=True)
class Distortion:
    """One kind of file. right: a knee that should be answered and trusted; else nothing in it may be trusted.
    spacing: what the given spacing is multiplied by."""

    name: str
    change: Callable[[np.ndarray, np.ndarray], Distorted]
    right: bool = True
    spacing: float = 1.0


def grey(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], Distorted]:
    """A distortion of grey values in 0 to 1; landmarks stay where they are."""

    def distort(image: np.ndarray, points: np.ndarray) -> Distorted:
        return np.round(255 * np.clip(change(image / 255.0), 0, 1)).astype(np.uint8), points

    return distort


def turned(degrees: float) -> Callable[[np.ndarray, np.ndarray], Distorted]:
    """Turned about its middle; what comes in from outside repeats the border."""

    def distort(image: np.ndarray, points: np.ndarray) -> Distorted:
        height, width = image.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        picture = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return picture, points @ matrix[:, :2].T + matrix[:, 2]

    return distort


def jpeg(image: np.ndarray, points: np.ndarray) -> Distorted:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)), points


def sixteen_bits(image: np.ndarray, points: np.ndarray) -> Distorted:
    return (image.astype(np.uint16) * 90 + 4000).astype(np.uint16), points


def sharpened(image: np.ndarray, points: np.ndarray) -> Distorted:
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 4)
    return np.clip(image + 1.5 * (image - smooth), 0, 255).astype(np.uint8), points


def lettered(image: np.ndarray, points: np.ndarray) -> Distorted:
    picture, width = image.copy(), image.shape[1]
    cv2.putText(picture, "R 12", (width // 20, width // 7), cv2.FONT_HERSHEY_SIMPLEX, width / 224, 255, 3)
    return picture, points


def bordered(value: int) -> Callable[[np.ndarray, np.ndarray], Distorted]:
    """Within a wide border of one grey, off-centre: an answer must not depend on where the knee lies."""

    def distort(image: np.ndarray, points: np.ndarray) -> Distorted:
        height, width = image.shape
        top, left = height // 2, width // 5
        sizes = top, height // 4, left, width // 2
        return cv2.copyMakeBorder(image, *sizes, cv2.BORDER_CONSTANT, value=value), points + [left, top]

    return distort


def mirrored(image: np.ndarray, points: np.ndarray) -> Distorted:
    return np.ascontiguousarray(image[:, ::-1]), points * [-1, 1] + [image.shape[1] - 1, 0]


def false_colours(image: np.ndarray, points: np.ndarray) -> Distorted:
    return cv2.applyColorMap(image, cv2.COLORMAP_JET), points


def metal(image: np.ndarray, points: np.ndarray) -> Distorted:
    """The plateau's medial half under a tray with a keel, the condyle above under a shell: evenly white."""
    picture = image.copy()
    first, last = np.round(points[[4, 8]]).astype(int)
    tray = np.array([first, last, last + [0, 8], first + [0, 8]])
    keel = np.array([first + [20, 8], first + [32, 8], first + [30, 40], first + [24, 40]])
    centre = tuple(np.round(points[13:16].mean(axis=0) - [0, 14]).astype(int).tolist())
    cv2.fillPoly(picture, [tray, keel], 255)
    cv2.ellipse(picture, centre, (26, 16), 0, 0, 360, 255, -1)
    return picture, points


def total_prosthesis(image: np.ndarray, points: np.ndarray) -> Distorted:
    """Both bones ended by metal, a fifth of the plateau high, in a picture that metal has made darker."""
    picture = 0.6 * image.astype(np.float32)
    for bone, way in ((landmarks.TIBIA, 1), (landmarks.FEMUR, -1)):
        edge = points[list(bone)]
        away = [0, 0.2 * way * float(plateau_mm(points))]
        outline = np.round(16 * np.concatenate([edge, (edge + away)[::-1]])).astype(int)
        cv2.fillPoly(picture, [outline], 220.0, cv2.LINE_AA, 4)
    return picture.astype(np.uint8), points


def screw(image: np.ndarray, points: np.ndarray) -> Distorted:
    """One screw across the tibia's head, 4 mm thick."""
    picture, width = image.copy(), float(plateau_mm(points))
    middle, along = points[landmarks.CENTRE] + [0, 0.25 * width], np.array([0.3, 0.025]) * width
    first, last = (np.round(middle + way * along).astype(int).tolist() for way in (-1, 1))
    cv2.line(picture, first, last, 255, max(round(0.055 * width), 2), cv2.LINE_AA)
    return picture, points


def wire(image: np.ndarray, points: np.ndarray) -> Distorted:
    """One wire from the tibia's lateral corner down to the medial side, 2 mm thick."""
    picture, width = image.copy(), float(plateau_mm(points))
    ends = [points[1] + [0, 0.05 * width], points[7] + [0, 0.3 * width]]
    first, last = (np.round(end).astype(int).tolist() for end in ends)
    cv2.line(picture, first, last, 255, max(round(0.026 * width), 1), cv2.LINE_AA)
    return picture, points


def staples(image: np.ndarray, points: np.ndarray) -> Distorted:
    """Two staples below the plateau, 2 mm thick, one on each side."""
    picture, width = image.copy(), float(plateau_mm(points))
    for number in (1, 6):
        corners = [(0.0, 0.08), (0.0, 0.25), (0.14, 0.25), (0.14, 0.08)]
        legs = np.array([points[number] + np.multiply(corner, width) for corner in corners])
        bent = np.round(legs).astype(int)
        cv2.polylines(picture, [bent], False, 255, max(round(0.026 * width), 1), cv2.LINE_AA)
    return picture, points


def covered(image: np.ndarray, points: np.ndarray) -> Distorted:
    """A plate of one grey, 12 mm wide, lies over the tibia's medial end."""
    picture, half = image.copy(), 0.08 * float(plateau_mm(points))
    first, last = (np.round(points[8] + way * half).astype(int).tolist() for way in (-1, 1))
    cv2.rectangle(picture, first, last, int(image.mean()), -1)
    return picture, points


def written_over(image: np.ndarray, points: np.ndarray) -> Distorted:
    """Letters, 6 mm high, across the joint."""
    picture, width = image.copy(), float(plateau_mm(points))
    place = np.round(points[[0, 8]].min(axis=0) + [0.1 * width, 0]).astype(int).tolist()
    cv2.putText(
        picture, "RIGHT KNEE AP", place, cv2.FONT_HERSHEY_SIMPLEX, 0.0037 * width, 255, 1, cv2.LINE_AA
    )
    return picture, points


def seam(image: np.ndarray, points: np.ndarray) -> Distorted:
    """The tibia's picture is put 10 mm beside the femur's: halves that were joined wrongly."""
    picture, width = image.copy(), float(plateau_mm(points))
    row = round(points[list(landmarks.TIBIA), 1].min())
    picture[row:] = np.roll(image[row:], round(0.13 * width), axis=1)
    return picture, points


def grainy(
    change: Callable[[np.ndarray, np.ndarray], Distorted], deviation: float = 15
) -> Callable[[np.ndarray, np.ndarray], Distorted]:
    """A distortion in a picture with noise."""

    def distort(image: np.ndarray, points: np.ndarray) -> Distorted:
        picture, moved = change(image, points)
        grain = np.random.default_rng(0).normal(0, deviation, picture.shape)
        return np.clip(picture + grain, 0, 255).astype(np.uint8), moved

    return distort


def cut_and_padded(
    padding: Callable[[np.ndarray, int], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray], Distorted]:
    """Cut inside of the plateau's lateral end; in its place `padding` of (what is left, lying to the right of
    it; how many columns)."""

    def distort(image: np.ndarray, points: np.ndarray) -> Distorted:
        inset = 0.08 * (points[8, 0] - points[0, 0])
        end, way = round(points[0, 0] + inset), 1 if inset > 0 else -1
        left, gone = (image[:, end:], end) if inset > 0 else (image[:, end - 1 :: -1], image.shape[1] - end)
        picture = np.concatenate([padding(left, gone), left], axis=1)[:, ::way]
        return np.ascontiguousarray(picture, np.uint8), points

    return distort


def cut_off(image: np.ndarray, points: np.ndarray) -> Distorted:
    """The lateral third is missing."""
    first = image.shape[1] // 3 if points[0, 0] < points[8, 0] else 0
    return np.ascontiguousarray(image[:, first : first + 2 * image.shape[1] // 3]), points - [first, 0]


def in_its_place(picture: Callable[[tuple[int, int]], np.ndarray]) -> Callable[..., Distorted]:
    """Another picture of the same size in the knee's place."""

    def distort(image: np.ndarray, points: np.ndarray) -> Distorted:
        return picture(image.shape), points

    return distort


def black(left: np.ndarray, columns: int) -> np.ndarray:
    return np.zeros((len(left), columns))


def edge(left: np.ndarray, columns: int) -> np.ndarray:
    """The last column again and again."""
    return np.repeat(left[:, :1], columns, axis=1)


def reflection(left: np.ndarray, columns: int) -> np.ndarray:
    return np.pad(left, ((0, 0), (columns, 0)), mode="reflect")[:, :columns]


def made(picture: Callable[[tuple[int, int]], np.ndarray]) -> Callable[[np.ndarray, int], np.ndarray]:
    """Another picture as padding."""
    return lambda left, columns: picture((len(left), columns))


def noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def ramp(shape: tuple[int, int]) -> np.ndarray:
    return np.tile(np.linspace(0, 255, shape[1]).astype(np.uint8), (shape[0], 1))


def texture(shape: tuple[int, int]) -> np.ndarray:
    rough = cv2.GaussianBlur(noise(shape).astype(np.float32), (0, 0), 6)
    return cv2.normalize(rough, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]


def sample(name: str) -> Callable[[tuple[int, int]], np.ndarray]:
    """One of scikit-image's sample pictures, in grey."""

    def picture(shape: tuple[int, int]) -> np.ndarray:
        found = getattr(samples, name)()
        flat = found if found.ndim == 2 else cv2.cvtColor(found[..., :3], cv2.COLOR_RGB2GRAY)
        return cv2.resize(flat.astype(np.uint8), shape[::-1])

    return picture


RIGHT = (
    Distortion("as it is", lambda image, points: (image, points)),
    Distortion("inverted", grey(lambda v: 1 - v)),
    Distortion("gamma 0.5", grey(lambda v: v**0.5)),
    Distortion("gamma 2", grey(lambda v: v**2)),
    Distortion("low contrast", grey(lambda v: 0.25 + v / 2)),
    Distortion("turned by 10 degrees", turned(10)),
    Distortion("turned by -10 degrees", turned(-10)),
    Distortion("JPEG quality 60", jpeg),
    Distortion("16 bits", sixteen_bits),
    Distortion("spacing x 0.7", lambda image, points: (image, points), spacing=0.7),
    Distortion("spacing x 1.4", lambda image, points: (image, points), spacing=1.4),
    Distortion("mirrored", mirrored),
    Distortion("edges enhanced", sharpened),
    Distortion("letters burnt in", lettered),
    Distortion("wide black border", bordered(0)),
    Distortion("wide white border", bordered(255)),
)
SPOILT = (
    Distortion("upside down", turned(180), right=False),
    Distortion("a quarter turn", turned(90), right=False),
    Distortion("false colours", false_colours, right=False),
    Distortion("metal", metal, right=False),
    Distortion("metal in noise", grainy(metal), right=False),
    Distortion("total prosthesis", total_prosthesis, right=False),
    Distortion("total prosthesis in noise", grainy(total_prosthesis), right=False),
    Distortion("screw", screw, right=False),
    Distortion("wire", wire, right=False),
    Distortion("staples", staples, right=False),
    Distortion("medial end covered", covered, right=False),
    Distortion("letters over the joint", written_over, right=False),
    Distortion("seam", seam, right=False),
    Distortion("lateral third cut off", cut_off, right=False),
    Distortion("lateral end cut and padded", cut_and_padded(black), right=False),
    Distortion("lateral end cut, edge repeated", cut_and_padded(edge), right=False),
    Distortion("lateral end cut, mirrored", cut_and_padded(reflection), right=False),
    Distortion("lateral end cut, noise", cut_and_padded(made(noise)), right=False),
    Distortion("lateral end cut, texture", cut_and_padded(made(texture)), right=False),
    Distortion("noise", in_its_place(noise), right=False),
    Distortion("ramp", in_its_place(ramp), right=False),
    Distortion("texture", in_its_place(texture), right=False),
    *(
        Distortion(name, in_its_place(sample(name)), right=False)
        for name in ("camera", "coins", "page", "brick", "grass", "moon")
    ),
)
"""Kinds of which nothing may be trusted."""
