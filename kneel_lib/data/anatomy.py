"""From sixteen landmarks to whole bones: outlines of femur, tibia, fibula and patella by anatomical templates.

All in mm in the frame of a right knee seen from the front: origin at landmark 4, x to medial, y down. An outline is a
closed polygon (n, 2) that passes through its landmarks exactly.
"""

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from kneel_lib import landmarks

STEP_MM = 0.25
FEMUR_UP, TIBIA_DOWN = 170.0, 190.0
"""How far the shafts go, mm from landmark 4: beyond the picture."""


def smooth_through(points):
    """A curve through the points, sampled about every STEP_MM; parametrised by the chord, so that it does not overshoot."""
    chords = np.concatenate([[0], np.cumsum(np.sqrt(np.linalg.norm(np.diff(points, axis=0), axis=1)))])
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    dense = np.linspace(0, chords[-1], max(int(length / STEP_MM), 8))
    return CubicSpline(chords, points)(np.unique(np.concatenate([dense, chords])))


def side_line(start, offsets):
    """A bone's side: from `start` through start + offsets, x as a monotone function of y (sampled about every STEP_MM)."""
    points = np.concatenate([[start], start + np.asarray(offsets, float)])
    order = np.argsort(points[:, 1])
    y = np.arange(points[order[0], 1], points[order[-1], 1] + STEP_MM, STEP_MM)
    line = np.stack([PchipInterpolator(points[order, 1], points[order, 0], extrapolate=True)(y), y], axis=1)
    return line if order[0] == 0 else line[::-1]


def femur(shape, shaft_mm=15.5):
    """The femur's outline: condyles and notch through landmarks 9 to 15, epicondyles, and the shaft up to FEMUR_UP."""
    lateral, *_, medial = shape[list(landmarks.FEMUR)]
    centre = (lateral[0] + medial[0]) / 2
    up = [(3.0, -6), (5.5, -16), (4.5, -27), (-2, -40), (-9, -54)]
    sides = []
    for corner, outward in ((medial, 1), (lateral, -1)):
        shaft = centre + outward * shaft_mm - corner[0]
        offsets = [(outward * x, y) for x, y in up] + [(shaft + outward * 3, -78), (shaft, -FEMUR_UP)]
        sides.append(side_line(corner, offsets))
    joint = smooth_through(shape[list(landmarks.FEMUR)])
    return np.concatenate([joint, sides[0], sides[1][::-1]])


def tibia(shape, shaft_mm=13.5):
    """The tibia's outline: the plateau through landmarks 0 to 8, the flare below its corners, the shaft to TIBIA_DOWN."""
    lateral, *_, medial = shape[list(landmarks.TIBIA)]
    centre = (lateral[0] + medial[0]) / 2 + 1.5
    down = [(0.6, 4), (-0.8, 10), (-4.5, 20), (-10.5, 34), (-16, 50)]
    sides = []
    for corner, outward in ((medial, 1), (lateral, -1)):
        shaft = centre + outward * shaft_mm - corner[0]
        offsets = [(outward * x, y) for x, y in down] + [(shaft + outward * 2, 78), (shaft, TIBIA_DOWN)]
        sides.append(side_line(corner, offsets))
    plateau = smooth_through(shape[list(landmarks.TIBIA)])
    return np.concatenate([plateau, sides[0], sides[1][::-1]])


def fibula(shape, random):
    """The fibula: a head below and lateral to landmark 0, partly behind the tibia, and a thin shaft."""
    corner = shape[0]
    x, y = corner[0] + random.uniform(1, 6), corner[1] + random.uniform(9, 15)
    right = [(x + 7, y + 6), (x + 4.5, y + 18), (x + 2.5, y + 36), (x + 3, TIBIA_DOWN)]
    left = [(x - 8, y + 7), (x - 6.5, y + 18), (x - 6, y + 36), (x - 5.5, TIBIA_DOWN)]
    return smooth_through(np.array([left[3], left[2], left[1], left[0], (x - 3, y), (x + 2, y - 1), *right]))


def patella(shape, random):
    """The patella over the femur: an egg, its centre about 30 mm above the notch."""
    centre = shape[12] + [random.normal(0, 3), random.uniform(-34, -18)]
    width, height = random.normal(21, 1.5), random.normal(21, 1.5)
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    return centre + np.stack([width * np.cos(angle), height * np.sin(angle) * (1 - 0.12 * np.sin(angle))], axis=1)


def leg(shape, random):
    """The skin's outline: a tapering leg around the knee."""
    middle = shape[:, 0].mean()
    half = random.normal(58, 6)
    y = np.linspace(-FEMUR_UP - 20, TIBIA_DOWN + 20, 60)
    width = half + np.interp(y, [-130, -40, 0, 40, 130], [14, 3, 0, -1, -5]) + 1.5 * np.sin(y / 23)
    return np.concatenate([np.stack([middle - width, y], axis=1), np.stack([middle + width, y], axis=1)[::-1]])
