"""The recorded results in the pages README.md, results/README.md, notebooks/paper_vs_code.md and
docs/what_the_numbers_show.md."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kneel_lib.data.folds import FOLDS
from kneel_lib.errors import KneelError
from kneel_lib.experiment.provenance import SEVERAL, is_clean
from kneel_lib.experiment.spec import SIMULATED
from kneel_lib.files import write_text
from kneel_lib.reporting import comparisons, selection, tables
from kneel_lib.reporting.export import markdown
from kneel_lib.reporting.statistics import LEVEL

KEY_ROWS = (
    *(("native", name) for name in ("mean_shape", "aam_igo", "clm_igo", "rfrv_clm")),
    *(
        ("study", name)
        for name in (
            *("l2", "l1", "robust", "elastic", "wing", "wing_nowd"),
            *("mixup_0.75_nowd", "nodropout", "finetune"),
        )
    ),
    ("native", "best"),
    ("native", "best_normalised"),
)
"""(profile, row) of the first table of results/README.md, on the final labels, in its order;
two below it have all rows."""

KEY_ROWS_NO_TRUTH = ("native", "rfrv_clm"), ("native", "best"), ("native", "best_normalised")

EVERY_ROW = (
    "## Every recorded row on the final labels\n\nBeside three rows of the paper; columns as above. "
    'Rows that say "no truth used" are shown where they have all five folds.'
)

ON_OLDER_LABELS = (
    "## On the older labels\n\nTrained on and judged by the older table of labels "
    f"(`{selection.STUDY}`, [chapter 12](../notebooks/12_whose_truth.ipynb)), Table 1 with 20 epochs. "
    "The final labels are a truer ruler: with as many epochs (`long`, `native`) a smaller error by them is "
    "no better network; at `study` rows on the final labels were trained three times as long, too."
)

LABELS = selection.FINAL_LABELS, selection.STUDY
"""The tables of labels whose rows the pages show, in their order."""

MARKS = "<!-- results: written by make report -->", "<!-- end of results -->"


def build_pages(written: dict[str, pd.DataFrame], root: Path) -> list[Path]:
    """The results in the pages under `root`, from the tables that were `written`; returns the pages."""
    summary, no_truth, settled = (written[name] for name in (tables.SUMMARY, tables.NO_TRUTH, tables.SETTLED))
    sentences = [
        cost_sentence(written["no_truth_cost.csv"]),
        simulated_sentence(written["sim_to_real.csv"]),
        label_sentence(written["label_efficiency.csv"]),
        roi_sentence(written["roi_localisation.csv"]),
        test_set_markdown(written["table2.csv"]),
    ]
    first = choose_rows(summary, KEY_ROWS), choose_rows(no_truth, KEY_ROWS_NO_TRUTH)
    whole = no_truth[no_truth["folds"] == FOLDS]
    pages = {
        "README.md": [headline_markdown(summary, settled, no_truth)],
        "results/README.md": [
            results_markdown(*first, settled, selection.FINAL_LABELS),
            *sentences,
            EVERY_ROW,
            results_markdown(summary, whole, settled, selection.FINAL_LABELS),
            ON_OLDER_LABELS,
            results_markdown(summary, whole, settled, selection.STUDY),
        ],
        "notebooks/paper_vs_code.md": [ablation_markdown(written["ablations.csv"])],
        "docs/what_the_numbers_show.md": [
            origin_sentence(summary),
            resolved_sentence(written["ablations.csv"]),
            regulariser_markdown(written["ablations.csv"]),
        ],
    }
    for name, parts in pages.items():
        write_between_marks(root / name, parts)
    return [root / name for name in pages]


def choose_rows(table: pd.DataFrame, chosen: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The rows of a table, those among the chosen (profile, row) and in their order."""
    places: Any = [
        chosen.index(key) if key in chosen else None for key in zip(table["profile"], table["setting"])
    ]
    return table.assign(place=places).dropna(subset="place").sort_values("place").drop(columns="place")


def headline_markdown(summary: pd.DataFrame, settled: pd.DataFrame, no_truth: pd.DataFrame) -> str:
    """The README's few numbers: the paper's best row beside the same row and `best` here;
    PCK in %, MRE in mm."""
    paper = selection.paper_table().set_index("setting").loc["finetune"]
    lines = [
        "| row | knees | PCK @ 2.5 mm, % | MRE, mm | commit |",
        "|---|---|---|---|---|",
        f"| the paper's best row | paper: OAI, 748 knees, 5 folds | {paper['pck_2.5']:.1f} | - | - |",
    ]
    for table, key, label in (
        (settled, ("study", "finetune"), "the same row here, 128 px, EMA weights"),
        (summary, ("native", "best"), "our `best`, the crops' own pixels"),
        (no_truth, ("native", "best_normalised"), "`predict`'s row, no truth used"),
    ):
        rows = choose_rows(table[table["cohort"] == selection.FINAL_LABELS], (key,))
        lines += [
            f"| {label} | real crops, {row.knees} knees, {row.folds} folds | {pck:.1f} | {row.mre_mm:.2f} "
            f"| {row.commit} |"
            for row, pck in zip(rows.itertuples(), rows["pck_2.5"])
        ]
    return "\n".join(lines)


def results_markdown(
    summary: pd.DataFrame, no_truth: pd.DataFrame, settled: pd.DataFrame, labels: str
) -> str:
    """A page's results table: real crops, under the labels of this cohort, beside the paper, each labelled.

    summary, no_truth: the rows to show, with the ROI from the truth and without. settled: the summary of
    `selection.with_ema`, whose MRE stands beside that of the last epoch.
    """
    paper, keys = selection.paper_table().set_index("setting"), ["cohort", "profile", "setting"]
    averaged = settled.set_index(keys)["mre_mm"]
    lines = [
        "| row | knees | PCK @ 1 / 1.5 / 2 / 2.5 mm, % | knees with an outlier, % | MRE, mm | median, mm | "
        "MRE with EMA weights, mm | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ("clm_igo", "wing", "finetune"):
        row = paper.loc[name]
        lines.append(
            f"| {row['label']} | paper: OAI, 748 knees, 5 folds | {numbers(row)} | {row['out']:.1f} | - | - "
            "| - | - |"
        )
    for table, note in ((summary, ""), (no_truth, ", no truth used")):
        for _, row in table[table["cohort"] == labels].iterrows():
            folds = f"{row['folds']} folds" if row["folds"] > 1 else "1 fold"
            epochs = f", {row['epochs']} epochs" if row["epochs"] > 1 else ""
            with_ema = averaged.get(tuple(row[keys])) if table is summary else None
            lines.append(
                f"| {tables.own_label(row['setting'])}{note} | real crops, {row['knees']} knees, {folds}, "
                f"seeds: {row['seeds']}, profile {row['profile']}{epochs} | {numbers(row)} | "
                f"{row['out']:.1f} | {row['mre_mm']:.2f} | {row['median_mm']:.2f} | "
                f"{'-' if with_ema in (None, row['mre_mm']) else f'{with_ema:.2f}'} | {row['commit']} |"
            )
    return "\n".join(lines)


def cost_sentence(cost: pd.DataFrame) -> str:
    """What the setting `best` loses without the truth, with its interval, for results/README.md."""
    rows = cost[(cost["setting"] == "best") & (cost["cohort"] == selection.FINAL_LABELS)]
    parts = [
        f"{row.mre_growth_mm:+.3f} mm (95 % {row.low:+.3f} to {row.high:+.3f}) at profile {row.profile}"
        for row in rows.itertuples()
    ]
    return (
        f"Without the truth the MRE of `best` changes by {'; '.join(parts)}, paired by knee." if parts else ""
    )


def simulated_sentence(table: pd.DataFrame) -> str:
    """What simulated knees alone teach about real ones, for results/README.md."""
    table, parts = table[table["trained_on"] == SIMULATED], []
    for (labels, name, profile), rows in table.groupby(["tested_on", "setting", "profile"]):
        parts.append(
            f"`{name}` at {profile}, labels `{labels}`, {rows['mre_mm'].mean():.2f} mm and "
            f"{rows['strict_2.5_all16'].mean():.1f} % (seeds: {rows['seed'].nunique()})"
        )
    return (
        "**Trained on simulated knees alone, tried on the 529 real ones** (mean over seeds; "
        f"MRE and strict PCK @ 2.5 mm over all 16 landmarks): {'; '.join(parts)}."
        if parts
        else ""
    )


def label_sentence(table: pd.DataFrame) -> str:
    """How far few real labels go from each start, for results/README.md."""
    parts, table = [], table[table["recipe"] == "best"]
    for (cohort, profile, labels), rows in table.groupby(["cohort", "profile", "labels"]):
        errors = rows.pivot_table(index=["fold", "seed"], columns="start", values="mre_mm")
        alike = errors.reindex(
            columns=["scratch", "low_cost", "simulated"]
        ).dropna()  # runs on a fold with a seed that each start has
        if len(alike):
            means = alike.mean()
            parts.append(
                f"{labels} ({cohort}, {profile}, trainings: {len(alike)}): "
                f"{means['scratch']:.2f}, {means['low_cost']:.2f} and {means['simulated']:.2f}"
            )
    return (
        "**Labelled real knees: MRE in mm from scratch, from low-cost labels (the tibial centre alone) and "
        f"after simulated knees** (`best`, the same folds and seeds for each): {'; '.join(parts)}."
        if parts
        else ""
    )


def roi_sentence(table: pd.DataFrame) -> str:
    """ROI localisation beside the paper's, for results/README.md."""
    parts = [
        f"{row['cohort']} ({row['folds']} of 5 folds, {row['knees']} knees, profile {row['profile']}) "
        f"{numbers(row)} %, {row['out']:.2f} % out, worst {row['worst_mm']:.1f} mm"
        for _, row in table.iterrows()
    ]
    return (
        "**ROI localisation**, PCK of the tibial centre at 1 / 1.5 / 2 / 2.5 mm (paper: "
        f"26.6 / 50.3 / 66.7 / 79.1 %, 0.13 % out): {'; '.join(parts)}."
        if parts
        else ""
    )


def test_set_markdown(table: pd.DataFrame) -> str:
    """Table 2 beside the paper's, for results/README.md: all knees of each test set."""
    if not len(table):
        return ""
    lines = [
        "**Test sets** (Table 2: PCK of landmarks 0, 4, 8 and 9, 12, 15; "
        "A and B are the paper's own sets in its rows and simulated ones in ours)\n",
        "| test set | pipeline | knees | PCK @ 1 / 1.5 / 2 / 2.5 mm, % | knees with an outlier, % | MRE, mm "
        "|",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['dataset']} (paper) | {row['label']} | paper | {numbers(row)} | {row['out']:.2f} | - |"
        for _, row in selection.paper_table(2).iterrows()
    ]
    for _, row in table[table["oa"] == "all"].iterrows():
        origin = "simulated" if row["trained_on"] == "simulated" else f"real, labels {row['trained_on']}"
        lines.append(
            f"| {row['dataset']} ({origin}) | {row['method']} | {row['knees']}, profile {row['profile']}, "
            f"models: {row['folds']} | {numbers(row)} | {row['out']:.2f} | {row['mre_mm']:.2f} |"
        )
    return "\n".join(lines)


def ablation_markdown(table: pd.DataFrame) -> str:
    """What each ablation does on real knees (`comparisons.effects`) as markdown:
    with EMA weights where there are any, and below these rows once more after the last epoch."""
    shown = (
        comparisons.effects(table[table["cohort"].isin(LABELS)])
        .rename(columns={"setting": "row", "cohort": "labels"})
        .sort_values("labels", key=lambda names: names.map(LABELS.index), kind="stable")
    )
    keys = ["row", "labels", "profile"]
    averaged = shown["weights"] == "EMA"
    again = ~averaged & shown.set_index(keys).index.isin(shown[averaged].set_index(keys).index)
    quoted = shown.assign(
        **{name: [f"`{row}`" for row in shown[name]] for name in ("row", "against")}
    ).astype(str)
    parts = [markdown(quoted[~again])]
    return "\n".join(
        [*parts, "### The same rows after the last epoch\n", markdown(quoted[again])]
        if again.any()
        else parts
    )


def origin_sentence(summary: pd.DataFrame) -> str:
    """How many rows come from one commit without changes, for docs/what_the_numbers_show.md."""
    clean = summary["commit"].map(is_clean)
    several = (summary["commit"] == SEVERAL).sum()
    whole = summary[clean & (summary["folds"] == FOLDS)]
    return (
        f"Of the {len(summary)} rows in `results/table1.csv` **{clean.sum()} come from one commit without "
        f"changes**, {len(whole)} of these with all five folds. {several} mix commits, and "
        f"{len(summary) - clean.sum() - several} come from one tree with changes that were not committed."
    )


def resolved_sentence(table: pd.DataFrame) -> str:
    """How many of the ablations on five folds can be told from none, for docs/what_the_numbers_show.md."""
    parts = []
    for labels in LABELS:
        rows = five_folds(table, labels)
        if rows.empty:
            continue
        resolved, least = (rows["p_holm"] <= LEVEL).sum(), rows["detectable"]
        parts.append(
            f"of the {len(rows)} ablations with labels `{labels}` **{resolved} can be told from none** (the "
            f"least difference in MRE that could have been told is {least.median():.3f} mm in the median, "
            f"{least.min():.3f} to {least.max():.3f})"
        )
    return (
        f"At profile {selection.TABLE1_PROFILE}, on five folds, each with EMA weights if it has any: "
        f"{'; '.join(parts)}. Below are all that are about a regulariser, at every profile."
    )


def five_folds(table: pd.DataFrame, labels: str) -> pd.DataFrame:
    """Of the ablations under these labels those in MRE at the profile of Table 1 that have five trainings or
    more, each once: with EMA weights where there are any."""
    place = (table["cohort"] == labels) & (table["profile"] == selection.TABLE1_PROFILE)
    rows = table[place & (table["quantity"] == "mre_mm") & (table["trainings"] >= FOLDS)]
    return rows.sort_values("weights").drop_duplicates("setting").sort_index()


REGULARISERS = "mixup_alpha", "mixup", "weight_decay", "dropout", "cutout", "jitter_mm"
"""Fields of a setting about which a claim depends on how long was trained."""


def regulariser_markdown(table: pd.DataFrame) -> str:
    """What each regulariser does (`comparisons.effects`) on real knees, with the labels and the epochs that
    it was tried with."""
    real = table["cohort"].isin(LABELS)
    shown = comparisons.effects(table[real & table["ablation"].str.split().str[0].isin(REGULARISERS)])
    columns = "ablation setting against cohort profile weights epochs trainings".split()
    named = {"setting": "row", "cohort": "labels"}
    return markdown(shown[[*columns, "MRE, mm", "resolved"]].rename(columns=named).astype(str))


def write_between_marks(path: Path, parts: Iterable[str], marks: tuple[str, str] = MARKS) -> None:
    """Put the parts, those that are not empty, between the marks of a markdown file."""
    start, end = marks
    text = path.read_text()
    if start not in text or end not in text:
        raise KneelError(f"{path} has lost the marks '{start}' and '{end}' between which the results go")
    inside = "\n\n".join(filter(None, parts))
    text = re.sub(
        re.escape(start) + ".*?" + re.escape(end),
        lambda _: f"{start}\n{inside}\n{end}",
        text,
        flags=re.DOTALL,
    )
    write_text(path, text)


def numbers(row: Any) -> str:
    return " / ".join(f"{row[name]:.1f}" for name in tables.PAPER_METRICS)
