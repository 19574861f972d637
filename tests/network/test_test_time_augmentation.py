import numpy as np
import pytest
import torch

from kneel_lib.data.rois import cut_rois
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.rows import BEST
from kneel_lib.network import test_time_augmentation, training


@pytest.mark.parametrize("view", test_time_augmentation.VIEWS)
def test_what_a_look_finds_is_carried_back_to_where_it_lies(view):
    rows, columns = np.indices((96, 96))
    picture = (255 * np.exp(-((columns - 60.0) ** 2 + (rows - 33.0) ** 2) / 18)).astype(np.uint8)
    matrix = test_time_augmentation.view_matrix(*view, 96)
    weights = test_time_augmentation.seen(picture[None], matrix)[0].astype(float)
    found = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    assert np.linalg.norm(found - [60, 33]) > 0.2, "the look itself shows it elsewhere"
    assert test_time_augmentation.carried_back(found, matrix) == pytest.approx([60, 33], abs=0.1)


def test_looks_are_a_mean_of_many_answers(cohort):
    profile = PROFILES["smoke"]
    torch.manual_seed(0)
    network = training.make_network(BEST, profile)
    for margin in (0, 8):
        rois = cut_rois(cohort, profile.size_px, profile.spacing_mm, margin_px=margin)
        plain, several = training.predict(network, rois), test_time_augmentation.predict(network, rois)
        assert several.shape == plain.shape and 0 < np.abs(several - plain).max() < 8
