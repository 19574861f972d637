import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data import registration, simulated
from kneel_lib.data.rois import cut


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Simulated knees, cut at scales and places that nobody is told: (images, offsets in mm, true scales, true places of landmark 4)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_CACHE", str(tmp_path_factory.mktemp("registration-cache")))
        knees = simulated.load_simulated(knees=40)
    random = np.random.default_rng(0)
    scales = np.clip(random.normal(0.44, 0.02, len(knees)), 0.38, 0.50)
    images, centres = [], []
    for image, own, centre, scale in zip(knees.images, knees.mm_per_px, knees.landmarks_px[:, landmarks.CENTRE], scales):
        origin = centre + random.normal(0, 3, 2) / own - scale / own * 111.5
        images.append(cut(image, origin, scale / own, 224))
        centres.append((centre - origin) * own / scale)
    return images, knees.landmarks_mm - knees.landmarks_mm[:, [landmarks.CENTRE]], scales, np.array(centres)


def test_crops_of_known_place_and_scale_are_found(crops):
    images, offsets, scales, centres = crops
    said = []
    placement = registration.register(images, offsets, jobs=2, after_round=lambda number, placed, templates: said.append(
        float(np.median(registration.disagreement_mm((scales, centres), (placed.mm_per_px, placed.centres_px), offsets)))))
    errors = registration.disagreement_mm((scales, centres), (placement.mm_per_px, placement.centres_px), offsets)
    start = registration.disagreement_mm((scales, centres), (np.full(len(scales), 0.44), np.full((len(scales), 2), 111.5)), offsets)
    assert len(said) == len(registration.ROUNDS) and said[-1] < said[0]
    assert np.median(errors) < 0.4 and np.median(errors) < np.median(start) / 4
    lost = errors.mean(axis=1) > 3
    assert lost.mean() < 0.1 and (not lost.any() or placement.scores[lost].max() < np.median(placement.scores)), "what went astray must show in its score"


def test_placements_that_differ_by_the_gauge_alone_agree(crops):
    _, offsets, scales, centres = crops
    shifted = registration.disagreement_mm((scales, centres), (1.05 * scales, centres + (3, -2) / scales[:, None]), offsets)
    assert shifted.mean() < 1.0
    assert registration.disagreement_mm((scales, centres), (scales, centres), offsets).max() < 1e-9


def test_a_peak_between_grid_points_is_found():
    x = np.array([-1.0, 0.0, 1.0])
    assert registration.vertex(5 - (x - 0.3) ** 2) == pytest.approx(0.3)
    assert registration.vertex(np.zeros(3)) == 0.0
