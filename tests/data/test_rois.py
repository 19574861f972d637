from dataclasses import replace

import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.rois import PLATEAU_MM, cut_rois, plateau_mm
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
