"""The paper's pipeline from a radiograph to landmarks (Fig. 1), for Table 2: find each knee's ROI, predict,
move the ROI to the predicted tibial centre, predict again. `pipeline.locate` is what strangers' files go
through.

A picture wider than BILATERAL_MM shows two knees, one in each half, unless its file says that it is of the
left or the right one; a narrower one shows one knee, whose ROI is first cut around the middle. Networks see
right knees: left ones are mirrored before and carried back after. Several networks, and several slightly
moved ROIs, are averaged; how far they disagree is part of the answer.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import chdtri

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.data.roi_fields import ROI_FIELD_MM, halves
from kneel_lib.data.rois import Rois, cut_all
from kneel_lib.errors import KneelError
from kneel_lib.imaging import cut
from kneel_lib.network import training
from kneel_lib.pipeline.border import beyond
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.locate import NoKneeFound
from kneel_lib.pipeline.quality import SPREAD_LIMIT_MM, shape_distance

BILATERAL_MM = 220.0

SHAPE_LIMIT = 0.9999
RAREST = float(chdtri(2 * landmarks.COUNT, 1 - SHAPE_LIMIT))
"""A shape, as it lies in the picture, that is rarer than this share of chi-squared is no knee's: the
distance."""

Networks = Collection[Any]
"""Anything like `predictors.Network`: trained networks, exported ones, voting forests; ROI localisation asks
for maps, which trained ones alone have."""


SIDE_RATIO = 1.2
"""A side that was found by trying both mirrorings is a guess if the other one is less than this many times
as implausible."""

FOUND_SHARE, SURE_SHARE = 0.15, 0.7
"""In half a radiograph a knee is there if this share of the localisation map lies within 10 mm of its
mean, and surely there with the second share: ROI networks give 0.9 and more on simulated halves, and less
than 0.05 on black, grey or noise."""


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
    knee = Knee(side, points_mm / step, step, spread, shape_distance(points_mm), ())
    doubts = tuple(doubt(knee, image.shape))
    points_px = landmarks.mirrored(knee.points_px, width - 1) if side == "L" else knee.points_px
    return replace(knee, points_px=points_px, doubts=doubts)


def view(image: np.ndarray, mm_per_px: float, network: Any, centre_mm: np.ndarray) -> np.ndarray:
    """Landmarks (views, 16, 2) mm of the image from ROIs around the centre, one for each of the network's
    views."""
    step = network.spacing_mm / mm_per_px
    reach = step * (network.size_px - 1) / 2
    origins = np.array([(centre_mm + shift) / mm_per_px - reach for shift in network.views_mm])
    count = len(origins)
    images = cut_all([image] * count, origins, np.full(count, step), network.size_px, grey=network.grey)
    rois = Rois(
        images,
        np.zeros((count, 1, 2)),
        np.full(count, network.spacing_mm),
        origins * mm_per_px,
        network.size_px,
        0,
    )
    return rois.to_mm(network.predict(rois))


def doubt(knee: Knee, shape: tuple[int, ...]) -> Iterator[str]:
    """Reasons, in words, not to trust an answer."""
    spread = knee.spread_mm
    if spread.max() > SPREAD_LIMIT_MM:
        yield f"views disagree by {spread.max():.1f} mm at landmark {int(spread.argmax())}"
    if knee.shape_distance > RAREST:
        yield f"no knee has this shape (distance {knee.shape_distance:.0f})"
    if beyond(knee.points_px, np.zeros(2), np.array(shape[::-1]) - 1.0):
        yield "landmarks outside of the picture"


def with_doubt(knee: Knee, share: float) -> Knee:
    """The knee, doubted if ROI localisation was unsure where it is."""
    said = f"ROI localisation was unsure of this knee (share {share:.2f})"
    return knee if share >= SURE_SHARE else replace(knee, doubts=(*knee.doubts, said))


def more_plausible(tried: Sequence[Knee]) -> Knee:
    """The most plausible of the knees that were tried, doubted if another mirroring is about as plausible."""
    best, *others = sorted(tried, key=implausibility)
    if others and implausibility(others[0]) < SIDE_RATIO * implausibility(best):
        said = "its side is a guess: the other mirroring is about as plausible"
        return replace(best, doubts=(*best.doubts, said))
    return best


def implausibility(knee: Knee) -> float:
    """What decides between two mirrorings: spread of the views and rarity of the shape together."""
    rarity = knee.shape_distance / RAREST
    return float(knee.spread_mm.mean() / SPREAD_LIMIT_MM + rarity)
