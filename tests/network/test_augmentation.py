from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kneel_lib.network.augmentation import TEXTURES, Draw, augment, cluttered, cut_out, jitter, sharpened
from kneel_lib.network.ranges import ANYWHERE, MILD, NONE, RELEASED, STRANGERS
from studies.speed.solt_augmentation import augment_one, reference_stream, seed_reference

SOURCE, SIZE = 240, 192
POINTS = np.array([[100, 122], [140, 110], [121, 150]], float)
RANGES = {
    "mild": replace(MILD, texture_p=0, gamma_p=0, gain=0.0),
    "released": replace(RELEASED, texture_p=0, gamma_p=0),
    "anywhere": replace(ANYWHERE, texture_p=0, gamma_p=0, gain=0.0, sharpen_p=0, clutter_p=0),
}


@pytest.fixture
def dots():
    """A picture with a soft dot on each point."""
    rows, columns = np.mgrid[:SOURCE, :SOURCE]
    spots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18) for x, y in POINTS]
    return (250 * np.max(spots, axis=0)).astype(np.uint8)


def distances_to_dots(image, points):
    """How far the bright dots in `image` lie from `points` (pixels), for points well inside."""
    for x, y in points:
        column, row = round(float(x)), round(float(y))
        if min(column, row) >= 14 and max(column, row) <= SIZE - 15:
            window = image[row - 6 : row + 7, column - 6 : column + 7].astype(float)
            assert window.max() > 100, "no dot where a point is"
            rows, columns = np.mgrid[row - 6 : row + 7, column - 6 : column + 7]
            yield np.hypot(
                (window * columns).sum() / window.sum() - x, (window * rows).sum() / window.sum() - y
            )


@pytest.mark.parametrize("ranges", RANGES)
def test_points_follow_pixels_in_the_batched_version(dots, ranges):
    batch = torch.from_numpy(np.repeat(dots[None], 64, axis=0))
    images, points = augment(
        batch,
        torch.tensor(POINTS).float().repeat(64, 1, 1),
        SIZE,
        RANGES[ranges],
        torch.Generator().manual_seed(0),
    )
    found = [
        d
        for image, moved in zip(images[:, 0].numpy() * 255, points.numpy())
        for d in distances_to_dots(image, moved)
    ]
    assert len(found) > 90
    assert np.median(found) < 0.15 and np.quantile(found, 0.9) < 0.6


@pytest.mark.parametrize("ranges", ["mild", "released"])
def test_points_follow_pixels_in_the_reference(dots, ranges):
    seed_reference(0)
    stream = reference_stream(RANGES[ranges], SIZE, SOURCE)
    found = [d for _ in range(64) for d in distances_to_dots(*augment_one(stream, dots, POINTS))]
    assert len(found) > 60
    assert np.median(found) < 0.15 and np.quantile(found, 0.9) < 0.6


def test_no_range_is_the_central_cut_out():
    image = torch.randint(0, 256, (2, SOURCE, SOURCE), dtype=torch.uint8)
    images, points = augment(
        image, torch.tensor(POINTS).float().repeat(2, 1, 1), SIZE, NONE, torch.Generator().manual_seed(0)
    )
    assert torch.allclose(images[:, 0] * 255, image[:, 24:216, 24:216].float(), atol=0.05)
    assert torch.allclose(points, torch.tensor(POINTS - 24).float(), atol=1e-4)


def test_a_seed_gives_the_same_pictures_and_another_seed_others(dots):
    batch, points = torch.from_numpy(dots)[None].repeat(4, 1, 1), torch.tensor(POINTS).float().repeat(4, 1, 1)
    first, again, other = (
        augment(batch, points, SIZE, MILD, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("name", TEXTURES)
def test_textures_change_the_grey_values_and_keep_the_range(name, dots):
    image = torch.from_numpy(dots)[None, None].repeat(3, 1, 1, 1).float() / 255
    changed = TEXTURES[name](image.clone(), torch.ones(3), MILD, torch.Generator().manual_seed(0))
    assert changed.shape == image.shape and torch.isfinite(changed).all()
    assert (changed - image).abs().max() > 0.003 and (changed - image).abs().mean() < 0.1


def test_median_blur_removes_single_pixels():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    assert TEXTURES["median blur"](image, torch.ones(1), MILD, None).max() == 0


def test_median_blur_is_the_median_of_nine():
    image = torch.rand(2, 1, 13, 17)
    image[0, 0, :5] = 0.5
    nine = F.pad(image, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    assert torch.equal(TEXTURES["median blur"](image, torch.ones(2), MILD, None), nine.median(dim=4).values)


def test_missing_points_stay_missing(dots):
    points = torch.tensor(POINTS).float()[None].clone()
    points[0, 1] = float("nan")
    _, moved = augment(torch.from_numpy(dots)[None], points, SIZE, MILD, torch.Generator().manual_seed(0))
    assert torch.isnan(moved[0, 1]).all() and not torch.isnan(moved[0, [0, 2]]).any()


def test_cutout_blackens_one_square_in_half_of_the_images():
    images = cut_out(torch.ones(400, 1, 50, 50), 0.1, torch.Generator().manual_seed(0))
    black = (images == 0).sum(dim=(1, 2, 3))
    assert set(black.tolist()) == {0, 25} and 150 < (black > 0).sum() < 250


def test_jitter_is_uniform_in_its_range():
    moved = jitter(torch.zeros(1000, 2), 0.6, torch.Generator().manual_seed(0))
    assert moved.abs().max() <= 0.6 and moved.std().item() == pytest.approx(0.6 / 3**0.5, rel=0.05)


def drawing(count=16):
    return Draw(count, torch.Generator().manual_seed(0))


def test_sharpening_raises_the_contrast_of_edges_and_leaves_flat_parts():
    images = torch.full((16, 1, 40, 40), 0.3)
    images[..., 20:] = 0.6
    sharp = sharpened(images, replace(STRANGERS, sharpen_p=1.0), drawing())
    assert torch.allclose(sharp[..., :12], images[..., :12], atol=1e-6)
    steps = sharp[:, 0, :, 20] - sharp[:, 0, :, 19]
    assert (steps >= 0.3 - 1e-6).all() and steps.max() > 0.5
    assert sharp.min() >= 0 and sharp.max() <= 1
    assert torch.allclose(sharpened(images, replace(STRANGERS, sharpen_p=0.0), drawing()), images)


def test_clutter_covers_a_border_and_a_bar_of_the_chosen_pictures_alone():
    size = 64
    images = torch.full((200, 1, size, size), 0.5)
    chosen = torch.arange(200) % 2 == 0
    changed = (cluttered(images.clone(), chosen, drawing(200)) != 0.5)[:, 0]
    assert not changed[~chosen].any() and changed[chosen].flatten(1).any(dim=1).float().mean() > 0.8
    shares = changed[chosen].float().mean(dim=(1, 2))
    assert shares.max() < 0.16 and changed[chosen].any(dim=0).float().mean() > 0.5
    edges = [changed[chosen][:, 0].all(dim=1), changed[chosen][:, -1].all(dim=1)]
    edges += [changed[chosen][:, :, 0].all(dim=1), changed[chosen][:, :, -1].all(dim=1)]
    assert all(0.1 < edge.float().mean() < 0.4 for edge in edges), "each side has its share of borders"


def test_clutter_is_black_or_white():
    images = cluttered(torch.full((64, 1, 64, 64), 0.5), torch.ones(64, dtype=torch.bool), drawing(64))
    assert set(images.unique().tolist()) == {0.0, 0.5, 1.0}


def test_pictures_for_strangers_keep_the_range_and_the_points(dots):
    batch, points = (
        torch.from_numpy(dots)[None].repeat(32, 1, 1),
        torch.tensor(POINTS).float().repeat(32, 1, 1),
    )
    images, moved = augment(batch, points, SIZE, STRANGERS, torch.Generator().manual_seed(0))
    assert images.shape == (32, 1, SIZE, SIZE) and 0 <= images.min() and images.max() <= 1
    plain = replace(STRANGERS, sharpen_p=0.0, clutter_p=0.0)
    _, same = augment(batch, points, SIZE, plain, torch.Generator().manual_seed(0))
    assert torch.equal(moved, same), "grey values are changed after the geometry, which they leave alone"
