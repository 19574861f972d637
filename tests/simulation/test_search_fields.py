import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.rois import plateau_mm
from kneel_lib.simulation import search_fields
from kneel_lib.simulation.search_fields import REAL_TIMES, SIDE_PX, SIMULATED_TIMES


@pytest.fixture(scope="module")
def halves(cohort):
    """Drawn knees in the place of simulated legs; every second one as a left knee."""
    mirrored = [number for number in range(8) if number % 2]
    chosen = cohort.select(slice(0, 8))
    images, points = list(chosen.images), chosen.landmarks_mm.copy()
    for number in mirrored:
        images[number] = np.ascontiguousarray(images[number][:, ::-1])
        points[number] = landmarks.mirrored(points[number], (images[number].shape[1] - 1) * 0.88)
    table = chosen.knees.assign(split="test")
    return type(cohort)("drawn_halves", table, tuple(images), points, 0.9)


@pytest.fixture(scope="module")
def crops_like(cohort):
    chosen = cohort.select(slice(8, 16))
    split = np.where(np.arange(8) < 4, "train", "val")
    return type(cohort)("crops", chosen.knees.assign(split=split), chosen.images, chosen.landmarks_mm, 0.9)


@pytest.fixture(scope="module")
def fields(halves, crops_like):
    return search_fields.search_fields(halves, crops_like)


def test_landmarks_lie_on_their_pixels_in_either_polarity(fields):
    """The drawn landmarks are the brightest dots, of an inverted picture the darkest, unless the knee is
    so small that they melt."""
    inverted = 0
    for image, points in zip(fields.images, fields.landmarks_px):
        x, y = np.round(points).astype(int).T
        away = image[y, x].mean() - np.median(image[image > 0])
        inverted += away < 0
        if plateau_mm(points) > 50:
            assert abs(away) > 40
    assert 0 < inverted < len(fields) / 2


def test_a_plateau_lies_in_its_picture_wherever_and_however_large(fields):
    points, widths = fields.landmarks_px, plateau_mm(fields.landmarks_px)
    plateau = points[:, list(landmarks.TIBIA)]
    assert (plateau > 0).all() and (plateau < SIDE_PX - 1).all()
    assert widths.max() > 2 * widths.min() and points[:, landmarks.CENTRE].std(axis=0).min() > 10
    assert all(image.shape == (SIDE_PX, SIDE_PX) and image.dtype == np.uint8 for image in fields.images)


def test_millimetres_are_those_of_the_knee(fields, halves, crops_like):
    real = np.repeat(plateau_mm(crops_like.landmarks_mm), REAL_TIMES)
    simulated = np.repeat(plateau_mm(halves.landmarks_mm), SIMULATED_TIMES)
    assert plateau_mm(fields.landmarks_mm) == pytest.approx(np.concatenate([real, simulated]))


def test_the_pictures_are_the_same_every_time(fields, halves, crops_like):
    again = search_fields.search_fields(halves, crops_like)
    assert again.fingerprint == fields.fingerprint
    variants = [
        image for image, row in zip(fields.images, fields.knees.itertuples()) if row.subject_id == 9000008
    ]
    assert len(variants) == 2 * REAL_TIMES and not np.array_equal(variants[0], variants[1])


def test_simulated_knees_are_for_training_and_real_ones_keep_their_split(fields, crops_like):
    real, simulated = fields.knees[: 8 * REAL_TIMES], fields.knees[8 * REAL_TIMES :]
    assert set(simulated["split"]) == {"train"} and len(simulated) == 8 * SIMULATED_TIMES
    assert real["split"].tolist() == np.repeat(crops_like.knees["split"], REAL_TIMES).tolist()


def test_all_knees_look_like_right_ones(fields):
    points = fields.landmarks_px
    assert (points[:, landmarks.TIBIA[-1], 0] > points[:, 0, 0]).all()


def test_without_real_knees_there_are_the_simulated_ones_alone(halves):
    alone = search_fields.search_fields(halves)
    assert len(alone) == len(halves) and alone.name == search_fields.NAME
