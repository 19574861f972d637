"""A simulated knee radiograph by physics: thickness maps, Beer-Lambert, then what a machine does to the image.

`thickness_maps` turns outlines into mm of soft tissue, spongy bone and cortical bone along the beam; `detect` turns
these into the signal of a detector. Everything random comes from the generator handed in.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kneel_lib.data import anatomy

SOFT_PER_MM, SPONGY_PER_MM, CORTICAL_PER_MM, METAL_PER_MM = 0.020, 0.011, 0.052, 0.9
"""Attenuation at about 65 kV: of soft tissue, and of bone in addition to the tissue that it replaces."""

SUBPIXEL_BITS = 6


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


def depth_inside(outline, size, origin_mm, mm_per_px):
    """Distance of each pixel's centre to the outline in mm, 0 outside; (H, W) float32."""
    points = (outline - origin_mm) / mm_per_px * FINE + (FINE - 1) / 2
    canvas = np.zeros((size[0] * FINE, size[1] * FINE), np.uint8)
    cv2.fillPoly(canvas, [np.round(points * 2 ** SUBPIXEL_BITS).astype(np.int32)], 1, shift=SUBPIXEL_BITS)
    distance = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.maximum(distance - 0.5, 0) * (mm_per_px / FINE)
    return cv2.resize(distance, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def blur(image, sigma_px):
    """Gaussian blur; sigma a number or (across rows, across columns) in pixels."""
    rows, columns = np.broadcast_to(sigma_px, 2)
    return cv2.GaussianBlur(image, (0, 0), sigmaX=max(columns, 1e-3), sigmaY=max(rows, 1e-3), borderType=cv2.BORDER_REFLECT)


def rounded(depth, radius, greatest):
    """Thickness along the beam of a body with an elliptic rim: 0 at the outline, `greatest` from `radius` inwards, mm."""
    return greatest * np.sqrt(1 - (1 - np.clip(depth / radius, 0, 1)) ** 2)


def oriented_texture(size, random, mm_per_px):
    """Trabecular texture: noise drawn out along the shaft and, weaker, across; zero mean, unit deviation."""
    white, across, wide = (random.standard_normal(size, dtype=np.float32) for _ in range(3))
    fine = blur(white, (1.6 / mm_per_px, 0.22 / mm_per_px)) + 0.5 * blur(across, (0.25 / mm_per_px, 1.0 / mm_per_px))
    coarse = blur(cv2.resize(wide[::8, ::8], size[::-1], interpolation=cv2.INTER_LINEAR), 4 / mm_per_px)
    return fine / fine.std() + 0.8 * coarse / coarse.std()


def thickness_maps(shape, kl, random, size, origin_mm, mm_per_px, tilt_mm=3.0, implant=False):
    """{"soft", "spongy", "cortical", "metal"}: mm along the beam, (H, W), of one right knee.

    shape: (16, 2) mm from landmark 4. origin_mm: where the first pixel's centre lies in that frame.
    """
    place = size, origin_mm, mm_per_px
    skin = depth_inside(anatomy.leg(shape, random), *place)
    maps = {"soft": rounded(skin, 55, random.normal(112, 9)), **{name: np.zeros(size, np.float32) for name in ("spongy", "cortical", "metal")}}
    density, shell = random.normal(1, 0.1), random.normal(0.55, 0.12)
    y = (origin_mm[1] + mm_per_px * np.arange(size[0], dtype=np.float32))[:, None]
    femur_depth, tibia_depth = (depth_inside(outline, *place) for outline in (anatomy.femur(shape), anatomy.tibia(shape)))
    shaft_up, shaft_down = np.clip((-y - 35) / 40, 0, 1), np.clip((y - 25) / 40, 0, 1)
    bodies = [(femur_depth, 17, 58 - 26 * shaft_up, shell * (1 + 6 * shaft_up), 1 - 0.75 * shaft_up),
              (tibia_depth, 14, 46 - 18 * shaft_down, shell * (1 + 6 * shaft_down), 1 - 0.75 * shaft_down),
              (depth_inside(anatomy.fibula(shape, random), *place), 6, 14, shell * 1.6, 0.8),
              (depth_inside(anatomy.patella(shape, random), *place), 11, random.uniform(6, 14), shell, 0.9)]
    for depth, radius, greatest, wall, filling in bodies:
        outer = rounded(depth, radius, 1.0) * greatest
        inner = rounded(np.maximum(depth - wall, 0), radius, 1.0) * np.maximum(greatest - 2 * wall, 0)
        maps["spongy"] += density * filling * inner
        maps["cortical"] += density * (outer - inner)
    add_plateau(maps, shape, kl, random, place, tibia_depth, tilt_mm, density)
    maps["spongy"] *= 1 + 0.10 * oriented_texture(size, random, mm_per_px)
    maps["spongy"] = np.maximum(maps["spongy"], 0)
    if implant:
        maps["metal"] += 6 * ((femur_depth > 0) & (femur_depth < 9) & (y > -28)) + 6 * ((tibia_depth > 0) & (tibia_depth < 5) & (y < 14))
    return maps


def add_plateau(maps, shape, kl, random, place, tibia_depth, tilt_mm, density):
    """Subchondral bone: a dense line under the plateau, the plateau's second rim, and sclerosis where the joint is narrow."""
    size, origin_mm, mm_per_px = place
    x = origin_mm[0] + mm_per_px * np.arange(size[1])
    y = origin_mm[1] + mm_per_px * np.arange(size[0])[:, None]
    line = anatomy.smooth_through(shape[:9])
    top = np.interp(x, line[:, 0], line[:, 1], left=np.nan, right=np.nan)
    below = np.where(tibia_depth > 0, y - top, np.nan)
    gap = np.interp(x, shape[[1, 2, 6, 7], 0], shape[[1, 2, 6, 7], 1] - shape[[10, 11, 13, 14], 1])
    sclerosis = np.clip(1.25 - gap / 5.0, 0, 1) * kl / 4 * random.uniform(0.5, 1.4)
    away = np.clip(np.abs(x - shape[4, 0]) / 12 - 0.4, 0, 1)
    plate = np.exp(-np.nan_to_num(below, nan=99) / (1.5 + 3.0 * sclerosis)) * (below >= 0) * (5 + 9 * sclerosis) * away
    rim = np.exp(-((np.nan_to_num(below, nan=99) - abs(tilt_mm) - 1.5 * np.sin(x / 9)) / 0.7) ** 2) * 2.2 * away
    maps["cortical"] += density * np.nan_to_num(plate + rim)


def detect(maps, machine, random):
    """The detector's signal, (H, W) float, bright where many photons arrive, from thickness maps of a whole exposure.

    Beer-Lambert, focal blur, scatter (a wide blur of the primary beam), quantum noise.
    """
    attenuation = (SOFT_PER_MM * maps["soft"] + SPONGY_PER_MM * maps["spongy"] + CORTICAL_PER_MM * maps["cortical"] + METAL_PER_MM * maps["metal"])
    primary = blur(np.exp(-attenuation).astype(np.float32), machine.focal_blur_mm / machine.mm_per_px)
    small = cv2.resize(primary, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
    scatter = cv2.resize(blur(small, 25 / machine.mm_per_px / 16), primary.shape[::-1], interpolation=cv2.INTER_LINEAR)
    signal = (primary + machine.scatter * scatter) * machine.photons
    noisy = signal + np.sqrt(signal + 1) * random.standard_normal(signal.shape, dtype=np.float32)
    return blur(noisy, 0.4) / machine.photons


def develop(signal, machine):
    """Signal to displayed grey values in [0, 1], bone bright: logarithm, then the machine's gamma."""
    grey = -np.log(np.maximum(signal, 1e-5))
    low, high = np.percentile(grey, (2, 99.7))
    return np.clip((grey - low) / (high - low), 0, 1) ** machine.gamma
