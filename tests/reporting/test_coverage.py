"""Intervals and p values that the tables print, tried on simulated tables in which training has its own
luck and folds share knees."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from kneel_lib import paths
from kneel_lib.figures import results as result_figures
from kneel_lib.figures import style
from kneel_lib.reporting import comparisons
from kneel_lib.reporting.statistics import FIVE_FOLDS, LEVEL, detectable, holm, holm_levels, over_trainings
from studies.coverage import coverage, simulation

SMALL = simulation.Components(folds=0.005, subjects=0.03, knees=0.02, count=120, both=0.1)
"""As paired differences of recorded rows with EMA weights are between knees, of fewer of these."""


def simulated(correlation, tables=300, rows=12, components=SMALL):
    random = np.random.default_rng(3)
    return [simulation.draw(random, components, rows, correlation) for _ in range(tables)]


def tried(tables):
    """(coverage in percent, tables with a false star in percent) of the tables' own interval over
    trainings."""
    found = [
        [over_trainings(comparisons.training_means(row[:, None], table.fold)) for row in table.differences]
        for table in tables
    ]
    covered = [np.mean([one.low <= 0 <= one.high for one in row]) for row in found]
    starred = [(holm([one.p for one in row]) <= LEVEL).any() for row in found]
    return 100 * np.mean(covered), 100 * np.mean(starred)


def test_intervals_over_trainings_cover_and_stars_are_rare_where_folds_share_as_the_correction_says():
    covered, starred = tried(simulated(0.2))
    assert 93 <= covered <= 97
    assert starred <= 5 + 2 * 100 * np.sqrt(0.05 * 0.95 / 300), "5 % and what 300 tables can miss it by"


def test_folds_that_share_less_make_them_wider_than_they_need_be_and_more_too_narrow():
    (none, starred), (much, _) = tried(simulated(0.0)), tried(simulated(0.4))
    assert none > 97 and starred <= 5
    assert much < 93


def test_subjects_say_what_other_knees_would_and_nothing_of_other_trainings():
    tables = simulated(0.2, tables=60, rows=3, components=SMALL.__class__(0.012, 0.08, 0.06, 120, 0.1))
    rows = {row["interval"]: row for row in coverage.coverage_rows(tables)}
    assert 90 <= rows["subjects"]["coverage_networks"] <= 98
    assert rows["subjects"]["coverage_settings"] < 80 < rows["trainings, corrected"]["coverage_settings"]
    assert rows["subjects"]["family_wise"] > 20


def test_a_training_that_shares_nothing_is_students_t():
    values = np.random.default_rng(0).normal(1, 1, 6)
    found, plain = over_trainings(values, 0), student(5, values.mean(), values.std(ddof=1) / 6**0.5)
    assert [found.low, found.high] == pytest.approx(plain.interval(0.95))
    wider = over_trainings(values)
    assert (wider.high - wider.low) / (found.high - found.low) == pytest.approx((1 + 6 * FIVE_FOLDS) ** 0.5)
    for one in (found, wider):
        edge = over_trainings(values - one.low, 0 if one is found else FIVE_FOLDS)
        assert edge.p == pytest.approx(0.05) and edge.low == pytest.approx(0)


def test_the_same_value_from_every_training_is_certain():
    assert over_trainings([2.0, 2.0, 2.0]).p == 0 and over_trainings([0.0, 0.0]).p == 1


@pytest.mark.parametrize("seed", range(20))
def test_holms_correction_is_that_of_statsmodels_and_its_levels_are_where_it_turns(seed):
    random = np.random.default_rng(seed)
    p_values = random.uniform(0, random.choice([0.01, 0.1, 1]), random.integers(1, 9))
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    levels = holm_levels(p_values)
    for place, level in enumerate(levels):
        for factor, starred in ((0.999, True), (1.001, False)):
            others = np.where(np.arange(len(p_values)) == place, factor * level, p_values)
            assert (holm(others)[place] <= LEVEL) == starred


def predictions(errors, fold, seed=0):
    names = {f"e{number}": values for number, values in enumerate(errors.T)}
    who = {"subject_id": np.arange(len(errors)), "side": "R", "kl": 0, "fold": fold, "seed": seed}
    return pd.DataFrame({**who, **names})


@pytest.fixture
def table():
    """Comparisons of four rows with a reference, as tables make them; the first gains half a millimetre."""
    random = np.random.default_rng(1)
    fold, reference = np.arange(100) % 5, random.gamma(4, 0.3, (100, 16))
    rows = []
    for name, gain in (("a", 0.5), ("b", 0.03), ("c", 0.01), ("d", 0.0)):
        luck = random.normal(0, 0.03, 5)[fold, None]
        errors = reference - gain + luck + random.normal(0, 0.05, reference.shape)
        found = comparisons.compare_predictions(predictions(errors, fold), predictions(reference, fold))
        rows += [{"setting": name, **row} for row in found]
    return comparisons.corrected(pd.DataFrame(rows), ["quantity"])


def test_a_difference_that_is_not_resolved_says_how_much_more_it_would_take(table):
    shown = comparisons.effects(table).set_index("setting")
    assert shown.loc["a", "resolved"] == "yes" and shown.loc["b", "resolved"].endswith("mm more would be")
    mre = table[table["quantity"] == "mre_mm"].set_index("setting")
    row = mre.loc["b"]
    more = float(shown.loc["b", "resolved"].split()[2])
    centre = (row["low_trainings"] + row["high_trainings"]) / 2
    assert more == pytest.approx(row["detectable"] - abs(centre), abs=6e-4) and more > 0
    p_at = 2 * student.sf(row["detectable"] / row["se_trainings"], 4)
    again = mre["p"].where(mre.index != "b", p_at)
    assert holm(again)[1] == pytest.approx(LEVEL), "there it would just be called a difference"
    assert detectable(row["se_trainings"], 5, 0.05) < row["detectable"], "alone it would take less"


def test_p_is_over_trainings_and_the_bootstrap_stands_beside_it(table):
    row = table[(table["setting"] == "a") & (table["quantity"] == "mre_mm")].iloc[0]
    assert row["trainings"] == 5 and row["low_trainings"] < row["low_subjects"] < row["high_subjects"]
    assert "over subjects" in comparisons.effects(table) and set(table["p_holm"] >= table["p"]) == {True}


def test_one_training_has_no_p_and_is_no_part_of_the_family(table):
    one = table.assign(p_holm=np.nan, detectable=np.nan)
    single = one["setting"] == "d"
    one.loc[single, ["p", "low_trainings", "high_trainings", "se_trainings"]] = np.nan
    one.loc[single, "trainings"] = 1
    again = comparisons.corrected(one, ["quantity"])
    assert again.loc[single, "p_holm"].isna().all() and again.loc[~single, "p_holm"].notna().all()
    assert (again.loc[~single, "p_holm"] <= table.loc[~single, "p_holm"] + 1e-12).all(), (
        "three rows, not four"
    )
    shown = comparisons.effects(again).set_index("setting").loc["d"]
    assert (
        shown["resolved"] == "not resolved: one training"
        and shown["p"] == "-"
        and "(" not in shown["MRE, mm"]
    )


def test_components_are_found_again_in_what_was_drawn_from_them():
    random, large = np.random.default_rng(0), simulation.Components(0.01, 0.08, 0.06, 529, 0.3)
    found = []
    for _ in range(60):
        table = simulation.draw(random, large, 1, 0.2)
        knees = pd.DataFrame({"subject_id": table.subjects, "fold": table.fold})
        found.append(simulation.parts(table.differences[0], knees))
    assert np.mean(found, axis=0) == pytest.approx([0.01, 0.08, 0.06, 529, 0.3], rel=0.15)


def test_small_networks_are_trained_and_need_no_wider_interval():
    random = np.random.default_rng(0)
    rows = coverage.learnt_rows([simulation.train_small(random) for _ in range(60)], parts="trained")
    corrected = rows[0]
    assert corrected["interval"] == "trainings, corrected" and corrected["coverage_settings"] >= 93
    assert corrected["correlation"] < 0.2 and corrected["coverage_settings"] > rows[2]["coverage_settings"]


def test_the_recorded_coverage_reaches_what_the_tables_promise():
    table = pd.read_csv(paths.RESULTS / "interval_coverage.csv")
    own = table[table["interval"] == "trainings, corrected"].set_index(["parts", "correlation"])
    for weights in ("last epoch", "EMA"):
        row = own.loc[(weights, 0.2)]
        assert 93 <= row["coverage_settings"] <= 97
        assert row["family_wise"] <= 5 + row["family_wise_within"]


def test_the_figure_of_coverage_has_a_line_for_each_interval():
    style.use_style()
    figure = result_figures.interval_coverage(pd.read_csv(paths.RESULTS / "interval_coverage.csv"))
    assert isinstance(figure, Figure)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(coverage.INTERVALS) <= set(labels)
    assert [axes.get_ylim()[1] <= 105 for axes in figure.axes] == [True, True]


def test_seeds_of_one_fold_resolve_nothing():
    """However well they agree: how much folds differ is not seen."""
    random = np.random.default_rng(0)
    errors, subjects = random.normal(0, 0.01, (40, 1)), np.arange(40)
    training = np.repeat([0, 1], 20)
    one = comparisons.both_intervals(errors - 1, errors, subjects, [0] * 40, training, 0.25)
    two = comparisons.both_intervals(errors - 1, errors, subjects, training, training, 0.25)
    assert one["trainings"] == two["trainings"] == 2 and np.isnan(one["p"]) and two["p"] < 0.05
    assert comparisons.verdict({**one, "p_holm": np.nan}) == "not resolved: one fold"
