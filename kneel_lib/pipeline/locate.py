"""From a radiograph to landmarks (Fig. 1): find each knee's ROI, predict, move the ROI to the predicted
tibial centre, predict again.

A picture wider than BILATERAL_MM shows two knees, one in each half, unless its file says that it is of the
left or the right one; a narrower one shows one knee, whose ROI is first cut around the middle. Networks see
right knees: left ones are mirrored before and carried back after. Several networks, and several slightly
moved ROIs, are averaged; how far they disagree is part of the answer.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.data.roi_fields import ROI_FIELD_MM, halves
from kneel_lib.data.rois import Rois
from kneel_lib.errors import KneelError
from kneel_lib.imaging import cut
from kneel_lib.network import training
from kneel_lib.pipeline.quality import FOUND_SHARE, doubt, more_plausible, shape_distance, with_doubt

BILATERAL_MM = 220.0

Networks = Collection[Any]
"""Anything like `predictors.Network`: a trained network, voting forests, an exported network."""


class NoKneeFound(KneelError):
    """The image was read, and ROI localisation found no knee in it."""


@dataclass(frozen=True)
class Knee:
    """One knee's answer. points_px: (16, 2) in pixels of the file, as it shows them. spread_mm: (16,)
    standard deviation over views.

    shape_distance: squared Mahalanobis distance to the nearest grade's shape model, with measurement noise;
    about 32 is usual. doubts: why the answer should not be trusted; empty if nothing speaks against it.
    """

    side: str
    points_px: np.ndarray
    mm_per_px: float
    spread_mm: np.ndarray
    shape_distance: float
    doubts: tuple

    @property
    def points_mm(self) -> np.ndarray:
        """(16, 2) mm from the centre of the file's first pixel."""
        return self.points_px * self.mm_per_px

    @property
    def trusted(self) -> bool:
        return not self.doubts

    def joint_space_mm(self) -> dict[str, float]:
        """{"medial", "lateral"}: least distance in mm between the landmarks' polylines of femur and tibia
        that face each other."""
        facing = {"medial": ((6, 7, 8), (13, 14, 15)), "lateral": ((0, 1, 2), (9, 10, 11))}
        return {
            name: least_distance(*(self.points_mm[list(bone)] for bone in bones))
            for name, bones in facing.items()
        }


def least_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The least distance between two polylines, (n, 2) and (m, 2), each sampled finely."""
    share = np.linspace(0, 1, 100)
    a, b = (
        np.concatenate([p + share[:, None] * (q - p) for p, q in zip(line[:-1], line[1:])])
        for line in (first, second)
    )
    return float(np.linalg.norm(a[:, None] - b[None], axis=2).min())


def locate(
    radiograph: Radiograph, networks: Networks, roi_networks: Networks = (), side: str = "", stages: int = 2
) -> list[Knee]:
    """The `Knee`s in a `Radiograph`, right before left.

    side: "L" or "R" where a single-knee picture's is known; "" takes the file's, or tries both and keeps the
    more plausible. stages: 1 is the paper's one-stage pipeline, 2 moves the ROI to predicted landmark 4.
    Raises `NoKneeFound` where none is found, and `KneelError` where a bilateral radiograph is given without
    networks for ROI localisation.
    """
    width_mm = radiograph.image.shape[1] * radiograph.spacing_mm
    said = radiograph.side if radiograph.side in ("L", "R") else ""
    if said or width_mm < BILATERAL_MM:
        middle_mm = (np.array(radiograph.image.shape[::-1]) - 1) / 2 * radiograph.spacing_mm
        return [
            more_plausible(
                [locate_knee(radiograph, networks, middle_mm, one, stages) for one in side or said or "RL"]
            )
        ]
    if not roi_networks:
        raise KneelError(
            f"{radiograph.path} is {width_mm:.0f} mm wide and shows two knees, but there is no network "
            "for ROI localisation: give single-knee pictures"
        )
    centres = find_knees(radiograph, roi_networks)
    if not centres:
        raise NoKneeFound(f"{radiograph.path} shows no knee that ROI localisation could find")
    return [
        with_doubt(locate_knee(radiograph, networks, centre_mm, one, stages), share)
        for one, (centre_mm, share) in centres.items()
    ]


def find_knees(radiograph: Radiograph, networks: Networks) -> dict[str, tuple[np.ndarray, float]]:
    """{side: (tibial centre in mm of the radiograph, share of the map around it)} of the knees in its
    halves, the paper's first stage at 1 mm."""
    found = {}
    for side, (picture, origin_mm) in halves(radiograph.image, radiograph.spacing_mm).items():
        votes, shares = zip(*(locate_in_half(picture, network) for network in networks))
        if np.mean(shares) >= FOUND_SHARE:
            found[side] = origin_mm + np.mean(votes, axis=0), float(np.mean(shares))
    return found


def locate_in_half(picture: np.ndarray, network: Any) -> tuple[np.ndarray, float]:
    """(centre in mm of the half, share of the map within 10 mm of it) by one ROI network."""
    step = network.spacing_mm / ROI_FIELD_MM
    origin = (np.array(picture.shape[::-1]) - 1) / 2 - step * (network.size_px - 1) / 2
    roi = cut(picture, origin, step, network.size_px)
    map_ = softmax_maps(network, roi[None])[0, 0]
    rows, columns = map_.shape
    mean = np.array(
        [
            (map_.sum(axis=0) * np.arange(columns)).sum() / columns,
            (map_.sum(axis=1) * np.arange(rows)).sum() / rows,
        ]
    )
    y, x = np.mgrid[:rows, :columns]
    distance_mm = (
        np.hypot(x - mean[0] * columns, y - mean[1] * rows) * network.size_px / columns * network.spacing_mm
    )
    return (origin + mean * network.size_px * step) * ROI_FIELD_MM, float(map_[distance_mm <= 10].sum())


@torch.no_grad()
def softmax_maps(network: Any, rois: np.ndarray) -> np.ndarray:
    """The network's maps (n, M, h, w) of ROIs (n, S, S) uint8, each adding up to one."""
    inputs = training.standardise(torch.from_numpy(np.ascontiguousarray(rois[:, None])).float() / 255)
    maps = training.predict_maps(network.model.eval(), inputs, network.precision).float()
    return torch.softmax(network.model.architecture.beta * maps.flatten(2), dim=2).view(maps.shape).numpy()


def locate_knee(
    radiograph: Radiograph, networks: Networks, centre_mm: np.ndarray, side: str, stages: int = 2
) -> Knee:
    """One `Knee` from where its centre is thought to be, (2,) mm of the radiograph."""
    image, step = radiograph.image, radiograph.spacing_mm
    width = image.shape[1]
    if side == "L":
        image = np.ascontiguousarray(image[:, ::-1])
        centre_mm = landmarks.mirrored(centre_mm, (width - 1) * step)
    for _ in range(stages):
        views = np.concatenate([view(image, step, network, centre_mm) for network in networks])
        points_mm = views.mean(axis=0)
        centre_mm = points_mm[landmarks.CENTRE]
    spread = np.sqrt(views.var(axis=0).sum(axis=1))
    distance = shape_distance(points_mm)
    points_px = points_mm / step
    doubts = tuple(doubt(spread, distance, points_px, image.shape))
    if side == "L":
        points_px = landmarks.mirrored(points_px, width - 1)
    return Knee(side, points_px, step, spread, distance, doubts)


def view(image: np.ndarray, mm_per_px: float, network: Any, centre_mm: np.ndarray) -> np.ndarray:
    """Landmarks (views, 16, 2) mm of the image from ROIs around the centre, one for each of the network's
    views."""
    step = network.spacing_mm / mm_per_px
    reach = step * (network.size_px - 1) / 2
    origins = np.array([(centre_mm + shift) / mm_per_px - reach for shift in network.views_mm])
    images = np.stack([cut(image, origin, step, network.size_px) for origin in origins])
    count = len(images)
    rois = Rois(
        images,
        np.zeros((count, 1, 2)),
        np.full(count, network.spacing_mm),
        origins * mm_per_px,
        network.size_px,
        0,
    )
    return rois.to_mm(network.predict(rois))


def overlay(
    radiograph: Radiograph, knees: Iterable[Knee], least_px: int = 800, greatest_px: int = 1600
) -> np.ndarray:
    """The radiograph with its landmarks, (H, W, 3) uint8 BGR: tibia orange, femur blue;
    knees not to be trusted are marked."""
    longest = max(radiograph.image.shape)
    scale = np.clip(longest, least_px, greatest_px) / longest
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.cvtColor(
        cv2.resize(radiograph.image, None, fx=scale, fy=scale, interpolation=kind), cv2.COLOR_GRAY2BGR
    )
    for knee in knees:
        for number, point in enumerate(knee.points_px):
            colour = (0, 94, 213) if number in landmarks.TIBIA else (233, 180, 86)
            cv2.circle(
                picture, tuple(np.round(point * scale).astype(int).tolist()), 3, colour, -1, cv2.LINE_AA
            )
        if not knee.trusted:
            x, y = np.round(knee.points_px.min(axis=0) * scale).astype(int).tolist()
            cv2.putText(
                picture,
                "not to be trusted",
                (x, max(y - 12, 12)),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                (0, 255, 255),
                1,
                cv2.LINE_AA,
            )
    return picture
