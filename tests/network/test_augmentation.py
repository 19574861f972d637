from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kneel_lib.network.augmentation import (
    TEXTURES,
    Draw,
    augment,
    cluttered,
    cut_out,
    jitter,
    sample_homographies,
    sharpened,
    texture,
    warp,
)
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


def test_borders_are_as_often_black_as_white_and_most_bars_are_white():
    count = 600
    images = cluttered(
        torch.full((count, 1, 64, 64), 0.5), torch.ones(count, dtype=torch.bool), drawing(count)
    )
    lines = [images[:, 0, 0], images[:, 0, -1], images[:, 0, :, 0], images[:, 0, :, -1]]
    black, white = (sum((line == value).all(dim=1).sum() for line in lines).item() for value in (0.0, 1.0))
    assert black > 150 and white > 150 and 0.75 < black / white < 1.33
    inner = images[:, 0, 10:-10, 10:-10].flatten(1)
    black, white = ((inner == value).any(dim=1).sum().item() for value in (0.0, 1.0))
    assert white / (black + white) == pytest.approx(0.7, abs=0.08), (
        "inside of the borders there are bars alone"
    )


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


COUNT = 4000


def homographies(**ranges):
    """The linear parts (COUNT, 2, 2), tilts (COUNT, 2) and where the middle of the source goes (COUNT, 2)."""
    draw = drawing(COUNT)
    matrices = sample_homographies(draw, SIZE, SOURCE, replace(NONE, **ranges))
    to_middle = torch.eye(3)
    to_middle[:2, 2] = (SOURCE - 1) / 2
    around = matrices @ to_middle
    back = torch.eye(3).repeat(COUNT, 1, 1)
    back[:, :2, 2] = -around[:, :2, 2] / around[:, 2:, 2]
    plain = back @ around
    return plain[:, :2, :2], plain[:, 2, :2], around[:, :2, 2]


def uniform(values, low, high):
    """Whether values fill a range evenly: its ends, middle and spread."""
    values = values.double()
    assert low - 1e-4 <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high + 1e-4
    assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert values.std().item() == pytest.approx((high - low) / 12**0.5, rel=0.04)


def test_angles_are_even_over_the_whole_range():
    linear, _, middle = homographies(rotation_degrees=30.0)
    uniform(torch.atan2(linear[:, 1, 0], linear[:, 0, 0]).rad2deg(), -30, 30)
    assert torch.allclose(linear @ linear.transpose(1, 2), torch.eye(2), atol=1e-4)
    assert torch.allclose(middle, torch.tensor((SIZE - 1) / 2), atol=1e-3), "knees turn about the middle"


def test_scales_zooms_shears_and_tilts_are_even_over_their_ranges():
    linear, _, _ = homographies(scale=(0.8, 1.3))
    uniform(linear[:, 0, 0], 0.8, 1.3)
    assert torch.allclose(linear[:, 0, 0], linear[:, 1, 1], atol=1e-5)
    linear, _, _ = homographies(zoom=(0.5, 2.5), zoom_p=1.0)
    uniform(linear[:, 1, 1], 0.5, 2.5)
    linear, _, _ = homographies(shear=0.1)
    uniform(linear[:, 0, 1], -0.1, 0.1)
    assert torch.allclose(linear[:, 1, 0], torch.tensor(0.0), atol=1e-6)
    _, tilts, _ = homographies(tilt=(-0.08, 0.08))
    for axis in (0, 1):
        uniform(tilts[:, axis] * SIZE, -0.08, 0.08)


def test_shear_and_rotation_together_keep_the_area():
    linear, _, _ = homographies(shear=0.2, rotation_degrees=40.0)
    assert torch.allclose(torch.linalg.det(linear), torch.tensor(1.0), atol=1e-3)
    lengths = linear[:, :, 0].norm(dim=1)
    assert torch.allclose(lengths, torch.tensor(1.0), atol=1e-3), "the first axis is turned alone"


def test_shifts_are_a_share_of_the_side_in_both_directions():
    _, _, middle = homographies(shift=0.1)
    for axis in (0, 1):
        uniform(middle[:, axis] - (SIZE - 1) / 2, -0.1 * SIZE, 0.1 * SIZE)
    assert np.abs(np.corrcoef(middle.T.numpy())[0, 1]) < 0.05


def test_a_mirrored_knee_is_mirrored_left_to_right():
    linear, _, middle = homographies(flip_p=0.3)
    flipped = linear[:, 0, 0] < 0
    assert flipped.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.allclose(linear[flipped], torch.tensor([[-1.0, 0.0], [0.0, 1.0]]), atol=1e-5)
    assert torch.allclose(middle, torch.tensor((SIZE - 1) / 2), atol=1e-3)


@pytest.mark.parametrize(
    "ranges, share",
    [
        ({"rotation_degrees": 20.0, "homography_p": 0.5}, 0.5),
        ({"zoom": (1.5, 2.0), "zoom_p": 0.25}, 0.25),
        ({"geometry_p": 0.7, "rotation_degrees": 20.0}, 0.7),
        ({"geometry_p": 0.5, "homography_p": 0.5, "scale": (0.7, 0.9)}, 0.25),
        ({"geometry_p": 0.5, "flip_p": 0.5}, 0.25),
    ],
)
def test_as_many_knees_are_changed_as_the_probabilities_say(ranges, share):
    linear, _, _ = homographies(**ranges)
    changed = (linear - torch.eye(2)).abs().amax(dim=(1, 2)) > 1e-4
    assert changed.float().mean().item() == pytest.approx(share, abs=0.03)


def test_behind_the_horizon_of_a_tilt_nothing_is_seen():
    """A plane that is tilted away by so much that half of the picture would lie behind the viewer."""
    matrix = torch.eye(3)[None]
    matrix[0, 2, 0] = -0.05
    seen = warp(torch.ones(1, 1, 64, 64), matrix, 64)
    back = torch.linalg.inv(matrix)[0] @ torch.stack([torch.arange(64.0), torch.zeros(64), torch.ones(64)])
    behind = back[2] <= 1e-3
    assert (seen[0, 0, :, behind] == 0).all() and seen[0, 0, 0, 0] == 1


def test_gamma_gain_and_offset_have_their_ranges():
    flat = torch.full((COUNT, 1, 2, 2), 0.5)
    gammas = torch.log(
        texture(flat.clone(), replace(NONE, gamma_p=1.0, gamma=(0.5, 2.0)), drawing(COUNT))
    ) / np.log(0.5)
    uniform(gammas[:, 0, 0, 0].log(), np.log(0.5), np.log(2.0))
    some = texture(flat.clone(), replace(NONE, gamma_p=0.3, gamma=(0.5, 0.9)), drawing(COUNT))[:, 0, 0, 0]
    assert (some != 0.5).float().mean().item() == pytest.approx(0.3, abs=0.03)
    pairs = torch.tensor([0.2, 0.6]).view(1, 1, 1, 2).repeat(COUNT, 1, 1, 1)
    changed = texture(pairs, replace(NONE, gain=0.15), drawing(COUNT))[:, 0, 0]
    gains = (changed[:, 1] - changed[:, 0]) / 0.4
    uniform(gains, 0.85, 1.15)
    uniform(changed[:, 0] - 0.2 * gains, -0.075, 0.075)


def test_each_texture_has_its_share_of_the_pictures():
    """Noise, salt and pepper, and two blurs: on stripes each changes the picture in its own way."""
    stripes = (torch.arange(16) % 2).float().mul(0.5).add(0.25).expand(16, 16)
    batch = stripes.repeat(400, 1, 1, 1)
    changed = texture(batch.clone(), replace(NONE, texture_p=0.8), drawing(400))
    alike = (changed - batch).abs().amax(dim=(1, 2, 3)) < 1e-6
    salted = ((changed == 0) | (changed == 1)).flatten(1).any(dim=1)
    flat = changed[:, 0, 8].std(dim=1) < 0.24
    assert alike.float().mean().item() == pytest.approx(0.2, abs=0.08)
    assert salted.float().mean().item() == pytest.approx(0.2, abs=0.08)
    assert flat.float().mean().item() >= 0.12 and changed.min() >= 0 and changed.max() <= 1


def test_noise_salt_and_blur_are_as_strong_as_their_ranges_say():
    flat, half = torch.full((2, 1, 200, 200), 0.5), torch.tensor([1.0, 0.5])
    noisy = TEXTURES["gaussian noise"](flat, half, replace(NONE, noise=0.06), drawing(2).generator)
    assert (noisy - flat).flatten(1).std(dim=1).tolist() == pytest.approx([0.06, 0.03], rel=0.03)
    salted = TEXTURES["salt and pepper"](flat, half, replace(NONE, salt_pepper=0.1), drawing(2).generator)
    for value in (0.0, 1.0):
        shares = (salted == value).flatten(1).float().mean(dim=1).tolist()
        assert shares == pytest.approx([0.05, 0.025], rel=0.15)
    point = torch.zeros(2, 1, 21, 21)
    point[:, 0, 10, 10] = 1
    blurred = TEXTURES["gaussian blur"](
        point, torch.tensor([0.0, 1.0]), replace(NONE, blur_px=(0.5, 1.0)), None
    )
    assert torch.allclose(blurred.sum(dim=(1, 2, 3)), torch.ones(2), atol=1e-5)
    for picture, sigma in zip(blurred[:, 0], (0.5, 1.0)):
        for sums in (picture.sum(dim=0), picture.sum(dim=1)):
            assert (sums * (torch.arange(21.0) - 10).square()).sum().item() == pytest.approx(
                sigma**2, rel=0.15
            )


def test_cut_out_squares_have_their_side_and_lie_everywhere():
    images = cut_out(torch.ones(600, 1, 40, 40), 0.25, torch.Generator().manual_seed(0))
    black = images[:, 0] == 0
    areas = black.sum(dim=(1, 2))
    assert set(areas.tolist()) == {0, 100} and (areas > 0).float().mean().item() == pytest.approx(
        0.5, abs=0.06
    )
    for axis in (1, 2):
        lines = black[areas > 0].any(dim=axis)
        assert (lines.sum(dim=1) == 10).all() and lines[:, 0].any() and lines[:, -1].any()
    always = cut_out(torch.ones(20, 1, 40, 40), 0.25, torch.Generator().manual_seed(0), probability=1.0)
    assert (always == 0).flatten(1).any(dim=1).all()


def test_jitter_is_even_to_both_sides():
    moved = jitter(torch.full((500, 8, 2), 7.0), 0.5, torch.Generator().manual_seed(0))
    uniform(moved - 7, -0.5, 0.5)
