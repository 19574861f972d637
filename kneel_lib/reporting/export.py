"""Tables as files: csv as it is, and rounded as Markdown and LaTeX."""

from pathlib import Path

import pandas as pd

from kneel_lib.files import write_text, write_whole

COUNTS = ("folds", "seeds", "knees", "epochs", "trainings", "missed", "doubted")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A table as csv, written whole or not at all."""
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.3f"))


def export(table: pd.DataFrame, folder: Path | str, name: str) -> list[Path]:
    """The table as csv, markdown and LaTeX under `folder`; returns the three paths.
    Missing cells stay empty."""
    flat = table.copy()
    if isinstance(flat.columns, pd.MultiIndex):
        flat.columns = [": ".join(part for part in column if part) for column in flat.columns]
    text = as_text(flat)
    written = {"csv": text.to_csv(index=False), "md": markdown(text), "tex": latex(text)}
    files = []
    for ending, content in written.items():
        files.append(Path(folder) / f"{name}.{ending}")
        write_text(files[-1], content)
    return files


def as_text(table: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """The table with every cell as text: percentages to `digits` places, millimetres (*_mm) to one more,
    counts (`COUNTS`) whole, missing ones empty."""

    def column_as_text(column: pd.Series) -> pd.Series:
        name = str(column.name[-1] if isinstance(column.name, tuple) else column.name).split(": ")[-1]
        places = 0 if name in COUNTS else digits + name.endswith("_mm")
        return column.map(
            lambda value: value if isinstance(value, str) else "" if pd.isna(value) else f"{value:.{places}f}"
        )

    return table.apply(column_as_text).astype(object)


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as a markdown table."""
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def latex(table: pd.DataFrame) -> str:
    """A table of texts as a LaTeX tabular (needs booktabs)."""
    shown = table.style.hide().format(escape="latex").format_index(escape="latex", axis="columns")
    columns = "l" + "r" * (len(table.columns) - 1)
    return shown.to_latex(hrules=True, column_format=columns).replace("α", r"$\alpha$")
