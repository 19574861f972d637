import numpy as np
import pytest

from kneel_lib import landmarks, outlines
from kneel_lib.pipeline import measurements as m
from kneel_lib.pipeline.joint import find_joint
from kneel_lib.pipeline.knee import Knee
from kneel_lib.simulation import anatomy, shape_model

SHAPES = shape_model.load()[2].sample(np.random.default_rng(0), 5)
"""Right knees, as seen: lateral is left, y runs down; mm."""


def knee_of(points, mm_per_px=1.0, region=0.5):
    regions = np.full((landmarks.COUNT, 2), region / (mm_per_px or 1.0))
    how = {"region_px": regions, "deviation_px": regions[:, 0]}
    return Knee("R", points / (mm_per_px or 1.0), mm_per_px, np.zeros(16), 30.0, (), **how)


def test_the_long_axis_of_a_region_lies_along_the_outline():
    assert np.allclose(knee_of(flat()).region_degrees, 0)
    turned = knee_of(flat() @ [[0.8, 0.6], [-0.6, 0.8]])  # x towards y
    assert np.allclose(turned.region_degrees, np.degrees(np.arctan2(0.6, 0.8)))


def flat(gap=4.0):
    """A straight tibia 80 wide, and a straight femur above it."""
    points = np.zeros((16, 2))
    points[list(landmarks.TIBIA)] = np.stack([np.linspace(0, 80, 9), np.full(9, 50.0)], axis=1)
    points[list(landmarks.FEMUR)] = np.stack([np.linspace(0, 80, 7), np.full(7, 50.0 - gap)], axis=1)
    return points


def test_flat_bones_have_one_width_everywhere_and_no_angles():
    values = m.measured(flat())
    assert [values[name] for name in m.NAMES if "_jsw_" in name] == pytest.approx([4.0] * 18)
    assert values["medial_area"] == pytest.approx(4 * 0.2 * 80) == values["lateral_area"]
    assert values["plateau_width"] == values["condyle_width"] == 80
    assert values["plateau_angle"] == values["condyle_angle"] == values["convergence_angle"] == 0


def test_widths_are_those_of_the_outlines_that_the_simulation_draws():
    """Straight up from the plateau's line, between the polygons that fill the bones."""
    for shape in SHAPES:
        joint, values = find_joint(shape), m.measured(shape)
        femur, tibia = anatomy.femur(shape), anatomy.tibia(shape)
        for name, x in (("medial_jsw_0.200", 0.2), ("lateral_jsw_0.800", 0.8)):
            line = joint.to_picture(np.stack([np.full(4001, x), np.linspace(-0.2, 0.4, 4001)], axis=1))
            inside = [inside_of(bone, line) for bone in (tibia, femur)]
            gap = np.flatnonzero(inside[1])[0] - np.flatnonzero(inside[0])[-1] - 1
            assert values[name] == pytest.approx(gap * 0.6 / 4000 * joint.plateau, abs=0.05)


def inside_of(outline, places):
    from matplotlib.path import Path

    return Path(outline).contains_points(places)


def test_the_least_width_is_the_least_of_its_compartment():
    for shape in SHAPES:
        values = m.measured(shape)
        for side, low, high in (("medial", 0.1, 0.3), ("lateral", 0.7, 0.9)):
            fixed = [values[f"{side}_jsw_{x:.3f}"] for x in m.PLACES[side] if low <= x <= high]
            assert 0 < values[f"{side}_jsw_min"] <= min(fixed) + 0.01


@pytest.mark.parametrize("turn", [0.2, np.pi, 2.5])
def test_size_side_and_turning_change_nothing_but_what_they_must(turn):
    shape = SHAPES[0]
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    plain, turned = m.measured(shape), m.measured(3 * shape @ matrix.T + 100)
    mirrored = m.measured(landmarks.mirrored(shape, 500))
    assert plain == pytest.approx(mirrored)
    for one in m.DEFINITIONS:
        if one.power:
            assert turned[one.name] == pytest.approx(3**one.power * plain[one.name])
    assert turned["convergence_angle"] == pytest.approx(plain["convergence_angle"], abs=1e-6) or turn > 1


def test_a_lower_medial_condyle_narrows_the_joint_to_the_medial_side():
    points = flat()
    points[13:, 1] += 2.0
    values = m.measured(points)
    assert values["medial_jsw_min"] < 2.5 and values["lateral_jsw_min"] > 3.5
    assert values["convergence_angle"] == values["condyle_angle"] > 1 and values["plateau_angle"] == 0


def test_bones_that_overlap_have_no_joint_space_but_an_interval_that_may_reach_above():
    points = flat()
    points[13:, 1] = 50.1
    made = {one.name: one for one in m.measurements(knee_of(points, region=2.0))}
    least = made["medial_jsw_min"]
    assert least.value == least.low == 0 < least.high
    assert made["lateral_jsw_min"].low > 0


@pytest.mark.parametrize("spoilt", ["one place", "not a number", "no width", "femur turned round"])
def test_points_that_are_no_knee_are_measured_as_nothing_at_all(spoilt):
    points = flat()
    if spoilt == "one place":
        points[5] = points[4]
    elif spoilt == "not a number":
        points[3] = np.nan
    elif spoilt == "no width":
        points[8] = points[0]
    else:
        points[9:] = points[9:][::-1]
    assert find_joint(points) is None and np.isnan(list(m.measured(points).values())).all()
    assert all(np.isnan([one.value, one.low, one.high]).all() for one in m.measurements(knee_of(points)))


def test_units_and_shares_follow_the_spacing():
    shape = SHAPES[1]
    with_mm, without = (
        {one.name: one for one in m.measurements(knee_of(shape, step))} for step in (0.2, None)
    )
    for one in m.DEFINITIONS:
        first, second = with_mm[one.name], without[one.name]
        assert first.unit == one.unit and second.unit == m.PIXEL_UNITS[one.unit]
        assert first.value == pytest.approx(second.value)  # the shape is in mm, and 1 px is 1 mm without
        assert first.share == pytest.approx(second.share, nan_ok=True) and np.isnan(first.share) == (
            one.power == 0
        )
        assert first.low < first.value < first.high


def test_deviations_are_those_of_sampled_landmarks():
    """First order against 300 draws, where nothing bends: far from a change of the narrowest place."""
    shape, random = SHAPES[2], np.random.default_rng(0)
    region = np.tile([0.2, 0.5], (landmarks.COUNT, 1))
    along = outlines.tangents(shape[None])[0]
    across = along @ [[0, -1], [1, 0]]
    size = random.normal(0, region / m.NINETY, (300, landmarks.COUNT, 2))
    drawn = size[..., :1] * across + size[..., 1:] * along
    sampled = np.std([m.signed_values(shape + moved) for moved in drawn], axis=0)
    assert np.allclose(m.deviations(shape, region) / sampled, 1, atol=0.2)


def test_the_intervals_of_a_knee_that_was_not_calibrated_are_unknown():
    knee = Knee("R", SHAPES[0], 1.0, np.zeros(16), 30.0, ())
    assert all(
        np.isfinite(one.value) and np.isnan(one.low) and np.isnan(one.high) for one in m.measurements(knee)
    )
    assert np.isnan(m.ratios({})).all()


def test_every_measurement_has_a_calibrated_interval():
    assert (m.ratios() > 0).all() and len(set(m.NAMES)) == len(m.NAMES) == len(m.DEFINITIONS)
