import numpy as np
import pytest

from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.measurement_errors import error_table, measured_all
from kneel_lib.pipeline.measurements import NAMES
from kneel_lib.simulation import shape_model
from studies.agreement.__main__ import straight_values
from studies.strangers import intervals
from studies.strangers.measure import Told

SHAPES = shape_model.load()[0].sample(np.random.default_rng(3), 12)


def test_straight_lines_change_what_lies_between_landmarks_and_not_the_landmarks():
    curves, lines = measured_all(SHAPES), straight_values(SHAPES)
    names = list(NAMES)
    for name in ("plateau_width", "condyle_width", "plateau_angle"):
        assert np.allclose(curves[:, names.index(name)], lines[:, names.index(name)])
    fixed = names.index("medial_jsw_0.250")
    assert (
        lines[:, fixed] > curves[:, fixed]
    ).all()  # the hollow below the tubercle, and the condyle's curve


def test_an_error_table_says_bias_spread_and_how_many():
    truth = measured_all(SHAPES)
    off = truth + np.where(np.arange(len(truth)) % 2, 0.5, 0.1)[:, None]
    off[0] = np.nan
    table = error_table(off, truth).set_index("measurement")
    assert table["knees"].eq(len(SHAPES) - 1).all() and tuple(table.index) == NAMES
    assert table["bias"].to_numpy() == pytest.approx((6 * 0.5 + 5 * 0.1) / 11)
    assert (table["mean_absolute"] == table["bias"]).all() and table["sd"].between(0.2, 0.22).all()


def test_intervals_hold_nine_in_ten_errors_of_the_knees_that_made_them():
    random = np.random.default_rng(0)
    told = []
    for shape in SHAPES:
        found = shape / 0.2 + random.normal(0, 2, shape.shape)
        knee = Knee("R", found, 0.2, np.ones(16), 30.0, (), deviation_px=np.full(16, 4.0))
        told.append(Told("R", knee, 0, np.ones(16), 0.2, shape / 0.2))
    errors = intervals.errors(told, np.full(12, 0.8))
    factors = np.array(list(intervals.ratios(errors).values()))
    assert errors.error.shape == (12, len(NAMES)) and (factors > 0).all()
    held = (errors.ratios <= factors + 1e-4).mean(axis=0)
    assert (held >= 0.9).all()
    table = intervals.table(errors, list(range(12)))
    assert table["half_interval"].gt(0).all() and table["coverage"].between(0.5, 1).all()
