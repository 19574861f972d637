from pathlib import Path

import cv2
import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.rois import plateau_mm
from kneel_lib.errors import KneelError
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.imaging import similarity
from kneel_lib.pipeline import appearance
from kneel_lib.pipeline.appearance import CHANNELS, PARTS, SIZE, unlike_knees
from studies.strangers import appearance as study
from studies.strangers.distortions import SPOILT, turned

KINDS = {kind.name: kind for kind in SPOILT}


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """Drawn knees as right ones: [(picture, landmarks (16, 2) in its pixels)]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_CACHE", str(tmp_path_factory.mktemp("appearance-cache")))
        cohort = load_cohort("simulated", 8)
    return list(zip(cohort.images, cohort.landmarks_px))


def share(image, points, side="R", bone=1, inside=None):
    return unlike_knees(Radiograph(Path("drawn.png"), image, 0.5, inside=inside), points, side, bone)[0]


@pytest.mark.trains
def test_knees_look_like_knees_however_their_file_shows_them(knees):
    for image, points in knees:
        plain = share(image, points)
        assert plain < 0.8
        width = image.shape[1]
        mirrored = np.ascontiguousarray(image[:, ::-1]), landmarks.mirrored(points, width - 1)
        assert share(*mirrored, side="L") == pytest.approx(plain, abs=0.02)
        assert share(255 - image, points, bone=-1) == pytest.approx(plain, abs=0.05)
        assert share(image.astype(np.float32) * 90 + 4000, points) == pytest.approx(plain, abs=0.02)
        assert share(*turned(10)(image, points)) < 1
        larger = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        assert share(larger, 3 * points + 1) < 1


@pytest.mark.trains
@pytest.mark.parametrize(
    "kind", ["screw", "wire", "staples", "lateral end cut, noise", "lateral end cut, texture", "seam"]
)
def test_what_does_not_belong_to_a_knee_stands_out(knees, kind):
    far = [share(*KINDS[kind].change(image, points)) for image, points in knees]
    assert np.mean([one > 1 for one in far]) >= 0.75, far


@pytest.mark.trains
def test_the_landmark_next_to_what_stands_out_is_told(knees):
    image, points = knees[0]
    for number in (0, 8, 15):
        picture, width = image.copy(), float(plateau_mm(points))
        x, y = np.round(points[number]).astype(int)
        cv2.line(picture, (x, y - int(0.1 * width)), (x, y + int(0.1 * width)), 255, 3, cv2.LINE_AA)
        far, near = unlike_knees(Radiograph(Path("drawn.png"), picture, 0.5), points, "R", 1)
        assert far > 1 and np.linalg.norm(points[near] - points[number]) < 0.2 * width


@pytest.mark.trains
@pytest.mark.parametrize("value", [0, 255])
def test_a_plain_border_beside_a_knee_is_no_part_of_it(knees, value):
    for image, points in knees:
        rim = 0.12 * float(plateau_mm(points))
        first = np.floor(points.min(axis=0) - rim).astype(int)
        last = np.ceil(points.max(axis=0) + rim).astype(int)
        picture = np.full(image.shape, value, np.uint8)
        own = slice(first[1], last[1]), slice(first[0], last[0])
        picture[own] = image[own]
        assert share(picture, points) < 1


@pytest.mark.trains
def test_what_is_outside_of_the_picture_does_not_count(knees):
    image, points = knees[0]
    inside = np.ones(image.shape, bool)
    inside[int(points[:, 1].max() + 0.05 * plateau_mm(points)) :] = False
    spoilt = np.where(inside, image, np.random.default_rng(0).integers(0, 256, image.shape)).astype(np.uint8)
    assert share(spoilt, points, inside=inside) < 1


def test_a_similarity_takes_points_as_near_as_can_be_to_others():
    random = np.random.default_rng(0)
    source, other = random.normal(0, 20, (16, 2)), random.normal(0, 9, 2)
    turn = np.deg2rad(30)
    matrix = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = similarity(source, source @ matrix.T + other)
    assert np.allclose(found[:, :2], matrix) and np.allclose(found[:, 2], other)
    noisy = source @ matrix.T + other + random.normal(0, 1, source.shape)
    best = similarity(source, noisy)

    def error(by):
        return np.linalg.norm(source @ by[:, :2].T + by[:, 2] - noisy)

    for turn, stretch, shift in np.vstack([0.01 * np.eye(3), -0.01 * np.eye(3)]):
        moved = (1 + stretch) * np.array([[1, -turn], [turn, 1]]) @ best + [[0, 0, shift], [0, 0, 0]]
        assert error(moved) > error(best)


def test_the_model_is_small_whole_and_made_of_numbers_alone():
    template, model = appearance.load()
    assert appearance.MODEL.stat().st_size < 200_000 and template.shape == (landmarks.COUNT, 2)
    assert list(model) == list(CHANNELS)
    for name, known in model.items():
        assert np.array_equal(known.seen, appearance.looked_at(template, CHANNELS[name].reach))
        count = known.seen.sum()
        assert known.modes.shape == (study.COMPONENTS, count) and known.mean.shape == (count,)
        lengths = known.modes.astype(float) @ known.modes.astype(float).T
        assert np.allclose(lengths, np.eye(study.COMPONENTS), atol=0.01) and (known.deviation > 0).all()


@pytest.mark.parametrize("left", [None, "template", "detail_modes"])
def test_a_model_that_is_not_there_or_not_whole_is_one_clear_error(tmp_path, monkeypatch, left):
    path = tmp_path / "appearance.npz"
    if left:
        with np.load(appearance.MODEL) as kept:
            np.savez(path, **{name: kept[name] for name in kept if name != left})
    monkeypatch.setattr(appearance, "MODEL", path)
    appearance.load.cache_clear()
    with pytest.raises(KneelError, match="npz is not there, or not whole: get it again from git"):
        appearance.load()
    appearance.load.cache_clear()


def test_knees_are_held_against_modes_of_other_subjects_alone():
    """One subject's knees share a mark that no other has: by modes of all knees it would be explained."""
    random = np.random.default_rng(0)
    seen = np.zeros((SIZE, SIZE), bool)
    seen[10:30, 10:30] = True
    pictures = random.normal(0, 0.1, (60, SIZE, SIZE)).astype(np.float32)
    pictures[:12, 15:20, 15:20] += 5
    groups = ["marked"] * 12 + [f"other {number}" for number in range(48)]
    fitted, far = study.fit(pictures, seen, np.arange(60) % 2 == 0, groups)
    assert {part: getattr(fitted, part).shape for part in PARTS} == {
        "seen": (SIZE, SIZE),
        "mean": (400,),
        "modes": (study.COMPONENTS, 400),
        "deviation": (400,),
    }
    _, alone = study.fit(pictures, seen, np.arange(60) % 2 == 0, [str(number) for number in range(60)])
    assert far[:12].min() > far[12:].max() and far[:12].mean() > 1.1 * alone[:12].mean()
    rows = study.said(["a"] * 12 + ["b"] * 48, {"grey": far}).set_index("cohort")
    assert rows["knees"].to_dict() == {"a": 12, "b": 48}
    assert rows.loc["a", "greatest"] == pytest.approx(far[:12].max())
