"""What holds for any points, spacing and size: ways there and back, mirror images, cut-outs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.oai import annotation_row, radiograph_points_mm
from kneel_lib.data.rois import CENTRES, GREYS, PLATEAU_MM, SCALES, Rois, cut_rois, plateau_mm
from kneel_lib.imaging import cut, vertex
from kneel_lib.network.augmentation import transform_points
from kneel_lib.pipeline.knee import in_plateau_mm

FLOATS = {"allow_nan": False, "allow_infinity": False}
POINTS = arrays(np.float64, (3, 16, 2), elements=st.floats(-500, 500, **FLOATS))
SIDES = st.sampled_from("RL")
SPACINGS = st.floats(0.05, 1.0, **FLOATS)


@given(POINTS, st.floats(0, 2000, **FLOATS))
def test_mirrored_twice_is_as_before(points, reach):
    there = landmarks.mirrored(points, reach)
    assert np.allclose(landmarks.mirrored(there, reach), points, atol=1e-6)
    assert np.allclose(there[..., 0] + points[..., 0], reach) and np.array_equal(
        there[..., 1], points[..., 1]
    )


def test_the_mirror_image_of_the_mirror_image_is_the_landmark_itself():
    twice = [landmarks.MIRROR_IMAGE[landmarks.MIRROR_IMAGE[number]] for number in range(landmarks.COUNT)]
    assert twice == list(range(landmarks.COUNT)) and set(landmarks.MIRROR_IMAGE[:9]) == set(landmarks.TIBIA)


@given(
    POINTS,
    arrays(np.float64, (3, 2), elements=st.floats(-300, 300, **FLOATS)),
    arrays(np.float64, (3,), elements=SPACINGS),
    st.integers(0, 40),
)
def test_pixels_to_millimetres_and_back(points, origin_mm, mm_per_px, margin):
    rois = Rois(np.zeros((3, 1, 1), np.uint8), points, mm_per_px, origin_mm, 64, margin)
    back = (rois.to_mm(points) - origin_mm[:, None]) / mm_per_px[:, None, None] - margin
    assert np.allclose(back, points, atol=1e-6)
    step = rois.to_mm(points + [1, 0]) - rois.to_mm(points)
    assert np.allclose(step, mm_per_px[:, None, None] * [1, 0]), (
        "a pixel is so many mm, and only along its axis"
    )


@given(
    st.integers(16, 48),
    st.floats(0.5, 3.0, **FLOATS),
    st.sampled_from(CENTRES),
    st.integers(0, 9),
    st.sampled_from(SCALES),
    st.sampled_from(GREYS),
)
def test_every_roi_carries_its_landmarks_there_and_back(cohort, size, spacing, centre, margin, scale, grey):
    few = cohort.select(slice(0, 3))
    rois = cut_rois(few, size, spacing, centre, margin, scale, grey)
    assert rois.images.shape == (3, size + 2 * margin, size + 2 * margin) and rois.images.dtype == np.uint8
    assert np.allclose(rois.to_mm(rois.landmarks_px - margin), few.landmarks_mm, atol=2e-3)


@given(st.integers(16, 48), st.floats(0.5, 3.0, **FLOATS), st.integers(1, 9), st.sampled_from(CENTRES))
def test_a_margin_changes_nothing_inside(cohort, size, spacing, margin, centre):
    few = cohort.select(slice(0, 2))
    plain, wide = (cut_rois(few, size, spacing, centre, edge) for edge in (0, margin))
    inside = wide.images[:, margin:-margin, margin:-margin].astype(int)
    assert np.abs(inside - plain.images).max() <= 4, "sampled at the same places, to a 32nd of a pixel"
    assert np.allclose(wide.landmarks_px - margin, plain.landmarks_px, atol=1e-3)
    assert np.allclose(wide.to_mm(np.zeros((2, 16, 2))), plain.to_mm(np.zeros((2, 16, 2))), atol=1e-6)


@given(st.integers(-30, 70), st.integers(-30, 70), st.integers(1, 60), st.integers(0, 5))
def test_a_cut_at_whole_pixels_is_a_slice_and_black_outside(x, y, side, seed):
    image = np.random.default_rng(seed).integers(1, 256, (40, 50), np.uint8)
    padded = np.pad(image, 200)
    expected = padded[200 + y : 200 + y + side, 200 + x : 200 + x + side]
    assert np.array_equal(cut(image, np.array([x, y], float), 1.0, side), expected)


@given(st.floats(-0.45, 0.45, **FLOATS), st.floats(0.1, 50, **FLOATS), st.floats(-100, 100, **FLOATS))
def test_the_vertex_of_a_parabola_is_found(place, bend, height):
    values = [height - bend * (x - place) ** 2 for x in (-1, 0, 1)]
    assert vertex(values) == pytest.approx(place, abs=1e-4)


SHAPES = arrays(np.float64, (16, 2), elements=st.floats(-150, 150, **FLOATS))


@given(SHAPES, SIDES, st.floats(0.1, 0.5, **FLOATS))
def test_an_annotation_is_read_back_to_half_a_published_pixel(shape, side, spacing):
    """Landmarks in mm of a radiograph, written in whole 0.3 mm pixels of the padded picture, and read."""
    drawn_mm = shape * 0.3 + [120.0, 110.0]
    radiograph = Radiograph(Path("drawn.dcm"), np.zeros((3000, 3000), np.uint8), spacing)
    published = (drawn_mm + spacing / 2) / 0.3 - 0.5
    row = SimpleNamespace(**annotation_row(9000001, side, 2, published))
    inside = np.array([float(part) for part in f"{row.tibia},{row.femur}".split(",")]).reshape(16, 2)
    assert np.abs(radiograph_points_mm(radiograph, row, inside) - drawn_mm).max() <= 0.151


@given(SHAPES, st.floats(0.2, 20, **FLOATS))
def test_a_shape_at_the_size_of_the_plateau_has_no_size(shape, scale):
    shape[8] = shape[0] + [40.0, 3.0]
    assert plateau_mm(in_plateau_mm(shape)) == pytest.approx(PLATEAU_MM)
    assert np.allclose(in_plateau_mm(scale * shape), in_plateau_mm(shape), rtol=1e-6, atol=1e-6)


@given(st.integers(0, 10_000))
def test_points_come_back_through_the_inverse_of_a_homography(seed):
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.eye(3, dtype=torch.float64) + 0.2 * torch.rand(2, 3, 3, generator=generator).double()
    matrices[:, 2, :2] *= 0.01
    points = 40 * torch.rand(2, 16, 2, generator=generator).double()
    back = transform_points(torch.linalg.inv(matrices), transform_points(matrices, points))
    assert torch.allclose(back, points, atol=1e-6)
