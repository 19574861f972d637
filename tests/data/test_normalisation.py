import numpy as np
import pytest

from kneel_lib.data import normalisation
from kneel_lib.data.normalisation import normalise, normalised_cut, sample

ROWS, COLUMNS = np.mgrid[:140, :160].astype(np.float32)
NOISE = np.random.default_rng(0).normal(0, 4, ROWS.shape)
PICTURE = (90 + 60 * np.sin(ROWS / 17) * np.cos(COLUMNS / 23) + 0.3 * COLUMNS + NOISE).astype(np.float32)


def whole(picture, **changes):
    return normalised_cut(picture, np.array([20.0, 10.0]), 1.0, 110, **changes).astype(int)


def test_window_and_level_of_a_display_change_nothing():
    for gain, offset in ((0.1, 7.0), (3.7, -400.0), (1000.0, 1e5)):
        assert np.abs(whole(gain * PICTURE + offset) - whole(PICTURE)).max() <= 1


def test_an_inverted_picture_that_is_turned_round_is_the_picture():
    square, inside = sample(4095 - PICTURE, None, np.array([20.0, 10.0]), 1.0, 110)
    assert np.abs(normalise(-square, inside).astype(int) - whole(PICTURE)).max() <= 1


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_displays_curve_hardly_changes_the_mean(gamma):
    least, greatest = PICTURE.min(), PICTURE.max()
    curved = ((PICTURE - least) / (greatest - least)) ** gamma
    assert abs(curved.mean() - ((PICTURE - least) / (greatest - least)).mean()) * 255 > 30
    assert abs(whole(curved).mean() - whole(PICTURE).mean()) < 12


def test_half_of_the_pixels_are_darker_than_the_middle():
    assert np.median(whole(PICTURE)) == pytest.approx(127.5, abs=2)


def test_what_lies_outside_changes_nothing_inside():
    """Neither what is beyond the picture's edge nor what its padding holds."""
    inside = np.zeros(PICTURE.shape, bool)
    inside[:, 60:] = True
    squares = []
    for padding in (0.0, 5000.0):
        padded = np.where(inside, PICTURE, padding).astype(np.float32)
        squares.append(normalised_cut(padded, np.array([20.0, 10.0]), 1.0, 110, inside=inside))
    assert np.array_equal(*squares) and not squares[0][:, :39].any() and squares[0][:, 41:].mean() > 90
    cropped = normalised_cut(PICTURE[:, 60:], np.array([-40.0, 10.0]), 1.0, 110)
    assert np.array_equal(cropped[:, 41:], squares[0][:, 41:])


def test_the_margin_of_a_roi_does_not_count():
    bright = PICTURE.copy()
    bright[:20] += 3000
    with_margin, without = (whole(picture, margin_px=12)[12:-12] for picture in (bright, PICTURE))
    assert np.array_equal(with_margin, without) and not np.array_equal(whole(bright), whole(PICTURE))


def test_a_flat_picture_and_one_that_is_missed_become_black():
    assert not normalised_cut(np.full((90, 90), 77.0, np.float32), np.zeros(2), 1.0, 64).any()
    for origin in ([500.0, 10.0], [10.0, -900.0]):
        assert not normalised_cut(PICTURE, np.array(origin), 1.0, 64).any()


@pytest.mark.parametrize("step", [0.6, 1.0, 1.7, 3.3])
def test_sampling_a_part_is_sampling_the_whole(step):
    """Pixels far away from what is asked for are never touched."""
    origin, side = np.array([70.3, 61.8]), 12
    reach = int(np.ceil(step * side + 3 * step + 4))
    far = (np.abs(ROWS - origin[1]) > reach) | (np.abs(COLUMNS - origin[0]) > reach)
    assert far.sum() > 500
    (part, inside), (other, _) = (
        sample(np.where(far, value, PICTURE).astype(np.float32), None, origin, step, side)
        for value in (0, 9000)
    )
    assert np.array_equal(part, other) and inside.all()
    larger, _ = sample(PICTURE, None, origin - 8 * step, step, side + 14)
    assert np.allclose(larger[8 : 8 + side, 8 : 8 + side], part, atol=0.5)


def test_sampling_down_does_not_let_fine_stripes_through():
    stripes = (200 * (COLUMNS % 2)).astype(np.float32)
    assert sample(stripes, None, np.array([20.0, 10.0]), 4.0, 24)[0].std() < 10


@pytest.mark.parametrize("step_px", [40.0, 61.3, 100.0])
def test_a_large_picture_that_is_averaged_first_gives_the_same_values(step_px, monkeypatch):
    random = np.random.default_rng(0)
    image = random.normal(size=(3000, 2500)).astype(np.float32).cumsum(axis=0).cumsum(axis=1)
    image *= 255 / np.ptp(image)
    given = image, None, np.array([-100.0, 30.0]), step_px, 32
    fast, inside = normalisation.sample(*given)
    monkeypatch.setattr(normalisation, "LONG_STEP", np.inf)
    exact, _ = normalisation.sample(*given)
    assert np.abs(fast - exact)[inside].max() < 1.5 and np.ptp(exact[inside]) > 50
