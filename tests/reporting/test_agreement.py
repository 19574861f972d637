import numpy as np
import pandas as pd
import pytest

from kneel_lib.errors import KneelError
from kneel_lib.reporting.agreement import agreement_table


def two_tables(bias=0.3, spread=0.2, knees=60):
    random = np.random.default_rng(0)
    width = random.normal(4, 1.2, knees)
    keys = {"subject_id": np.arange(knees) // 2, "side": np.where(np.arange(knees) % 2, "L", "R")}
    ours = pd.DataFrame({**keys, "medial_jsw_min": width + bias + random.normal(0, spread, knees)})
    theirs = pd.DataFrame({**keys, "medial_jsw_min": width, "lateral_jsw_0.700": width})
    return ours, theirs.assign(subject_id=theirs["subject_id"].astype(str)).sample(frac=1, random_state=1)


def test_agreement_says_bias_limits_and_correlation_of_the_knees_in_common():
    ours, theirs = two_tables()
    (row,) = agreement_table(ours, theirs[theirs["subject_id"] != "3"]).to_dict("records")
    assert row["measurement"] == "medial_jsw_min" and row["knees"] == 58
    assert row["bias"] == pytest.approx(0.3, abs=0.08) and row["bias_low"] < 0.3 < row["bias_high"]
    assert row["limit_high"] - row["limit_low"] == pytest.approx(2 * 1.96 * row["sd"])
    # by hand: variance of knees over variance of knees, bias (a reader's) and error
    assert row["icc"] == pytest.approx(1.44 / (1.44 + 0.3**2 / 2 + 0.2**2 / 2), abs=0.05)
    assert row["icc_low"] < row["icc"] < row["icc_high"]


def test_tables_that_are_almost_equal_agree_almost_wholly():
    ours, theirs = two_tables(0.0, 0.001)
    (row,) = agreement_table(ours, theirs).to_dict("records")
    assert row["bias"] == pytest.approx(0, abs=1e-3) and row["icc"] == pytest.approx(1, abs=1e-5)


def test_tables_of_other_knees_are_refused():
    ours, theirs = two_tables()
    with pytest.raises(KneelError, match="have 0 knees in common"):
        agreement_table(ours, theirs.assign(subject_id="9" + theirs["subject_id"] + "9"))
    few = ours.assign(medial_jsw_min=ours["medial_jsw_min"].where(ours.index < 3))
    with pytest.raises(KneelError, match="only 3 knees have medial_jsw_min in both"):
        agreement_table(few, theirs)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda ours: pd.concat([ours, ours[3:4]]), "the first table has .*'subject_id': '1'.* twice"),
        (lambda ours: ours.rename(columns={"medial_jsw_min": "mine"}), "no measurement in common"),
    ],
)
def test_tables_that_cannot_be_compared_are_one_sentence(change, message):
    ours, theirs = two_tables()
    with pytest.raises(KneelError, match=message):
        agreement_table(change(ours), theirs)


def test_a_measurement_that_one_table_lacks_is_named():
    with pytest.raises(KneelError, match="'lateral_jsw_0.700': choose one of medial_jsw_min"):
        agreement_table(*two_tables(), measurements=["lateral_jsw_0.700"])
