"""A simulated knee radiograph by physics: thickness maps, Beer-Lambert, then what a machine does to the
image.

`thickness_maps` turns outlines into mm of soft tissue, trabecular bone and cortical bone along the beam;
`detect` turns these into the signal of a detector. Everything random comes from the generator handed in.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from kneel_lib.simulation import anatomy

SOFT_PER_MM, TRABECULAR_PER_MM, CORTICAL_PER_MM, METAL_PER_MM = 0.020, 0.011, 0.052, 0.9
"""Attenuation at about 65 kV: of soft tissue, and of bone in addition to the tissue that it replaces."""

SUBPIXEL_BITS = 6

Maps = dict[str, np.ndarray]
Place = tuple[tuple[int, int], np.ndarray, float]
"""(size of the picture, origin in mm, mm in a pixel)."""


@dataclass(frozen=True)
class Machine:
    """What differs between hospitals: detector and settings. Lengths in mm at the detector."""

    mm_per_px: float = 0.3
    photons: float = 24000.0
    scatter: float = 0.35
    focal_blur_mm: float = 0.25
    gamma: float = 1.0
    tilt_mm: float = 3.0


FINE = 2
"""Outlines are drawn on a grid this many times finer than the picture."""


def depth_inside(
    outline: np.ndarray, size: tuple[int, int], origin_mm: np.ndarray, mm_per_px: float
) -> np.ndarray:
    """Distance of each pixel's centre to the outline in mm, 0 outside; (H, W) float32.
    Only the outline's own box is worked on."""
    points = (outline - origin_mm) / mm_per_px
    depth = np.zeros(size, np.float32)
    rows, columns = box_around(points, size)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if min(height, width) < 1:
        return depth
    canvas = np.zeros((height * FINE, width * FINE), np.uint8)
    points = (points - [columns.start, rows.start]) * FINE + (FINE - 1) / 2
    cv2.fillPoly(canvas, [np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)], 1, shift=SUBPIXEL_BITS)
    distance = np.maximum(cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 0.5, 0) * (
        mm_per_px / FINE
    )
    depth[rows, columns] = cv2.resize(distance, (width, height), interpolation=cv2.INTER_AREA)
    return depth


def box_around(points: np.ndarray, size: tuple[int, int], margin: int = 2) -> tuple[slice, slice]:
    """(rows, columns) slices of the pixels around these points, clipped to the picture."""
    low, high = (
        np.floor(points.min(axis=0)).astype(int) - margin,
        np.ceil(points.max(axis=0)).astype(int) + margin + 1,
    )
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, size[::-1])
    return slice(top, max(top, bottom)), slice(left, max(left, right))


def blur(image: np.ndarray, sigma_px: float | tuple[float, float]) -> np.ndarray:
    """Gaussian blur; sigma a number or (across rows, across columns) in pixels."""
    rows, columns = np.broadcast_to(sigma_px, 2)
    return cv2.GaussianBlur(
        image, (0, 0), sigmaX=max(columns, 1e-3), sigmaY=max(rows, 1e-3), borderType=cv2.BORDER_REFLECT
    )


def rounded(depth: np.ndarray, radius: float | np.ndarray, greatest: float) -> np.ndarray:
    """Thickness along the beam of a body with an elliptic rim: 0 at the outline, `greatest` from `radius`
    inwards, mm."""
    return greatest * np.sqrt(1 - (1 - np.clip(depth / radius, 0, 1)) ** 2)


def oriented_texture(size: tuple[int, int], random: np.random.Generator, mm_per_px: float) -> np.ndarray:
    """Trabecular texture: noise drawn out along the shaft and, weaker, across; zero mean, unit deviation."""
    white, across, wide = (random.standard_normal(size, dtype=np.float32) for _ in range(3))
    fine = blur(white, (1.6 / mm_per_px, 0.22 / mm_per_px)) + 0.5 * blur(
        across, (0.25 / mm_per_px, 1.0 / mm_per_px)
    )
    coarse = blur(cv2.resize(wide[::8, ::8], size[::-1], interpolation=cv2.INTER_LINEAR), 4 / mm_per_px)
    return fine / fine.std() + 0.8 * coarse / coarse.std()


def line_map(
    line: np.ndarray, sigma_mm: float, size: tuple[int, int], origin_mm: np.ndarray, mm_per_px: float
) -> np.ndarray:
    """A thin line as a map that is 1 on the line and falls off as a gaussian of `sigma_mm`;
    (H, W) float32."""
    points = (line - origin_mm) / mm_per_px
    drawn = np.zeros(size, np.float32)
    rows, columns = box_around(points, size, margin=int(5 * sigma_mm / mm_per_px) + 1)
    canvas = np.full((rows.stop - rows.start, columns.stop - columns.start), 255, np.uint8)
    if canvas.size:
        points = (points - [columns.start, rows.start]) * 2**SUBPIXEL_BITS
        cv2.polylines(canvas, [np.round(points).astype(np.int32)], False, 0, 1, shift=SUBPIXEL_BITS)
        distance = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_5) * mm_per_px
        drawn[rows, columns] = np.exp(-0.5 * (distance / sigma_mm) ** 2)
    return drawn


def thickness_maps(
    shape: np.ndarray,
    kl: int,
    random: np.random.Generator,
    size: tuple[int, int],
    origin_mm: np.ndarray,
    mm_per_px: float,
    tilt_mm: float = 3.0,
    implant: bool = False,
) -> Maps:
    """{"soft", "trabecular", "cortical", "metal"}: mm along the beam, (H, W), of one right knee.

    shape: (16, 2) mm from landmark 4. origin_mm: where the first pixel's centre lies in that frame.
    """
    place = size, origin_mm, mm_per_px
    maps = {"soft": soft_tissue(shape, random, place)}
    maps |= {name: np.zeros(size, np.float32) for name in ("trabecular", "cortical", "metal")}
    density, shell = random.normal(0.85, 0.12), random.normal(0.55, 0.12)
    _, y = coordinates(place)
    femur_depth, tibia_depth = (depth_inside(bone(shape), *place) for bone in (anatomy.femur, anatomy.tibia))
    shaft_up, shaft_down = np.clip((-y - 45) / 40, 0, 1), np.clip((y - 35) / 40, 0, 1)
    round_femur, round_tibia = random.uniform(7, 13), random.uniform(6, 11)
    hollow, thin = fossa(shape, random, place), eminence(shape, place)
    femur_wall, tibia_wall = 0.8 * shell * (1 + 7 * shaft_up), shell * (1 + 6 * shaft_down)
    femur_radius, tibia_radius = round_femur + 5 * shaft_up, round_tibia + 5 * shaft_down
    femur_mm, tibia_mm = hollow * (44 - 14 * shaft_up), thin * (29 - 4 * shaft_down)
    fibula = depth_inside(anatomy.fibula(shape, random), *place)
    patella = depth_inside(anatomy.patella(shape, random), *place)
    bodies: list[tuple[Any, ...]] = [
        (femur_depth, femur_radius, femur_mm, femur_wall, 1 - 0.75 * shaft_up),
        (tibia_depth, tibia_radius, tibia_mm, tibia_wall, 1 - 0.75 * shaft_down),
        (fibula, 6, 13, shell * 1.6, 0.8),
        (patella, random.uniform(7, 15), random.uniform(4, 14), 0.7 * shell, 0.9),
    ]
    bodies += [
        (depth_inside(outline, *place), 3.0, 9.0, 0.5 * shell, 0.9)
        for outline in anatomy.osteophytes(shape, kl, random)
    ]
    for depth, radius, greatest, wall, filling in bodies:
        outer = rounded(depth, radius, 1.0) * greatest
        inner = rounded(np.maximum(depth - wall, 0), radius, 1.0) * np.maximum(greatest - 2 * wall, 0)
        maps["trabecular"] += density * filling * inner
        maps["cortical"] += density * (outer - inner)
    add_lines(maps, shape, random, place, femur_depth, tibia_depth, density)
    add_plateau(maps, shape, kl, random, place, tibia_depth, tilt_mm, density)
    maps["trabecular"] *= 1 + random.uniform(0.1, 0.24) * oriented_texture(size, random, mm_per_px)
    maps["trabecular"] = np.maximum(maps["trabecular"], 0)
    if implant:
        maps["metal"] += 6 * ((femur_depth > 0) & (femur_depth < 9) & (y > -28)) + 6 * (
            (tibia_depth > 0) & (tibia_depth < 5) & (y < 14)
        )
    return maps


def ramp(values: np.ndarray, width: float) -> np.ndarray:
    """From 0 far below zero to 1 far above it, smoothly over about `width`."""
    return 1 / (1 + np.exp(-4 * np.clip(values / width, -10, 10)))


def coordinates(place: Place) -> tuple[np.ndarray, np.ndarray]:
    """x (1, W) and y (H, 1) of the pixels in mm."""
    size, origin_mm, mm_per_px = place
    x = origin_mm[0] + mm_per_px * np.arange(size[1], dtype=np.float32)
    return x[None], (origin_mm[1] + mm_per_px * np.arange(size[0], dtype=np.float32))[:, None]


def fossa(shape: np.ndarray, random: np.random.Generator, place: Place) -> np.ndarray:
    """How much of the femur's thickness is left, (H, W) in 0 to 1:
    the intercondylar fossa is hollow behind the notch's roof."""
    x, y = coordinates(place)
    roof = shape[12, 1] - random.uniform(2, 7)
    inside = ramp(x - shape[11, 0] - 2, 4) * ramp(shape[13, 0] - x, 1.5) * ramp(y - roof, 4)
    return 1 - random.uniform(0.25, 0.6) * inside


def eminence(shape: np.ndarray, place: Place) -> np.ndarray:
    """How much of the tibia's thickness is left, (H, W) in 0 to 1:
    the spines between the plateaus are thin."""
    x, y = coordinates(place)
    level = shape[[2, 6], 1].mean() + 3
    return 1 - 0.45 * np.exp(-(((x - shape[4, 0]) / 12) ** 2)) * ramp(level - y, 8)


def soft_tissue(shape: np.ndarray, random: np.random.Generator, place: Place) -> np.ndarray:
    """Water-like thickness of the leg: skin, a layer of fat that attenuates less, muscle with soft folds
    along the leg."""
    depth = depth_inside(anatomy.leg(shape, random), *place)
    fat = random.uniform(5, 16)
    whole = rounded(depth, random.uniform(25, 48), random.normal(110, 9))
    noise = random.standard_normal(place[0], dtype=np.float32)[::16, ::16]
    folds = blur(noise, (30 / place[2] / 16, 7 / place[2] / 16))
    folds = cv2.resize(folds / folds.std(), place[0][::-1], interpolation=cv2.INTER_LINEAR)
    return whole * (1 - 0.25 * np.exp(-depth / fat)) * (1 + 0.025 * folds)


def add_lines(
    maps: Maps,
    shape: np.ndarray,
    random: np.random.Generator,
    place: Place,
    femur_depth: np.ndarray,
    tibia_depth: np.ndarray,
    density: float,
) -> None:
    """Bone walls seen end on: the notch's two walls (the medial one the stronger), and the growth plates'
    scars."""
    lateral, medial = anatomy.fossa_walls(shape, random)
    for line, most in ((lateral, 4.0), (medial, 7.0)):
        thick = density * random.uniform(0, most)
        maps["cortical"] += thick * line_map(line, random.uniform(0.4, 0.8), *place) * (femur_depth > 0)
    for line, depth in zip(anatomy.growth_scars(shape, random), (femur_depth, tibia_depth)):
        thick = density * random.uniform(0, 2.5)
        maps["cortical"] += thick * line_map(line, random.uniform(0.5, 1.0), *place) * (depth > 0)


RIM_MM = (0, 0.8, 0.8, 0.2, 0, 0.2, 1.8, 1.2, 0)
"""How far the plateau's other rim rises above landmarks 0 to 8, in mm at the usual tilt of 3 mm:
measured on the average real knee."""


def add_plateau(
    maps: Maps,
    shape: np.ndarray,
    kl: int,
    random: np.random.Generator,
    place: Place,
    tibia_depth: np.ndarray,
    tilt_mm: float,
    density: float,
) -> None:
    """Subchondral bone: a dense plate under the plateau, the plateau's other rim above it, and sclerosis
    where the joint is narrow."""
    x, y = coordinates(place)
    line = anatomy.plateau(shape)
    top = np.interp(x, line[:, 0], line[:, 1], left=np.nan, right=np.nan)
    below = y - top
    gap = np.interp(x, shape[[1, 2, 6, 7], 0], shape[[1, 2, 6, 7], 1] - shape[[10, 11, 13, 14], 1])
    sclerosis = np.clip(1.25 - gap / 5.0, 0, 1) * kl / 4 * random.uniform(0.5, 1.4)
    away = np.clip(np.abs(x - shape[4, 0]) / 12 - 0.4, 0, 1) * random.uniform(0.6, 1.3)
    deep = np.nan_to_num(below, nan=99)
    plate = (
        (np.exp(-deep / (2.0 + 3.0 * sclerosis)) * (16 + 9 * sclerosis) + 2.5 * np.exp(-deep / 6))
        * (tibia_depth > 0)
        * away
    )
    rim_mm = np.interp(x, shape[:9, 0], RIM_MM) * max(tilt_mm, 0) / 3 * random.uniform(0.6, 1.4)
    rim = (
        np.clip((below + rim_mm) / 0.4 + 0.5, 0, 1)
        * (tibia_depth == 0)
        * (below < 0)
        * (rim_mm > 0.15)
        * 8
        * away
    )
    hidden = (
        np.exp(-(((deep - abs(tilt_mm) - 1.5 * np.sin(x / 9)) / 0.8) ** 2)) * random.uniform(0, 2.2) * away
    )
    maps["cortical"] += density * np.nan_to_num(plate + rim + hidden * (tibia_depth > 0))


def transmit(maps: Maps) -> np.ndarray:
    """The share of the photons that comes through, (H, W) in 0 to 1:
    the law of Beer and Lambert along each ray."""
    return np.exp(
        -(
            SOFT_PER_MM * maps["soft"]
            + TRABECULAR_PER_MM * maps["trabecular"]
            + CORTICAL_PER_MM * maps["cortical"]
            + METAL_PER_MM * maps["metal"]
        )
    )


def expose(maps: Maps, machine: Machine) -> np.ndarray:
    """What reaches the detector, in shares of the open beam, without noise:
    the beam blurred by the focal spot, plus scatter."""
    primary = blur(transmit(maps).astype(np.float32), machine.focal_blur_mm / machine.mm_per_px)
    small = cv2.resize(primary, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
    scatter = cv2.resize(
        blur(small, 25 / machine.mm_per_px / 16), primary.shape[::-1], interpolation=cv2.INTER_LINEAR
    )
    return primary + machine.scatter * scatter


def detect(maps: Maps, machine: Machine, random: np.random.Generator) -> np.ndarray:
    """The detector's signal, (H, W) float, bright where many photons arrive:
    the exposure with quantum noise, which the screen spreads a little."""
    photons = expose(maps, machine) * machine.photons
    noisy = photons + np.sqrt(photons + 1) * random.standard_normal(photons.shape, dtype=np.float32)
    return blur(noisy, 0.4) / machine.photons


def develop(signal: np.ndarray, machine: Machine) -> np.ndarray:
    """Signal to displayed grey values in [0, 1], bone bright: logarithm, then the machine's gamma."""
    grey = -np.log(np.maximum(signal, 1e-5))
    low, high = np.percentile(grey, (2, 99.7))
    return np.clip((grey - low) / (high - low), 0, 1) ** machine.gamma
