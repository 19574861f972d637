"""The recorded results: every table and curve under results/ and figures/, re-made from the recorded runs
alone."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kneel_lib import metrics, paths
from kneel_lib.data.folds import FOLDS
from kneel_lib.errors import KneelError
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.store import Run, errors_of, recorded_runs
from kneel_lib.figures import network as network_figures
from kneel_lib.figures import results as result_figures
from kneel_lib.figures import style
from kneel_lib.figures.baselines import final_against_initial
from kneel_lib.figures.data import numbered_landmarks
from kneel_lib.files import sweep
from kneel_lib.reporting import comparisons, label_tables, pipeline_tables, selection, tables
from kneel_lib.reporting.ensembles import ensemble_table
from kneel_lib.reporting.export import write_table
from kneel_lib.reporting.lengths import length_table
from kneel_lib.reporting.pages import build_pages
from kneel_lib.reporting.sizes import SIZES, rate_table, size_table

DISPLACED = ("mean_shape", "aam_igo", "aam_lbp", "clm_igo", "clm_lbp", "rfrv_clm", "wing", "best")
"""Rows whose final error is drawn over the displacement of the ROI."""

ROWS_A_FIGURE = 12
"""As many as one can read in a figure of intervals; the paper's rows come first."""


def build_report(root: Path = paths.ROOT) -> list[Path]:
    """From the recorded runs write the tables of `results/`, the curves of `figures/`, and the results in the
    pages README.md, results/README.md, notebooks/paper_vs_code.md and docs/what_the_numbers_show.md.

    root: the folder that these lie in; the pages are there already. Returns the files that were written.
    Needs neither images nor training.
    """
    sweep(root, below=False)
    for name in ("results", "figures", "notebooks", "docs"):
        sweep(root / name)
    recorded = recorded_runs()
    if not recorded:
        raise KneelError(
            f"no recorded runs under {paths.RESULTS / 'runs'}: "
            "`python -m kneel_lib record` puts finished runs there"
        )
    written = build_tables(recorded)
    for name, table in written.items():
        write_table(table, root / "results" / name)
    return (
        [root / "results" / name for name in written]
        + build_figures(recorded, written, root / "figures")
        + build_pages(written, root)
    )


def build_tables(recorded: list[Run]) -> dict[str, pd.DataFrame]:
    """{file name under results/: table}, all that is made from the recorded runs."""
    both = {
        name: selection.by_weights(make, recorded)
        for name, make in {
            "comparisons.csv": comparisons.comparison_table,
            "comparisons_by_group.csv": comparisons.comparison_by_group,
            "ablations.csv": comparisons.ablation_table,
            "seeds.csv": tables.seed_table,
            "label_efficiency.csv": label_tables.label_table,
            "label_comparisons.csv": comparisons.label_comparisons,
            "epochs.csv": length_table,
        }.items()
    }
    once = {
        name: make(recorded)
        for name, make in {
            "intervals.csv": tables.interval_table,
            "no_truth_cost.csv": tables.cost_without_truth,
            "sim_to_real.csv": label_tables.sim_to_real_table,
            "comparisons_unlike.csv": comparisons.unlike_pairs,
            "picked.csv": tables.picked_table,
            "ensembles.csv": ensemble_table,
            "displaced.csv": tables.by_displacement,
            "roi_localisation.csv": pipeline_tables.roi_table,
            "training_rates.csv": rate_table,
            "rank_correlation.csv": tables.rank_table,
        }.items()
    }
    sizes = {name: size_table(recorded, profiles) for name, profiles in SIZES.items()}
    return (
        both
        | once
        | sizes
        | {
            tables.SUMMARY: beside_outlines(tables.summary_table(recorded), "last epoch"),
            tables.SETTLED: beside_outlines(tables.summary_table(selection.with_ema(recorded)), "EMA"),
            "table2.csv": tables.with_outline_errors(
                pipeline_tables.test_set_table(recorded),
                pd.read_csv(paths.RESULTS / "error_split_test_sets.csv"),
                ["dataset", "method", "oa", "trained_on", "profile"],
            ),
            tables.NO_TRUTH: tables.summary_table(recorded, roi="image"),
            "intervals_no_truth.csv": tables.interval_table(recorded, roi="image"),
        }
    )


def beside_outlines(summary: pd.DataFrame, weights: str) -> pd.DataFrame:
    """A `summary_table` with the columns of `with_outline_errors`, of these weights."""
    split = pd.read_csv(paths.RESULTS / "error_split.csv", dtype={"landmark": str, "kl": str})
    whole = split[(split["landmark"] == "all") & (split["kl"] == "all") & (split["weights"] == weights)]
    keys = ["setting", "cohort", "profile", "folds", "seeds", "knees"]
    return tables.with_outline_errors(summary, whole, keys)


def recorded_groups(recorded: list[Run], setting: str, labels: str = selection.FINAL_LABELS) -> list[Run]:
    """The runs of one setting on real knees, under these labels, at the profile with the finest pixels among
    those that have all folds."""
    groups = [
        group
        for key, group in selection.group_runs(recorded).items()
        if key[0] == labels and key[2] == setting
    ]
    complete = [group for group in groups if len({run.spec.held_out for run in group}) == FOLDS]
    return min(complete or groups, key=lambda group: group[0].spec.profile.spacing_mm, default=[])


def build_figures(recorded: list[Run], written: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """The recorded curves, under `folder`, from the runs and the tables that were `written`, and the map of
    the landmarks; returns the PNG paths."""
    style.use_style()
    best = recorded_groups(recorded, "best")
    saved = []

    def save(name: str, figure: Figure, table: pd.DataFrame | None, prefix: str = "recorded_") -> None:
        saved.append(style.save_figure(figure, prefix + name, folder, table))
        plt.close(figure)

    if best:
        predictions = selection.pooled_predictions(best)
        save("cumulative", *cumulative_figure(recorded))
        errors, subjects = errors_of(predictions), predictions["subject_id"]
        save("by_landmark", *result_figures.errors_by_landmark(errors, subjects))
        save("by_grade", result_figures.errors_by_grade(grades := tables.by_grade(best)), grades)
        histories = {f"fold {run.spec.held_out}": run.history for run in best}
        save("training", *network_figures.training_curves(histories))
    rows = real_rows(tables.interval_table(selection.with_ema(recorded)))
    if len(rows):
        labels = {name: setting.label for name, setting in SETTINGS.items() if name in set(rows["setting"])}
        paper = selection.paper_table()
        known = sorted(labels, key=lambda name: name not in set(paper["setting"]))
        for part in range(0, len(known), ROWS_A_FIGURE):
            chosen = {name: labels[name] for name in known[part : part + ROWS_A_FIGURE]}
            name = f"rows{f'_{part // ROWS_A_FIGURE + 1}' if part else ''}"
            save(name, result_figures.forest_plot(rows, paper, chosen), None if part else rows)
    groups = real_rows(written["comparisons_by_group.csv"])
    groups = groups[groups["weights"] == "EMA"]
    if len(groups):
        labelled = tables.row_labels(groups["setting"].unique())
        save("groups", result_figures.difference_matrix(groups, labelled), groups)
    for name, draw, table in (
        ("labels", result_figures.label_curve, written["label_efficiency.csv"]),
        ("displaced", final_against_initial, displaced_rows(recorded)),
    ):
        if len(table):
            save(name, draw(table), table)
    save("landmarks", numbered_landmarks(), None, prefix="")
    return saved


def displaced_rows(recorded: list[Run]) -> pd.DataFrame:
    """`tables.by_displacement` on real knees, one profile a row:
    the finest one that was tried in displaced ROIs."""
    moved = [run for run in recorded if len(run.chosen("displaced"))]
    return tables.by_displacement([run for name in DISPLACED for run in recorded_groups(moved, name)])


def real_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Of a table with cohort and profile the rows on real knees at the profile of Table 1."""
    return table[(table["cohort"] == selection.STUDY) & (table["profile"] == selection.TABLE1_PROFILE)]


def cumulative_figure(recorded: list[Run]) -> tuple[Figure, pd.DataFrame]:
    """PCK over the distance: `predict`'s row, a voting forest and the mean shape on the final labels, `best`
    on the older ones, the paper's best and plain row beside."""
    lines = {}
    for setting, roi, labels, label in (
        ("best_normalised", "image", selection.FINAL_LABELS, "predict's row, no truth used"),
        ("rfrv_clm", "truth", selection.FINAL_LABELS, "RFRV-CLM"),
        ("best", "truth", selection.STUDY, "best, older labels"),
        ("mean_shape", "truth", selection.FINAL_LABELS, "mean shape"),
    ):
        group = recorded_groups(recorded, setting, labels)
        if group:
            predictions = selection.pooled_predictions(group, roi)
            lines[f"real crops: {label}"] = errors_of(predictions), predictions["subject_id"]
    paper = selection.paper_table().set_index("setting")
    points = {
        f"paper: {paper['label'][name].split(' + ')[0]}{note}": {
            r: paper[f"pck_{r:g}"][name] for r in metrics.THRESHOLDS_MM
        }
        for name, note in (("wing", ""), ("finetune", ", fine-tuned"))
    }
    return result_figures.cumulative_errors(lines, points)
