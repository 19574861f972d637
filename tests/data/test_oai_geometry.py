"""Where an annotation of the published form lies in a radiograph, to the tenth of a millimetre."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.oai import PAD_PX, ROI_PX, annotation_row, radiograph_points_mm
from kneel_lib.data.radiographs import Radiograph

RADIOGRAPH = Radiograph(Path("drawn.dcm"), np.zeros((1500, 1500), np.uint8), 0.1)
"""Three of its pixels are one of the annotations' 0.3 mm: pixel n of those has its centre in pixel 3 n + 1 of
these."""

SHAPE = np.stack([np.tile(np.arange(8) * 12, 2) - 40, np.arange(16) * 3 - 12], axis=1)
SHAPE = SHAPE - SHAPE[landmarks.CENTRE]


def annotated(side):
    """(row of the published form, landmarks in whole 0.3 mm pixels of the radiograph) of one knee."""
    points = SHAPE * [1 if side == "R" else -1, 1] + [300, 260]
    return SimpleNamespace(**annotation_row(9000001, side, 2, points)), points


def roi_points(row):
    return np.array([float(part) for part in f"{row.tibia},{row.femur}".split(",")]).reshape(16, 2)


@pytest.mark.parametrize("side", ["R", "L"])
def test_an_annotated_pixel_has_its_centre_where_the_radiograph_has_it(side):
    row, points = annotated(side)
    found = radiograph_points_mm(RADIOGRAPH, row, roi_points(row))
    assert np.allclose(found / RADIOGRAPH.spacing_mm, 3 * points + 1)


def test_the_published_form_counts_from_the_padded_picture_and_its_roi():
    row, points = annotated("R")
    assert row.center == f"{300 + PAD_PX},{260 + PAD_PX}"
    assert roi_points(row)[landmarks.CENTRE].tolist() == [ROI_PX // 2] * 2
