import numpy as np
import pytest

from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.imaging import vertex
from kneel_lib.simulation import population
from studies.registration import congealing, vote_truth
from studies.registration.congealing import Placement
from studies.registration.simulated_crops import cut_crops

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Simulated knees of all grades, cut at scales and places that nobody is told, two of them inverted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_CACHE", str(tmp_path_factory.mktemp("registration-cache")))
        return cut_crops(population.load_simulated(knees=40), seed=1)


@pytest.fixture(scope="module")
def registered(crops):
    """(placement, errors in mm (n, 16), median error after each round)."""
    said = []
    placement = congealing.register(
        crops.images,
        crops.offsets_mm,
        jobs=2,
        after_round=lambda number, placed, templates: said.append(
            float(np.median(congealing.disagreement_mm(crops.truth, placed, crops.offsets_mm)))
        ),
    )
    return placement, congealing.disagreement_mm(crops.truth, placement, crops.offsets_mm), said


def test_crops_of_known_place_and_scale_are_found(crops, registered):
    placement, errors, said = registered
    start = congealing.disagreement_mm(crops.truth, congealing.start(crops.images), crops.offsets_mm)
    assert len(said) == len(congealing.ROUNDS) and said[-1] < said[0]
    assert np.median(errors) < 0.5 and np.median(errors) < np.median(start) / 4
    lost = errors.mean(axis=1) > 3
    assert lost.mean() < 0.1 and (
        not lost.any() or placement.scores[lost].max() < np.median(placement.scores)
    ), "what went astray must show in its score"
    assert np.isfinite(placement.landmarks_px(crops.offsets_mm)).all()


def test_inverted_crops_are_told_from_their_gradients(crops, registered):
    assert crops.truth.inverted.any() and not crops.truth.inverted.all()
    assert (registered[0].inverted == crops.truth.inverted).all()


def test_scales_are_not_drawn_towards_their_mean(crops, registered):
    found = registered[1].mean(axis=1) < 3
    slope = np.polyfit(np.log(crops.truth.mm_per_px[found]), np.log(registered[0].mm_per_px[found]), 1)[0]
    assert 0.9 < slope < 1.1


def test_the_gauge_puts_landmarks_on_edges(crops):
    """From the truth, moved by a known common amount, the gauge finds the same place again."""
    truth = congealing.edge_gauge(crops.images, crops.offsets_mm, crops.truth)
    moved = congealing.regauge(crops.truth, 1.02, np.array([1.5, -2.0]))
    factor, shift = congealing.edge_gauge(crops.images, crops.offsets_mm, moved)
    assert 1.02 * factor == pytest.approx(truth[0], abs=0.01)
    assert shift + (1.5, -2.0) == pytest.approx(truth[1], abs=0.6)
    assert abs(truth[0] - 1) < 0.05 and np.abs(truth[1]).max() < 1.5


def test_makers_alone_make_the_averages(crops):
    """Rows that make no averages are moved by them all the same, and change nothing for the others."""
    half, rounds = np.arange(0, len(crops.images), 2), congealing.ROUNDS[:1]
    by_half = congealing.register(crops.images, crops.offsets_mm, rounds, makers=half)
    chosen = crops.select(half)
    alone = congealing.register(chosen.images, chosen.offsets_mm, rounds)
    ratio = by_half.mm_per_px[half] / alone.mm_per_px
    assert np.allclose(ratio, ratio[0]) and np.allclose(by_half.centres_px[half], alone.centres_px)
    assert len(by_half.mm_per_px) == len(crops.images)


def test_rounds_can_go_on_where_they_stopped(crops):
    said = []
    whole = congealing.register(
        crops.images,
        crops.offsets_mm,
        congealing.ROUNDS[5:7],
        after_round=lambda number, placed, templates: said.append(placed),
    )
    again = congealing.register(crops.images, crops.offsets_mm, congealing.ROUNDS[6:7], placement=said[0])
    assert np.array_equal(whole.mm_per_px, again.mm_per_px) and np.array_equal(
        whole.centres_px, again.centres_px
    )


def test_placements_that_differ_by_the_gauge_alone_agree(crops):
    truth, offsets = crops.truth, crops.offsets_mm
    moved = Placement(
        1.05 * truth.mm_per_px,
        truth.centres_px + (3, -2) / truth.mm_per_px[:, None],
        truth.scores,
        truth.inverted,
    )
    assert congealing.disagreement_mm(truth, moved, offsets).mean() < 1.0
    assert congealing.disagreement_mm(truth, truth, offsets).max() < 1e-9


def test_a_peak_between_grid_points_is_found():
    x = np.array([-1.0, 0.0, 1.0])
    assert vertex(5 - (x - 0.3) ** 2) == pytest.approx(0.3)
    assert vertex(np.zeros(3)) == 0.0


def test_a_vote_is_measured_against_the_known_truth(crops, registered):
    """What votes here is tiny and knows next to nothing: it is the bookkeeping that is tried."""
    placement = registered[0]
    found = vote_truth.truth_rows(crops, profile=PROFILES["smoke"], templates=placement).set_index(
        "placed_by"
    )
    apart = congealing.disagreement_mm(crops.truth, placement, crops.offsets_mm)
    assert found.loc["templates", "median_mm"] == pytest.approx(np.median(apart))
    voted = found.loc["network and forests, one vote"]
    assert voted["knees"] == len(crops.images) and np.isfinite(voted["median_mm"])
    assert voted["median_mm"] != found.loc["templates", "median_mm"]
    assert set(found["profile"]) == {"smoke"} and found["commit"].str.len().min() >= 7
