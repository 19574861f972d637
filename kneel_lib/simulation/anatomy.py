"""From sixteen landmarks to whole bones: outlines of femur, tibia, fibula and patella by anatomical
templates.

All in mm in the frame of a right knee seen from the front: origin at landmark 4, x to medial, y down. An
outline is a closed polygon (n, 2) that passes through its landmarks exactly.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline, PchipInterpolator

from kneel_lib import landmarks

STEP_MM = 0.25
FEMUR_UP, TIBIA_DOWN = 170.0, 190.0
"""How far the shafts go, mm from landmark 4: beyond the picture."""


def smooth_through(points: np.ndarray) -> np.ndarray:
    """A curve through the points, sampled about every STEP_MM;
    parametrised by the chord, so that it does not overshoot."""
    chords = np.concatenate([[0], np.cumsum(np.sqrt(np.linalg.norm(np.diff(points, axis=0), axis=1)))])
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    dense = np.linspace(0, chords[-1], max(int(length / STEP_MM), 8))
    return CubicSpline(chords, points)(np.unique(np.concatenate([dense, chords])))


def side_line(start: np.ndarray, offsets: ArrayLike) -> np.ndarray:
    """A bone's side: from `start` through start + offsets, x as a monotone function of y (sampled about every
    STEP_MM)."""
    points = np.concatenate([[start], start + np.asarray(offsets, float)])
    order = np.argsort(points[:, 1])
    y = np.arange(points[order[0], 1], points[order[-1], 1] + STEP_MM, STEP_MM)
    line = np.stack([PchipInterpolator(points[order, 1], points[order, 0], extrapolate=True)(y), y], axis=1)
    return line if order[0] == 0 else line[::-1]


def femur(shape: np.ndarray, shaft_mm: float = 15.5) -> np.ndarray:
    """The femur's outline: condyles and notch through landmarks 9 to 15, epicondyles, and the shaft up to
    FEMUR_UP."""
    lateral, *_, medial = shape[list(landmarks.FEMUR)]
    centre = (lateral[0] + medial[0]) / 2
    medial_up = [(2.0, -4), (3.2, -10), (4.0, -20), (5.8, -29), (4.0, -38), (-1, -46), (-9, -58)]
    lateral_up = [(1.2, -3), (0.6, -8), (2.6, -14), (4.2, -22), (4.4, -30), (1.5, -40), (-3, -48), (-10, -60)]
    sides = []
    for corner, outward, up in ((medial, 1, medial_up), (lateral, -1, lateral_up)):
        shaft = centre + outward * shaft_mm - corner[0]
        offsets = [(outward * x, y) for x, y in up] + [(shaft + outward * 4, -84), (shaft, -FEMUR_UP)]
        sides.append(side_line(corner, offsets))
    joint = smooth_through(shape[list(landmarks.FEMUR)])
    return np.concatenate([joint, sides[0], sides[1][::-1]])


def tibia(shape: np.ndarray, shaft_mm: float = 13.5) -> np.ndarray:
    """The tibia's outline: the plateau through landmarks 0 to 8, the flare below its corners, the shaft to
    TIBIA_DOWN."""
    lateral, *_, medial = shape[list(landmarks.TIBIA)]
    centre = (lateral[0] + medial[0]) / 2 + 1.5
    down = [(0.5, 3), (-0.2, 8), (-1.6, 16), (-4.0, 24), (-9, 36), (-15, 50)]
    sides = []
    for corner, outward in ((medial, 1), (lateral, -1)):
        shaft = centre + outward * shaft_mm - corner[0]
        offsets = [(outward * x, y) for x, y in down] + [(shaft + outward * 2, 78), (shaft, TIBIA_DOWN)]
        sides.append(side_line(corner, offsets))
    return np.concatenate([plateau(shape), sides[0], sides[1][::-1]])


def plateau(shape: np.ndarray) -> np.ndarray:
    """The tibia's upper edge through landmarks 0 to 8;
    hollow below the medial tubercle (5 to 6), as the average real knee shows it."""
    before, after = shape[5], shape[6]
    hollow = before + [0.42, 0.74] * (after - before)
    return smooth_through(np.concatenate([shape[:6], [hollow], shape[6:9]]))


def fibula(shape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The fibula: a head below and lateral to landmark 0, partly behind the tibia, and a thin shaft."""
    corner = shape[0]
    x, y = corner[0] + random.uniform(1, 6), corner[1] + random.uniform(9, 15)
    right = [(x + 7, y + 6), (x + 4.5, y + 18), (x + 2.5, y + 36), (x + 3, TIBIA_DOWN)]
    left = [(x - 8, y + 7), (x - 6.5, y + 18), (x - 6, y + 36), (x - 5.5, TIBIA_DOWN)]
    return smooth_through(np.array([left[3], left[2], left[1], left[0], (x - 3, y), (x + 2, y - 1), *right]))


def patella(shape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The patella over the femur: a rounded shield, flat above, its centre about 30 mm above the notch."""
    centre = shape[12] + [random.normal(-4, 5), random.uniform(-42, -22)]
    width, height = random.normal(22, 2), random.normal(21, 2)
    squareness, lean = random.uniform(0.65, 0.95), random.normal(0, 0.12)
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    x, y = (np.sign(wave(angle)) * np.abs(wave(angle)) ** squareness for wave in (np.cos, np.sin))
    x = x * (1 - 0.22 * np.clip(y, 0, 1) ** 2) * (1 + 0.03 * np.sin(3 * angle + random.uniform(0, 6)))
    return centre + np.stack([width * x + lean * height * y, height * y], axis=1)


def leg(shape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The skin's outline: a tapering leg around the knee."""
    middle = shape[:, 0].mean()
    half = random.normal(63, 6)
    y = np.linspace(-FEMUR_UP - 20, TIBIA_DOWN + 20, 60)
    width = half + np.interp(y, [-130, -40, 0, 40, 130], [14, 3, 0, -1, -5]) + 1.5 * np.sin(y / 23)
    return np.concatenate(
        [np.stack([middle - width, y], axis=1), np.stack([middle + width, y], axis=1)[::-1]]
    )


def fossa_walls(shape: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """The walls of the intercondylar notch, seen end on as two lines that rise from landmarks 11 and 13:
    [(n, 2), (n, 2)] mm."""
    walls = []
    for number, inward in ((11, 1), (13, -1)):
        height = random.uniform(18, 34)
        rise = np.linspace(0, 1, 60)[:, None]
        bend = random.normal(1.0, 1.5) * np.sin(np.pi * rise) + random.normal(0, 2) * rise
        walls.append(shape[number] + np.concatenate([inward * bend, -height * rise], axis=1))
    return walls


def growth_scars(shape: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """The lines that the growth plates left across femur and tibia: [(n, 2), (n, 2)] mm."""
    scars = []
    for corners, away in (((9, 15), random.uniform(-40, -28)), ((0, 8), random.uniform(14, 24))):
        lateral, medial = shape[corners[0]], shape[corners[1]]
        x = np.linspace(lateral[0] + 4, medial[0] - 4, 120)
        middle = (lateral[1] + medial[1]) / 2
        wave = random.uniform(1, 3) * np.sin(x / random.uniform(8, 14) + random.uniform(0, 6))
        y = middle + away + wave + 0.03 * random.normal() * (x - x.mean())
        scars.append(np.stack([x, y], axis=1))
    return scars


def osteophytes(shape: np.ndarray, kl: int, random: np.random.Generator) -> list[np.ndarray]:
    """Bony spurs beyond the corners of both bones, larger and more frequent with the grade:
    a list of outlines in mm."""
    spurs = []
    for number, outward in ((0, -1), (8, 1), (9, -1), (15, 1)):
        if random.random() < (0.0, 0.2, 0.55, 0.75, 0.9)[kl]:
            length, lift = random.uniform(1.0, 1.2 + 0.9 * kl), random.uniform(-1, 1) * 0.5 * kl
            up = 1 if number in landmarks.TIBIA else -1
            corner = shape[number]
            x = (-4 * outward, 0, outward * length, outward * 0.7 * length, 0, -4 * outward)
            y = (0.4 * up, 0.2 * up, -lift, up * 2.5 - lift, up * 6.0, up * 6.5)
            spurs.append(smooth_through(corner + np.array(list(zip(x, y)))))
    return spurs
