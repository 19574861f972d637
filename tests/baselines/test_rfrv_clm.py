from dataclasses import replace

import cv2
import numpy as np
import pytest

from kneel_lib import imaging, landmarks
from kneel_lib.baselines import regression_trees, rfrv_clm, shape_search
from kneel_lib.errors import KneelError
from kneel_lib.simulation import shape_model

SIZE, SPACING = 64, 1.6


def draw_knees(count, seed, off_mm=0.0):
    """(images, landmarks) of two bright bones with shapes of real knees; landmark 4 lies `off_mm` from the
    middle, anywhere around."""
    random = np.random.default_rng(seed)
    shapes = np.concatenate([shape_model.load()[kl].sample(random, -(-count // 5)) for kl in range(5)])[
        :count
    ]
    angles = random.uniform(0, 2 * np.pi, count)
    shapes = shapes + off_mm * np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    points = shapes / SPACING + (SIZE - 1) / 2
    images = []
    for knee in points:
        image = np.full((SIZE, SIZE), 60, np.uint8)
        for bone, far in ((landmarks.TIBIA, 40), (landmarks.FEMUR, -40)):
            ends = knee[[bone[-1], bone[0]]] + [[-6, far], [6, far]]
            cv2.fillPoly(
                image,
                [np.rint(16 * np.concatenate([knee[list(bone)], ends])).astype(np.int32)],
                150,
                cv2.LINE_AA,
                4,
            )
        images.append(np.clip(image + random.normal(0, 5, image.shape), 1, 255).astype(np.uint8))
    return np.stack(images), points


@pytest.fixture(scope="module")
def knees():
    return draw_knees(50, 0)


@pytest.fixture(scope="module")
def model(knees):
    return rfrv_clm.train(*knees, SPACING, rfrv_clm.TINY, seed=1, jobs=2)


def errors_mm(found, truth):
    return np.linalg.norm(found - truth, axis=2) * SPACING


def test_features_from_integral_images_are_differences_of_direct_means():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (60, 70), dtype=np.uint8)
    sums, half = regression_trees.integral(image), 9
    for _ in range(300):
        boxes = np.zeros(8, np.int64)
        regression_trees.draw_boxes(half, boxes)
        first, second = boxes[:4], boxes[4:]
        assert boxes.min() >= -half and boxes.max() <= half + 1
        row, column = random.integers(half, 60 - half), random.integers(half, 70 - half)
        means = [
            image[row + top : row + bottom, column + left : column + right].mean()
            for top, left, bottom, right in (first, second)
        ]
        assert regression_trees.feature_value(sums, row, column, boxes) == pytest.approx(means[0] - means[1])


def test_even_contrast_takes_out_gain_and_offset_and_leaves_the_black_surroundings_flat(knees):
    image = knees[0][0].copy()
    image[:, :10] = 0
    brighter = np.where(image > 0, image * 1.3 + 20, 0).astype(np.uint8)
    even, other = (rfrv_clm.even_contrast(one, 5.0).astype(float) for one in (image, brighter))
    assert np.abs(even - other)[:, 10:].mean() < 4 < np.abs(image.astype(float) - brighter)[:, 10:].mean()
    assert (even[:, :10] == 128).all() and even[:, 10:].std() > 10


def test_votes_peak_where_the_dot_is():
    """Trees that saw a dot from patches all around it find it in new pictures to about half a pixel."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:81, :81]

    def dot(x, y):
        return (
            40 + 180 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) + random.uniform(0, 10, rows.shape)
        ).astype(np.uint8)

    stage = rfrv_clm.Stage(
        pixel_mm=1.0, patch_mm=8.0, radius_mm=6.0, search_mm=4.0, step_mm=1.0, smooth_mm=1.0
    )
    places = 40 + random.uniform(-3, 3, (60, 2))
    options = replace(rfrv_clm.TINY, trees=8, samples=30)
    trees = rfrv_clm.grow_landmark([dot(*place) for place in places], places, options, stage, [0])
    forest = regression_trees.join([trees])
    for place in 40 + random.uniform(-3, 3, (10, 2)):
        responses, corners = rfrv_clm.respond(
            forest, stage, regression_trees.integral(dot(*place)), np.full((1, 2), 40.0)
        )
        found, heights = imaging.peaks(responses, corners)
        assert np.abs(found[0] - place).max() < 0.6
        assert heights[0] > 20 * np.median(responses)


def test_aligning_finds_the_pose():
    mean = shape_model.load()[0].mean
    pose = shape_search.make_pose(1.3, 0.2, (5, -7))
    found = shape_search.align(mean, pose.apply(mean))
    assert (
        np.allclose(found.matrix, pose.matrix)
        and np.allclose(found.shift, pose.shift)
        and found.scale == pytest.approx(1.3)
    )
    assert np.allclose(found.undo(found.apply(mean)), mean)


def test_the_shape_fit_follows_good_votes_and_mends_a_wild_one():
    shapes = np.concatenate([shape_model.load()[kl].sample(np.random.default_rng(kl), 40) for kl in range(5)])
    points = shape_search.learn_points(shapes, 0.98)
    truth = shape_search.align(points.mean, shapes[3]).undo(shapes[3])
    covariance = 0.3**2 * np.eye(32)
    assert np.abs(shape_search.fit_shape(points, truth, covariance) - truth).max() < 0.3
    wild = truth.copy()
    wild[0] += 12
    found = shape_search.fit_shape(points, wild, covariance)
    assert np.linalg.norm(found[0] - truth[0]) < 0.5 * np.linalg.norm(wild[0] - truth[0])
    assert np.linalg.norm(found[1:] - truth[1:], axis=1).mean() < 1


@pytest.mark.trains
def test_fit_beats_the_mean_shape_by_far_from_an_off_centre_roi(knees, model):
    images, truth = draw_knees(20, 7, off_mm=6.0)
    mean = np.repeat(knees[1].mean(axis=0)[None], len(truth), axis=0)
    found = rfrv_clm.fit(model, images)
    assert found.shape == (20, 16, 2) and np.isfinite(found).all()
    assert errors_mm(found, truth).mean() < 0.4 * errors_mm(mean, truth).mean()


def test_steps_show_the_search_from_coarse_to_fine(model):
    images, truth = draw_knees(3, 9, off_mm=5.0)
    steps = rfrv_clm.fit_steps(model, images[2])
    assert [step.stage for step in steps] == [0, 0, 1]
    assert np.array_equal(steps[-1].shape, rfrv_clm.fit(model, images)[2])
    response = steps[-1].response_on_roi(4, SIZE)
    y, x = np.unravel_index(response.argmax(), response.shape)
    assert response.shape == (SIZE, SIZE) and np.linalg.norm(np.array([x, y]) - steps[-1].voted[4]) < 1.6
    assert all(step.responses.shape[0] == landmarks.COUNT and step.score > 0 for step in steps)


@pytest.mark.trains
def test_a_seed_gives_the_same_forests_whatever_the_jobs(knees, model):
    again = rfrv_clm.train(*knees, SPACING, rfrv_clm.TINY, seed=1, jobs=1)
    other = rfrv_clm.train(*knees, SPACING, rfrv_clm.TINY, seed=2, jobs=1)
    found, same, differs = (rfrv_clm.fit(one, knees[0][:4]) for one in (model, again, other))
    assert np.array_equal(found, same) and not np.array_equal(found, differs)


def test_saved_forests_find_the_same(knees, model, tmp_path):
    rfrv_clm.save(model, tmp_path / "forests.npz")
    loaded = rfrv_clm.load(tmp_path / "forests.npz")
    assert loaded.options == model.options
    assert np.array_equal(rfrv_clm.fit(loaded, knees[0][:4]), rfrv_clm.fit(model, knees[0][:4]))
    (tmp_path / "forests.npz").write_bytes((tmp_path / "forests.npz").read_bytes()[:2000])
    with pytest.raises(KneelError, match="holds no forests"):
        rfrv_clm.load(tmp_path / "forests.npz")


@pytest.mark.trains
def test_knees_with_missing_landmarks_are_left_out(knees):
    images, points = knees[0][:20], knees[1][:20]
    holes = np.concatenate([points, points[:2]])
    holes[20, 3], holes[21, 0, 0] = np.nan, np.nan
    small = replace(rfrv_clm.TINY, stages=rfrv_clm.TINY.stages[:1])
    with_holes = rfrv_clm.train(np.concatenate([images, images[:2]]), holes, SPACING, small)
    without = rfrv_clm.train(images, points, SPACING, small)
    assert np.array_equal(rfrv_clm.fit(with_holes, images[:3]), rfrv_clm.fit(without, images[:3]))


@pytest.mark.parametrize("grey", [0, 255])
def test_a_picture_without_content_gets_a_shape(model, grey):
    found = rfrv_clm.fit(model, np.full((2, SIZE, SIZE), grey, np.uint8))
    assert np.isfinite(found).all()
    assert rfrv_clm.fit(model, np.empty((0, SIZE, SIZE), np.uint8)).shape == (0, 16, 2)


def test_bad_arguments_are_one_sentence(knees, model):
    images, points = knees
    tiny = rfrv_clm.TINY
    no_pixel = replace(tiny, stages=(replace(tiny.stages[0], pixel_mm=0.0),))
    for arguments, text in (
        ((images.astype(float), points, SPACING), "one uint8 array"),
        ((images, points[:, :5], SPACING), "points_px must be"),
        ((images, points, -1.0), "mm_per_px must be"),
        ((images[:3], points[:3], SPACING), "needs 8 or more knees"),
        ((images, points, SPACING, replace(tiny, trees=1)), "4 or more trees"),
        ((images, points, SPACING, replace(tiny, contrast_mm=0.0)), "contrast_mm above 0"),
        ((images, points, SPACING, no_pixel), "above 0"),
    ):
        with pytest.raises(KneelError, match=text):
            rfrv_clm.train(*arguments)
    with pytest.raises(KneelError, match="ROIs of 64 pixels, not 32"):
        rfrv_clm.fit(model, images[:, :32, :32])
