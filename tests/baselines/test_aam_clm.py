import subprocess
import sys

import numpy as np
import pytest

from kneel_lib.baselines import aam_clm
from kneel_lib.data.folds import make_folds
from kneel_lib.data.rois import cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.metrics import landmark_errors

pytestmark = pytest.mark.trains

SIZE_PX, SPACING_MM = 64, 1.6


def split_rois(cohort, train=None, held_out=None):
    """ROIs of fold 0's training and held-out knees, at most so many of each."""
    rows = make_folds(cohort)[0]
    return [
        cut_rois(cohort.select(part[:count]), SIZE_PX, SPACING_MM)
        for part, count in zip(rows, (train, held_out))
    ]


@pytest.fixture(scope="module")
def drawn(cohort):
    return split_rois(cohort)


@pytest.fixture(scope="module")
def clm(drawn):
    return aam_clm.train("clm", "igo", drawn[0].images, drawn[0].landmarks_px)


@pytest.fixture(scope="module")
def aam(drawn):
    return aam_clm.train("aam", "igo", drawn[0].images, drawn[0].landmarks_px)


@pytest.fixture(scope="module", params=["aam", "clm"])
def model(request):
    return request.getfixturevalue(request.param)


def moved(predicted, start):
    """Which knees do not lie at their start, as those do whose fit failed."""
    same = (predicted == start) | np.isnan(predicted)
    return ~same.all(axis=(1, 2))


def error_mm(predicted, rois):
    return landmark_errors(predicted, rois.landmarks_px).mean() * SPACING_MM


def test_the_clm_beats_the_mean_shape_on_held_out_drawn_knees(clm, drawn):
    predicted = aam_clm.fit(clm, drawn[1].images, clm.mean_px)
    assert predicted.shape == drawn[1].landmarks_px.shape and all(moved(predicted, clm.mean_px))
    assert error_mm(predicted, drawn[1]) < 0.9 * error_mm(clm.mean_px[None], drawn[1])


@pytest.mark.parametrize("kind", aam_clm.KINDS)
def test_both_models_beat_the_mean_shape_on_held_out_real_knees(crops, kind):
    known, held_out = split_rois(crops, 40, 20)
    model = aam_clm.train(kind, "igo", known.images, known.landmarks_px)
    predicted = aam_clm.fit(model, held_out.images, model.mean_px)
    assert error_mm(predicted, held_out) < 0.9 * error_mm(model.mean_px[None], held_out)


@pytest.mark.parametrize("kind", aam_clm.KINDS)
def test_both_models_train_and_fit_on_local_binary_patterns(drawn, kind):
    model = aam_clm.train(kind, "lbp", drawn[0].images[:8], drawn[0].landmarks_px[:8])
    predicted = aam_clm.fit(model, drawn[1].images[:2], model.mean_px)
    assert np.isfinite(predicted).all() and all(moved(predicted, model.mean_px))


def test_local_binary_patterns_are_codes_of_four_radii():
    image = np.random.default_rng(0).random((1, 20, 24))
    codes = aam_clm.local_binary_patterns(image)
    assert codes.shape == (4, 20, 24) and set(np.unique(codes)) <= set(range(10))
    assert (aam_clm.local_binary_patterns(np.full((1, 20, 24), 0.4))[:, 5:-5, 5:-5] == 8).all()
    turned = aam_clm.local_binary_patterns(np.rot90(image, axes=(1, 2)))
    assert (turned[0, 1:-1, 1:-1] == np.rot90(codes[0])[1:-1, 1:-1]).mean() > 0.99


def test_the_last_step_is_the_fit_and_the_first_is_the_start(model, drawn):
    predicted = aam_clm.fit(model, drawn[1].images[:3], model.mean_px)
    for image, points in zip(drawn[1].images, predicted):
        steps = aam_clm.fit_steps(model, image, model.mean_px)
        assert (steps[0] == model.mean_px).all() and (steps[-1] == points).all()
        assert 3 <= len(steps) <= aam_clm.ITERATIONS + 1


def test_a_fit_depends_on_its_own_picture_and_start_only(model, drawn):
    images = drawn[1].images[:3]
    starts = model.mean_px + np.array([0.0, 1.0, -1.0])[:, None, None]
    together = aam_clm.fit(model, images, starts)
    alone = [aam_clm.fit(model, images[row : row + 1], starts[row])[0] for row in (2, 0, 1)]
    assert np.array_equal(together[[2, 0, 1]], alone)


@pytest.mark.parametrize("axis, shift", [(0, (3, 0)), (1, (0, 3))])
def test_x_comes_before_y(model, drawn, axis, shift):
    image = drawn[1].images[:1]
    moved = np.roll(image, 3, axis=2 - axis)
    points = aam_clm.fit(model, image, model.mean_px)[0]
    shifted = aam_clm.fit(model, moved, model.mean_px + shift)[0]
    assert np.allclose(shifted - points, shift, atol=0.25)
    assert np.ptp(points[:, 0]) > 3 * np.ptp(points[:, 1])


def test_knees_with_missing_landmarks_are_left_out_of_training(aam, drawn):
    rois = drawn[0]
    points = np.concatenate([rois.landmarks_px, rois.landmarks_px[:2]])
    points[-2, 3], points[-1, :, 1] = np.nan, np.nan
    other = aam_clm.train("aam", "igo", np.concatenate([rois.images, rois.images[:2]]), points)
    assert other.knees == aam.knees == len(rois.images) and np.allclose(other.mean_px, aam.mean_px)
    image = drawn[1].images[:1]
    assert np.allclose(aam_clm.fit(other, image, aam.mean_px), aam_clm.fit(aam, image, aam.mean_px))


def test_a_fit_that_cannot_succeed_gives_back_its_start(model, drawn):
    images = drawn[1].images[[0, 0, 0, 0, 1]]
    starts = np.stack(
        [
            model.mean_px + 1000,
            model.mean_px * np.nan,
            np.full((16, 2), 20.0),
            model.mean_px * 1e5,
            model.mean_px,
        ]
    )
    predicted = aam_clm.fit(model, images, starts)
    assert moved(predicted, starts).tolist() == [False] * 4 + [True]
    assert np.array_equal(predicted[:4], starts[:4], equal_nan=True) and np.isfinite(predicted[4]).all()


def test_a_black_picture_gives_numbers(model):
    assert np.isfinite(aam_clm.fit(model, np.zeros((1, SIZE_PX, SIZE_PX), np.uint8), model.mean_px)).all()


def test_wrong_names_and_forms_are_one_clear_error(aam, clm, drawn):
    images, points = drawn[0].images, drawn[0].landmarks_px
    with pytest.raises(KneelError, match="unknown kind of model 'asm': choose one of aam, clm"):
        aam_clm.train("asm", "igo", images, points)
    with pytest.raises(KneelError, match="unknown features 'hog': choose one of igo, lbp"):
        aam_clm.train("clm", "hog", images, points)
    with pytest.raises(KneelError, match="points must be"):
        aam_clm.train("clm", "igo", images, points[:3])
    with pytest.raises(KneelError, match="images must be"):
        aam_clm.fit(clm, images / 255, clm.mean_px)
    with pytest.raises(KneelError, match="only 2 of 9 knees have all 16"):
        aam_clm.train("clm", "igo", images[:9], np.where(np.arange(9)[:, None, None] < 2, points[:9], np.nan))
    with pytest.raises(KneelError, match="kind of model with experts 'aam'"):
        aam_clm.responses(aam, images[0], aam.mean_px)
    with pytest.raises(KneelError, match="kind of model with an appearance 'clm'"):
        aam_clm.appearance_image(clm)


def test_shape_modes_find_the_direction_in_which_shapes_were_varied(drawn):
    random = np.random.default_rng(1)
    along = np.zeros((16, 2))
    along[9:, 1] = [0, 1, 2, 3, 2, 1, 0]
    mean = drawn[0].landmarks_px.mean(axis=0)
    amounts = random.normal(0, 1, (15, 1, 1))
    points = mean + amounts / amounts.std(ddof=1) * along + random.normal(0, 0.02, (15, 16, 2))
    model = aam_clm.train("aam", "grey", drawn[0].images[:15], points)
    displacements, shares = aam_clm.shape_modes(model)
    assert displacements.shape == (len(shares), 16, 2) and shares[0] > 0.9
    moved = displacements[0] * np.sign(displacements[0, 12, 1])
    assert np.allclose(moved[12, 1] - moved[3, 1], 3, rtol=0.1) and np.abs(moved[:, 0]).max() < 0.5


def test_the_appearance_is_a_mean_and_its_modes(aam):
    mean = aam_clm.appearance_image(aam)
    plus, minus = (aam_clm.appearance_image(aam, 1, deviations) for deviations in (2, -2))
    assert mean.ndim == 3 and len(mean) == 4 and np.isnan(mean).any() and np.isfinite(mean).any()
    assert np.allclose((plus + minus) / 2, mean, equal_nan=True) and np.nanmax(np.abs(plus - mean)) > 0.05


def test_the_experts_see_where_their_landmarks_lie(clm, drawn):
    image, truth = drawn[0].images[0], drawn[0].landmarks_px[0]
    maps, cell_px = aam_clm.responses(clm, image, truth + (2, -1))
    assert maps.shape == (16, aam_clm.PATCH_PX, aam_clm.PATCH_PX) and np.allclose(maps.sum(axis=(1, 2)), 1)
    offsets = (np.arange(aam_clm.PATCH_PX) - aam_clm.PATCH_PX // 2) * cell_px
    peaks = np.array([np.unravel_index(one.argmax(), one.shape) for one in maps])
    found = np.stack([offsets[peaks[:, 1]], offsets[peaks[:, 0]]], axis=1)
    assert np.allclose(np.median(found, axis=0), (-2, 1), atol=0.6)
    assert aam_clm.responses(clm, image, truth, 0)[1] == pytest.approx(2 * cell_px, rel=0.05)


NAMES = """
from kneel_lib.baselines import aam_clm
import numpy as np, scipy.integrate
kept = np.alltrue
aam_clm.put_back()
assert np.alltrue is kept and np.Inf == np.inf and np.complex is complex and np.lib.pad is np.pad
assert np.in1d([[1, 2], [3, 4]], [2, 3]).tolist() == [False, True, True, False]
assert np.issubclass_(np.float64, np.floating) and not np.issubclass_("no class", np.floating)
assert scipy.integrate.simps([0, 1, 4], x=[0, 1, 2]) > 2.6
import menpo.feature, menpofit.aam, menpofit.clm, menpofit.error
"""


def test_menpo_imports_in_a_fresh_interpreter_after_the_names_are_put_back():
    process = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
