"""Which width, chosen on labelled knees; and the tables of the study."""

from typing import Any

import pandas as pd

from kneel_lib import paths
from kneel_lib.data.crops import NOMINAL_MM_PER_PX
from kneel_lib.experiment.store import recorded_in
from studies.validity import tables
from studies.validity.answers import MOVED, PLAIN, points_of
from studies.validity.labelled import COHORT, PREDICTED, PROFILE, SETTING, Labelled, annotated, out_of_fold
from studies.validity.widths import NOMINAL, PLATEAU, WIDTHS, at_one_size, width_table

CHOSEN_BY, THRESHOLD = tables.WHOLE_MIX, "KL >= 3"
PLAIN_WIDTH = "least_mm"
"""Column of the width that `measurements` gives, at the nominal spacing: the lesser of the two least ones."""

Scaled = dict[str, pd.DataFrame]


def labelled_widths() -> list[tuple[Labelled, Scaled]]:
    """(labelled knees, their widths by scale): out of fold, and as they were annotated."""
    runs = recorded_in(paths.RESULTS / "runs" / COHORT / PROFILE / f"{SETTING}.parquet")
    return [(found, found.widths()) for found in (out_of_fold(list(runs.values())), annotated())]


def definition_table(labelled: list[tuple[Labelled, Scaled]], draws: int = tables.DRAWS) -> pd.DataFrame:
    """A row a way to place landmarks, scale, definition, threshold and mix of grades: the area under the
    curve on labelled knees."""
    rows = [
        {"landmarks": found.origin, "scale": scale, "definition": name, **row}
        for found, scaled in labelled
        for scale, widths in scaled.items()
        for name in WIDTHS
        for row in tables.auc_rows(found.knees, widths[name], draws)
    ]
    return pd.DataFrame(rows).drop(columns="what")


def best(definitions: pd.DataFrame) -> tuple[str, str]:
    """(definition, scale) with the greatest area under the curve out of fold; of the scales that need no
    truth."""
    rows = definitions[
        (definitions["landmarks"] == PREDICTED)
        & definitions["scale"].isin([NOMINAL, PLATEAU])
        & (definitions["mix"] == CHOSEN_BY)
        & (definitions["group"] == THRESHOLD)
    ]
    row = rows.nlargest(1, "value").iloc[0]
    return str(row["definition"]), str(row["scale"])


def knee_table(answers: pd.DataFrame, definition: str, scale: str) -> pd.DataFrame:
    """A row a knee: subject_id, side, kl, split, trusted, doubts; PLAIN_WIDTH, medial_mm and lateral_mm at
    the nominal spacing, width_mm as chosen, plateau_mm; PLAIN_WIDTH and width_mm from the second view too
    (moved_*), NaN where there is none."""
    views = {view: answers[answers["view"] == view].reset_index(drop=True) for view in (PLAIN, MOVED)}
    parts = {view: widths_of(rows, definition, scale) for view, rows in views.items()}
    about = views[PLAIN][["subject_id", "side", "kl", "split", "trusted", "doubts"]]
    first = about.join(parts[PLAIN])
    second = views[MOVED][tables.KNEE].join(parts[MOVED][[PLAIN_WIDTH, "width_mm"]].add_prefix("moved_"))
    return first.merge(second, on=tables.KNEE, how="left", validate="one_to_one").round(4)


def widths_of(rows: pd.DataFrame, definition: str, scale: str) -> pd.DataFrame:
    """The widths that `knee_table` keeps, a row an answer."""
    nominal = width_table(points_of(rows), NOMINAL_MM_PER_PX)
    scaled = {NOMINAL: nominal, PLATEAU: at_one_size(nominal)}[scale]
    return pd.DataFrame(
        {
            PLAIN_WIDTH: nominal["least"],
            "medial_mm": nominal["medial"],
            "lateral_mm": nominal["lateral"],
            "width_mm": scaled[definition],
            "plateau_mm": nominal["plateau"],
        }
    )


def validity_table(
    knees: pd.DataFrame,
    labelled: list[tuple[Labelled, Scaled]],
    definition: str,
    scale: str,
    draws: int = tables.DRAWS,
) -> pd.DataFrame:
    """Everything that is said of the chosen width, and of the plain one: a row a sample, width and number."""
    names = {"width_mm": f"{definition}, {scale}", PLAIN_WIDTH: f"least, {NOMINAL}"}
    rows = []
    for column, name in names.items():
        about = {"sample": "unlabelled", "width": name, "chosen": column == "width_mm"}
        said = [
            *tables.grade_rows(knees, knees[column]),
            *tables.auc_rows(knees, knees[column], draws),
            *tables.side_rows(knees, knees[column]),
            *tables.repeat_rows(knees, knees[column], knees[f"moved_{column}"]),
        ]
        rows += [about | {"mix": tables.SAMPLE_MIX} | row for row in said]
    trusted = knees[knees["trusted"]].reset_index(drop=True)
    about = {"sample": "unlabelled, trusted", "width": names["width_mm"], "chosen": True}
    rows += [about | row for row in tables.auc_rows(trusted, trusted["width_mm"], draws)]
    for found, scaled in labelled:
        rows += labelled_rows(found, scaled[scale][definition], names["width_mm"], draws)
    return pd.DataFrame(rows)


def labelled_rows(found: Labelled, width: pd.Series, name: str, draws: int) -> list[dict[str, Any]]:
    """The labelled knees, on which the width was chosen: for comparison, not a second opinion."""
    about = {"sample": f"labelled, {found.origin}", "width": name, "chosen": True}
    said = [*tables.grade_rows(found.knees, width), *tables.auc_rows(found.knees, width, draws)]
    return [about | {"mix": tables.SAMPLE_MIX} | row for row in said]
