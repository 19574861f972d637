from dataclasses import replace

import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.rois import DISPLACED_MM, PLATEAU_MM, cut_rois, displacements_mm, plateau_mm
from kneel_lib.errors import KneelError


@pytest.fixture
def misread(cohort):
    """The same pictures, by whose files a pixel is 1.4 times as large."""
    knees = cohort.knees.assign(mm_per_px=1.4 * cohort.knees["mm_per_px"])
    return replace(cohort, knees=knees, landmarks_mm=1.4 * cohort.landmarks_mm)


def test_a_roi_of_the_plateaus_scale_shows_every_plateau_as_wide(cohort):
    assert plateau_mm(cohort.landmarks_mm).std() > 0.3
    for spacing in (0.8, 1.6):
        rois = cut_rois(cohort, 64, spacing, scale="plateau", margin_px=4)
        assert plateau_mm(rois.landmarks_px) == pytest.approx(PLATEAU_MM / spacing, rel=1e-4)
        assert np.allclose(rois.landmarks_px[:, landmarks.CENTRE], (64 + 8 - 1) / 2, atol=1e-4)


def test_a_wrong_spacing_does_not_change_a_roi_of_the_plateaus_scale(cohort, misread):
    first, other = (cut_rois(one, 64, 1.6, scale="plateau", grey="normalised") for one in (cohort, misread))
    assert np.array_equal(first.images, other.images)
    assert np.allclose(first.landmarks_px, other.landmarks_px, atol=1e-3)
    assert np.allclose(1.4 * first.mm_per_px, other.mm_per_px)
    by_spacing = [cut_rois(one, 64, 1.6) for one in (cohort, misread)]
    assert not np.array_equal(by_spacing[0].images, by_spacing[1].images)


def test_landmarks_of_every_kind_of_roi_lie_where_the_picture_has_them(cohort):
    for centre in ("truth", "image", "displaced"):
        for scale in ("spacing", "plateau"):
            rois = cut_rois(cohort, 64, 1.6, centre, 4, scale, "normalised")
            back = rois.to_mm(rois.landmarks_px - rois.margin_px)
            assert np.allclose(back, cohort.landmarks_mm, atol=1e-3)
            for image, points in zip(rois.images, rois.landmarks_px):
                x, y = np.round(points).astype(int).T
                assert image[y, x].mean() > image.mean() + 60


def test_an_unknown_scale_or_kind_of_grey_values_is_refused(cohort):
    with pytest.raises(KneelError, match="unknown ROI scale 'inch': choose one of spacing, plateau"):
        cut_rois(cohort, 64, 1.6, scale="inch")
    with pytest.raises(KneelError, match="unknown kind of grey values 'red': choose one of file, normalised"):
        cut_rois(cohort, 64, 1.6, grey="red")


def test_fine_stripes_do_not_come_back_as_coarse_ones_in_a_roi_that_samples_down(cohort):
    """Stripes of one pixel, seen every 2.9 pixels: without a low-pass broad ones would be seen."""
    stripes = (200 * (np.arange(112) % 2) * np.ones((110, 1))).astype(np.uint8)
    few = replace(cohort.select(slice(0, 4)), images=(stripes,) * 4)
    assert cut_rois(few, 24, 0.88).images.std() > 40 and cut_rois(few, 24, 2.56).images.std() < 10


def test_a_displaced_roi_lies_up_to_ten_millimetres_off_in_every_direction(cohort):
    moved = displacements_mm(cohort.knees)
    lengths, angles = np.linalg.norm(moved, axis=1), np.arctan2(moved[:, 1], moved[:, 0])
    assert 7 < lengths.max() <= DISPLACED_MM and lengths.min() < 3
    assert len(set(np.floor(angles / (np.pi / 2)))) == 4
    truth, displaced = (cut_rois(cohort, 64, 1.6, centre) for centre in ("truth", "displaced"))
    off = (truth.landmarks_px - displaced.landmarks_px)[:, landmarks.CENTRE] * 1.6
    assert np.allclose(off, moved, atol=1e-3)


def test_a_knee_is_displaced_as_the_recorded_runs_have_it(cohort):
    """Another draw would make other runs of the same name."""
    recorded = [[4.6265, -2.4714], [-4.1841, 2.6359], [3.1869, -1.8793]]
    assert displacements_mm(cohort.knees)[:3] == pytest.approx(np.array(recorded), abs=1e-4)


def test_a_plateau_of_which_a_corner_is_unknown_counts_as_usual(cohort):
    points = cohort.landmarks_mm.copy()
    points[0, 8] = np.nan
    assert plateau_mm(points)[0] == PLATEAU_MM
    assert plateau_mm(points)[1:] == pytest.approx(np.linalg.norm(points[1:, 8] - points[1:, 0], axis=1))
