"""The registration's last step on placements that are known."""

import numpy as np
import pandas as pd
import pytest

from kneel_lib import landmarks
from kneel_lib.errors import KneelError
from studies.registration import judges, vote
from studies.registration.congealing import Placement, disagreement_mm
from studies.registration.simulated_crops import Crops


@pytest.fixture(scope="module")
def crops():
    random = np.random.default_rng(0)
    count = 40
    shape = random.normal(0, 25, (landmarks.COUNT, 2))
    shape -= shape[landmarks.CENTRE]
    offsets = shape + random.normal(0, 2, (count, landmarks.COUNT, 2))
    offsets -= offsets[:, [landmarks.CENTRE]]
    truth = Placement(
        random.normal(0.44, 0.03, count),
        random.normal(112, 5, (count, 2)),
        np.ones(count),
        np.zeros(count, bool),
    )
    knees = pd.DataFrame({"subject_id": range(count), "side": "R", "kl": 0, "split": "train"})
    return Crops("drawn", knees, (), offsets, truth)


def systems(crops, noise_px=0.8, seed=1):
    """Two systems' points: the truth, noise of their own, and a gross error of a landmark a knee."""
    random = np.random.default_rng(seed)
    points = crops.truth.landmarks_px(crops.offsets_mm)
    said = points + random.normal(0, noise_px, (2, *points.shape))
    said[:, np.arange(len(points)), random.integers(16, size=len(points))] += 30
    return said


def off(crops, scale=0.02, shift_px=1.0):
    """A placement that lies about as far off the truth as the templates' does."""
    random = np.random.default_rng(2)
    count = len(crops.truth.mm_per_px)
    return Placement(
        crops.truth.mm_per_px * random.normal(1, scale, count),
        crops.truth.centres_px + random.normal(0, shift_px, (count, 2)),
        crops.truth.scores,
        crops.truth.inverted,
    )


def test_votes_bring_knees_nearer_to_the_truth_than_the_placement_before(crops):
    before = off(crops)
    placed, _ = vote.vote(systems(crops), crops, before)
    was, now = (disagreement_mm(crops.truth, p, crops.offsets_mm).mean() for p in (before, placed))
    assert was > 0.4 and now < was / 2
    scale_error = np.std(placed.mm_per_px / crops.truth.mm_per_px)
    assert scale_error < np.std(before.mm_per_px / crops.truth.mm_per_px) / 2


def test_a_vote_keeps_the_common_scale_and_shift_of_the_placement_before(crops):
    said = systems(crops, noise_px=0.1)
    said = 112 + 1.05 * (said - 112) + 3.0  # systems that enlarge and shift every knee alike
    placed, _ = vote.vote(said, crops, crops.truth)
    assert np.median(placed.mm_per_px / crops.truth.mm_per_px) == pytest.approx(1, abs=2e-3)
    assert np.abs(np.median(placed.centres_px - crops.truth.centres_px, axis=0)).max() < 0.2


def test_check_mm_is_how_far_apart_the_two_voters_alone_would_put_a_knee(crops):
    said = systems(crops, noise_px=0.1)
    said[0, 7] += [5.0, 0.0]
    _, check_mm = vote.vote(said, crops, crops.truth)
    assert check_mm.argmax() == 7 and check_mm[7] == pytest.approx(5 * crops.truth.mm_per_px[7], rel=0.1)


def test_one_gross_error_in_sixteen_points_hardly_moves_a_knee(crops):
    points = crops.truth.landmarks_px(crops.offsets_mm)
    points[:, 3] += 40
    placed = vote.fit_votes(points, crops.offsets_mm, crops.truth.inverted)
    assert vote.judged(placed.landmarks_px(crops.offsets_mm), crops.truth, crops).mean() < 0.2


def test_a_voter_without_five_finished_folds_is_named(crops):
    class Known:
        name, fingerprint = "crops_templates", ""

    with pytest.raises(KneelError, match="0 of 5 folds of best .study. are recorded on crops_templates"):
        vote.votes_of([], Known(), "best", "study")


def test_who_has_voted_is_no_judge():
    assert judges.has_voted("crops_templates", "rfrv_clm", "native", "crops_voted")
    assert judges.has_voted("crops_templates", "rfrv_clm", "native", "crops")
    assert judges.has_voted("crops_voted", "best", "native", "crops")
    assert not judges.has_voted("crops_voted", "best", "native", "crops_voted")
    assert not judges.has_voted("crops", "clm_igo", "native", "crops")
