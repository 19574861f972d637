from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from kneel_lib.data.radiographs import Radiograph
from kneel_lib.data.rois import plateau_mm
from kneel_lib.data.shown import shown_rectangle
from kneel_lib.pipeline import quality
from kneel_lib.pipeline.knee import Knee, in_plateau_mm
from kneel_lib.pipeline.look import BRIGHT, DARK
from kneel_lib.simulation import shape_model

STEP = 0.2
SHAPE = in_plateau_mm(shape_model.load()[0].mean)
KNEE = Knee("R", (SHAPE - SHAPE[4]) / STEP + [300, 320], STEP, np.full(16, 0.5), 30.0, ())
EVIDENCE = quality.Evidence(
    np.full(16, 2.0),
    np.full(16, 0.5),
    30.0,
    {("R", BRIGHT): 150.0, ("L", BRIGHT): 400.0},
    ("R", BRIGHT),
    "R",
    False,
    1.0,
    0.05,
    "R",
    0.5,
    4,
)


@pytest.fixture(scope="module")
def radiograph():
    """A smooth picture: soft tissue that is brighter in the middle, and noise."""
    rows, columns = np.mgrid[:640, :600]
    grey = 900 + 2500 * np.exp(-((columns - 300) ** 2 + (rows - 320) ** 2) / 2 / 160**2)
    grey = grey + np.random.default_rng(0).normal(0, 40, grey.shape)
    return Radiograph(Path("smooth.dcm"), grey.astype(np.float32), STEP)


def said(radiograph, knee=KNEE, **changes):
    return list(quality.doubts(radiograph, knee, replace(EVIDENCE, **changes)))


def test_a_shape_is_as_rare_however_the_picture_is_turned():
    turn = np.deg2rad(25)
    turned = SHAPE @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert quality.shape_distance(turned) > 2 * quality.RAREST_SHAPE
    again, plain = (quality.shape_distance(quality.upright(shape)) for shape in (turned, SHAPE))
    assert again == pytest.approx(plain, abs=1e-6) and plain < quality.RAREST_SHAPE


def test_an_answer_that_nothing_speaks_against_is_not_doubted(radiograph):
    assert said(radiograph) == []


def one(values, number, value):
    values = values.copy()
    values[number] = value
    return values


@pytest.mark.parametrize(
    "changes, doubt",
    [
        ({"spread_mm": one(np.full(16, 0.5), 7, 3.4)}, "views disagree by 3.4 mm at landmark 7"),
        ({"shape_distance": 130.0}, "no knee has this shape (distance 130)"),
        ({"deviation_mm": np.full(16, 5.2)}, "the networks hesitate (their maps spread by 5.2 mm)"),
        (
            {"implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 120.0}},
            "it is said to be a knee of side R, but looks like one of the other side",
        ),
        (
            {"appearance": 1.1, "strangest": 9},
            "the picture is not what knees look like near landmark 9: metal, or spoilt?",
        ),
        (
            {"said": "", "search_side": "L"},
            "its side is a guess: search and landmark networks see different ones",
        ),
        (
            {"by_place": True, "implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 120.0}},
            "it lies where a knee of side R does, but looks like one of the other side",
        ),
        (
            {
                "by_place": True,
                "search_side": "L",
                "implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 145.0},
            },
            "it lies where a knee of side R does, but looks like one of the other side",
        ),
        (
            {"said": "", "implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 151.0}},
            "its side is a guess: the other mirroring is about as plausible",
        ),
        (
            {"implausibility": {("R", BRIGHT): 250.0, ("L", BRIGHT): 400.0, ("R", DARK): 270.0}},
            "whether bone is bright or dark is a guess",
        ),
    ],
)
def test_evidence_raises_its_own_doubt_and_no_other(radiograph, changes, doubt):
    assert said(radiograph, **changes) == [doubt]


@pytest.mark.parametrize(
    "changes",
    [
        {"spread_mm": np.full(16, 2.9)},
        {"shape_distance": 44.0},
        {"deviation_mm": np.full(16, 4.4)},
        {"implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 146.0}},
        {"by_place": True, "implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 135.0}},
        {"search_side": "L"},
        {"said": "", "implausibility": {("R", BRIGHT): 150.0, ("L", BRIGHT): 153.0}},
        {"implausibility": {("R", BRIGHT): 250.0, ("L", BRIGHT): 400.0, ("R", DARK): 290.0}},
    ],
)
def test_evidence_below_its_limit_raises_no_doubt(radiograph, changes):
    assert said(radiograph, **changes) == []


def test_what_the_reader_noted_is_a_doubt(radiograph):
    noted = replace(radiograph, notes=("its header calls it a hand",))
    assert said(noted) == ["its header calls it a hand"]


@pytest.mark.parametrize("plateau, doubted", [(54, True), (62, False), (100, False), (140, True)])
def test_a_plateau_that_no_adult_has_makes_the_spacing_doubtful(radiograph, plateau, doubted):
    step = plateau / KNEE.plateau_px
    found = said(radiograph, replace(KNEE, mm_per_px=step))
    expected = [f"a plateau of {plateau} mm, which no adult has: is the spacing right?"]
    assert found == (expected if doubted else [])


def test_without_a_spacing_the_plateau_is_not_judged(radiograph):
    tiny = replace(KNEE, mm_per_px=None, points_px=0.5 * (KNEE.points_px - [300, 320]) + [300, 320])
    assert said(radiograph, tiny) == []


@pytest.mark.parametrize("shift", [[-400, 0], [0, 300], [260, 0], [-KNEE.points_px[:, 0].min() + 2, 0]])
def test_landmarks_at_the_border_or_beyond_are_doubted(radiograph, shift):
    moved = replace(KNEE, points_px=KNEE.points_px + shift)
    assert said(radiograph, moved) == ["landmarks at the border or outside of the picture"]


def test_a_landmark_on_a_repeated_edge_is_doubted(radiograph):
    """Cut off inside of the bone, and the last column shown repeated outwards."""
    outermost = int(KNEE.points_px[:, 0].min()) + 8
    padded = radiograph.grey.copy()
    padded[:, :outermost] = padded[:, [outermost]]
    assert "landmarks at the border or outside of the picture" in said(replace(radiograph, grey=padded))
    first, _ = shown_rectangle(padded)
    assert abs(first[0] - outermost) <= 2


def test_landmarks_well_inside_are_not_doubted(radiograph):
    margin = KNEE.points_px[:, 0].min() - 0.01 * KNEE.plateau_px - 3
    assert said(radiograph, replace(KNEE, points_px=KNEE.points_px - [margin, 0])) == []


def with_metal(radiograph, x, y, width, height, value=4095.0):
    grey = radiograph.grey.copy()
    grey[y : y + height, x : x + width] = value
    return replace(radiograph, grey=grey)


METAL = ["metal, or a part of the picture that is white altogether, beside the joint"]


def test_metal_beside_the_joint_is_doubted(radiograph):
    assert said(with_metal(radiograph, 260, 360, 90, 110)) == METAL


@pytest.mark.parametrize("deviation", [100, 250, 400])
def test_metal_is_seen_through_noise(radiograph, deviation):
    grey = with_metal(radiograph, 240, 360, 110, 110).grey
    noise = np.random.default_rng(1).normal(0, deviation, grey.shape)
    assert said(replace(radiograph, grey=(grey + noise).astype(np.float32))) == METAL
    assert said(replace(radiograph, grey=(radiograph.grey + noise).astype(np.float32))) == []


@pytest.mark.parametrize("padded", ["black", "marked"])
def test_landmarks_on_padding_are_doubted(radiograph, padded):
    first = int(KNEE.points_px[0, 0] + 15)
    grey, inside = radiograph.grey.copy(), np.ones(radiograph.grey.shape, bool)
    if padded == "black":
        grey[:, :first] = 0
    else:
        inside[:, :first] = False
    there = replace(radiograph, grey=grey, inside=None if padded == "black" else inside)
    assert said(there) == ["landmarks at the border or outside of the picture"]


def test_a_hole_at_a_landmark_is_doubted_and_one_elsewhere_is_not(radiograph):
    (x, y), inside = np.rint(KNEE.points_px[6]).astype(int), np.ones(radiograph.grey.shape, bool)
    inside[y - 20 : y + 20, x - 20 : x + 20] = False
    assert said(replace(radiograph, inside=inside)) == ["landmarks at the border or outside of the picture"]
    assert said(replace(radiograph, inside=np.roll(inside, 120, axis=0))) == []


def test_an_answer_of_little_trust_is_doubted(radiograph):
    assert said(radiograph, replace(KNEE, trust=0.02)) == ["landmarks are likely to be off (trust 0.02)"]
    assert said(radiograph, replace(KNEE, trust=0.05)) == []


def with_piece(radiograph, x, y, length, thickness, grey=2200.0, turn=0.3):
    """A bar that lets rays through: brighter than around it by `grey`."""
    picture = radiograph.grey.copy()
    along = 0.5 * length * np.array([np.cos(turn), np.sin(turn)])
    bar = np.zeros(picture.shape, np.float32)
    ends = [tuple(np.round(np.array([x, y]) + way * along).astype(int).tolist()) for way in (-1, 1)]
    cv2.line(bar, *ends, 1.0, thickness, cv2.LINE_AA)
    return replace(radiograph, grey=picture + grey * bar)


@pytest.mark.parametrize("thickness", [10, 18])
@pytest.mark.parametrize("place", [(300, 400), (220, 430), (380, 370)])
def test_a_small_piece_of_metal_is_seen_beside_the_joint(radiograph, place, thickness):
    assert said(with_piece(radiograph, *place, 90, thickness)) == METAL


def test_a_piece_above_the_knee_or_with_soft_borders_is_none(radiograph):
    assert said(with_piece(radiograph, 300, 40, 90, 10)) == []
    soft = with_piece(radiograph, 300, 400, 90, 18)
    blurred = cv2.GaussianBlur(soft.grey - radiograph.grey, (0, 0), 16) + radiograph.grey
    assert said(replace(soft, grey=blurred)) == []


def test_a_letter_at_the_rim_is_no_metal(radiograph):
    assert said(with_metal(radiograph, 60, 90, 40, 60)) == []
    assert said(with_metal(radiograph, 300, 300, 8, 8)) == [], "nor is a thing as small as a wire's end"


def test_metal_in_an_inverted_picture_is_dark(radiograph):
    inverted = with_metal(radiograph, 260, 360, 90, 110)
    inverted = replace(inverted, grey=4095 - inverted.grey)
    dark = {"chosen": ("R", DARK), "implausibility": {("R", DARK): 150.0, ("L", DARK): 400.0}}
    assert said(inverted, **dark) == METAL
    assert said(replace(radiograph, grey=4095 - radiograph.grey), **dark) == []


def test_real_shapes_are_plausible_and_others_are_not():
    random = np.random.default_rng(0)
    for model in shape_model.load().values():
        shapes = model.sample(random, 50) + random.normal(0, 0.7, (50, 16, 2))
        distances = np.array([quality.shape_distance(shape) for shape in shapes])
        assert (distances < 75).mean() > 0.95
        assert (
            quality.shape_distance(shapes[0][::-1]) > 500
            and quality.shape_distance(shapes[0] + random.normal(0, 8, (16, 2))) > 150
        )


def test_hesitation_makes_a_way_to_look_implausible_as_a_rare_shape_does():
    usual = quality.implausibility(32.0, np.full(16, 2.0))
    assert quality.implausibility(80.0, np.full(16, 2.0)) > usual
    assert quality.implausibility(32.0, np.full(16, 3.0)) > usual
    assert plateau_mm(SHAPE) == pytest.approx(75.8)
