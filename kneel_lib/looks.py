"""One network, several looks: each ROI is seen turned, scaled and moved as well, and the answers, carried back, are averaged.

Nothing is trained. It costs as many predictions as there are looks, and takes away a part of what chance has put into one network's answer.
"""

from dataclasses import replace
from itertools import product

import cv2
import numpy as np

from kneel_lib import training

VIEWS = tuple(product((-5.0, 0.0, 5.0), (0.95, 1.05), (-1 / 64, 1 / 64)))
"""(degrees, scale, shift along the diagonal as a share of the side) of each look beside the plain one: well inside of what training showed."""


def predict(model, rois, device="cpu"):
    """As `training.predict`, (n, 16, 2) ROI pixels without the margin: the mean over the plain look and those of VIEWS."""
    side = rois.images.shape[-1]
    answers = [training.predict(model, rois, device)]
    for view in VIEWS:
        to_roi = view_matrix(*view, side)
        found = training.predict(model, replace(rois, images=seen(rois.images, to_roi)), device)
        answers.append(carried_back(found + rois.margin_px, to_roi) - rois.margin_px)
    return np.mean(answers, axis=0)


def seen(images, to_roi):
    """Pictures (n, S, S) as a look sees them; what lies outside repeats the edge."""
    return np.stack([cv2.warpAffine(image, to_roi, image.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE) for image in images])


def carried_back(points, to_roi):
    """Points (..., 2) in pixels of a look to pixels of the picture that it looks at."""
    return points @ to_roi[:, :2].T + to_roi[:, 2]


def view_matrix(degrees, scale, shift, side):
    """(2, 3) from pixels of the view to pixels of the picture, both `side` wide; turned and scaled about the middle."""
    angle, middle = np.deg2rad(degrees), np.full(2, (side - 1) / 2)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, middle - turn @ middle + shift * side])
