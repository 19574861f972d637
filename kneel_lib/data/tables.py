"""Tables that somebody else wrote, or that lay on a disk: a csv is read as text and held against one schema a
table, so that a message names file, line, column, value and what is allowed.

A `Schema` is data. A column is held against it as a whole; pandera names the cells of one that is not sound,
and is imported then.
"""

import csv
import io
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.data.cohort import SPLITS
from kneel_lib.data.subjects import names_a_subject
from kneel_lib.errors import KneelError
from kneel_lib.files import last_line

MOST_BYTES = 256 * 2**20
"""No table of this study comes near it; what is larger is not read into memory."""

SHOWN = 60
"""As many characters of a wrong value are shown."""

WHOLE, NUMBER, TEXT = "int64", "float64", "str"
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Rule:
    """What a column holds. kind: WHOLE, NUMBER or TEXT, which its text is turned into. allowed: said to who
    wrote something else. holds: (values) -> booleans. empty: cells may be empty. required: the column must be
    there."""

    kind: str
    allowed: str
    holds: Callable[[pd.Series], Any]
    empty: bool = False
    required: bool = True


@dataclass(frozen=True)
class Schema:
    """The columns of a table that somebody reads; it may have others. unique: columns that name a row. rows:
    how many there must be (None: one at least). where: what to do about a wrong table."""

    columns: Mapping[str, Rule]
    unique: tuple[str, ...] = ()
    rows: int | None = None
    where: str = "data/README.md says where to get it"


def one_of(*names: str, **how: bool) -> Rule:
    """One of these words."""
    return Rule(TEXT, " or ".join((", ".join(names[:-1]), names[-1])), lambda cells: cells.isin(names), **how)


def whole(low: int, high: int, **how: bool) -> Rule:
    """A whole number between two, both allowed."""
    return Rule(
        WHOLE,
        f"a whole number from {low} to {high}",
        lambda cells: cells.between(low, high) & (cells % 1 == 0),
        **how,
    )


def number(low: float, high: float, **how: bool) -> Rule:
    """A finite number between two, both allowed."""
    return Rule(NUMBER, f"a number from {low:g} to {high:g}", lambda cells: cells.between(low, high), **how)


def matching(pattern: str, allowed: str, **how: bool) -> Rule:
    """Text that a regular expression matches as a whole."""
    return Rule(TEXT, allowed, lambda cells: cells.str.fullmatch(pattern), **how)


def satisfying(test: Callable[[str], bool], allowed: str, **how: bool) -> Rule:
    """Text of which `test(text)` is true."""
    return Rule(TEXT, allowed, lambda cells: cells.map(test), **how)


SUBJECT = satisfying(
    names_a_subject, "a subject's number or name of letters, digits, blanks and .+-_, 64 at most"
)
SIDE, GRADE = one_of("L", "R"), whole(0, 4)
SPLIT = one_of(*SPLITS)
KNEE = ("subject_id", "side")
PATH = matching(r"[^\x00-\x1f]{1,1000}", "a file's name or path, 1000 characters at most")


def read_table(path: Path | str, schema: Schema) -> pd.DataFrame:
    """The csv as a table, its index the lines that the rows stand on; columns of the schema have its kinds,
    subjects are whole numbers where all are, and other columns numbers where they can be.

    UTF-8 with or without a byte-order mark, any line ends. `KneelError` names file, line, column, value and
    what is allowed, or the column that is missing.
    """
    header, lines, rows = cells_of(path, read_text(path, schema.where))
    table = pd.DataFrame(rows, columns=header, index=pd.Index(lines, name="line"), dtype=object)
    table = held_against(table.replace("", np.nan), schema, path)
    for name in table.columns.difference([*schema.columns]):
        values = pd.to_numeric(table[name], errors="coerce")
        if not (values.isna() & table[name].notna()).any():
            table[name] = values
    return table


def read_text(path: Path | str, where: str) -> str:
    """A file's text, its line ends as "\\n"; `KneelError` where there is none, or it is not UTF-8."""
    path = Path(path)
    try:
        if not path.is_file():
            raise KneelError(f"{path} is not there: {where}")
        if path.stat().st_size > MOST_BYTES:
            raise KneelError(
                f"{path} has {path.stat().st_size / 2**20:.0f} MB, too many for a table: {where}"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KneelError(
            f"{path} is not text in UTF-8 (byte {error.start}): save it in UTF-8, or get it again; {where}"
        ) from None
    except (OSError, ValueError) as error:
        raise KneelError(f"{str(path)[:200]} cannot be read ({last_line(error)[:200]}): {where}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cells_of(path: Path | str, text: str) -> tuple[list[str], list[int], list[list[str]]]:
    """(header, line of each row, its cells) of a csv; every row has as many cells as the header."""
    lines, rows = [], []
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise KneelError(f"{path}, line {reader.line_num}: cannot be read as csv ({error})") from None
    if not rows:
        raise KneelError(f"{path} cannot be read as csv: it is empty")
    header = rows[0]
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise KneelError(f"{path} has the column {said(twice[0])} more than once")
    for line, row in zip(lines, rows):
        if len(row) != len(header):
            raise KneelError(
                f"{path}, line {line}: {len(row)} cells, the header has {len(header)}: the file is cut off, "
                "or a comma is missing or one too many"
            )
    return header, lines[1:], rows[1:]


def held_against(
    table: pd.DataFrame, schema: Schema, place: Path | str, row: str = "line {}"
) -> pd.DataFrame:
    """The table with the columns' kinds as the schema says; `KneelError` for the first cell that it does not
    allow. place: how the table is named. row: how a label of its index is, with a place for each level."""
    for name, rule in schema.columns.items():
        if rule.required and name not in table:
            raise KneelError(f"{place} has no column {name} (it has {', '.join(map(str, table))[:200]})")
    if len(table) != (schema.rows or max(len(table), 1)):
        expected = schema.rows or "at least one"
        raise KneelError(f"{place} has {len(table)} rows, expected {expected}: {schema.where}")
    rules = {name: rule for name, rule in schema.columns.items() if name in table}
    typed = table.assign(**{name: as_kind(table[name], rule.kind) for name, rule in rules.items()})
    failed = failures(typed, rules)
    if len(failed):
        label, name = failed["index"].iloc[0], failed["column"].iloc[0]
        others = f" ({len(failed)} such cells)" if len(failed) > 1 else ""
        raise KneelError(
            f"{place}, {row_name(row, label)}, column {name}: {said(table.loc[label, name])}, allowed is "
            f"{rules[name].allowed}{others}"
        )
    doubled = typed.duplicated([*schema.unique]) if schema.unique else pd.Series(False, typed.index)
    if doubled.any():
        named = ", ".join(said(value) for value in typed.loc[doubled, [*schema.unique]].iloc[0])
        raise KneelError(
            f"{place}, {row_name(row, typed.index[doubled][0])}, columns {', '.join(schema.unique)}: {named} "
            f"stand in an earlier row too, allowed is one row of each ({doubled.sum()} such rows)"
        )
    return finished(typed, rules)


def row_name(row: str, label: Hashable) -> str:
    return row.format(*label) if isinstance(label, tuple) else row.format(label)


def as_kind(cells: pd.Series, kind: str) -> pd.Series:
    """The cells as text, or as numbers of which one that is none is infinite (so no rule allows it)."""
    if kind == TEXT:
        return cells.astype("str")
    if pd.api.types.is_numeric_dtype(cells):
        return cells.astype("float64")
    pattern = INTEGER if kind == WHOLE else DECIMAL
    text = cells.map(str, na_action="ignore")
    sound = text.map(lambda cell: pattern.fullmatch(cell) is not None, na_action="ignore")
    return text.where(cells.isna() | (sound == True), "inf").astype("float64")  # noqa: E712 (NaN is neither)


def sound(cells: pd.Series, rule: Rule) -> bool:
    """Whether a rule allows all cells of a column; which it does not, `failures` says."""
    known = cells.dropna()
    return bool((rule.empty or len(known) == len(cells)) and rule.holds(known).all())


def failures(typed: pd.DataFrame, rules: Mapping[str, Rule]) -> pd.DataFrame:
    """The cells (index, column) that the rules do not allow, in the table's order."""
    if all(sound(typed[name], rule) for name, rule in rules.items()):
        return pd.DataFrame(columns=["index", "column"])
    import pandera.pandas as pandera  # half a second, which who reads sound tables need not wait

    columns = {
        name: pandera.Column(
            TEXT if rule.kind == TEXT else NUMBER,
            pandera.Check(rule.holds, error=rule.allowed),
            nullable=rule.empty,
        )
        for name, rule in rules.items()
    }
    try:
        pandera.DataFrameSchema(columns).validate(typed.reset_index(drop=True), lazy=True)
    except pandera.errors.SchemaErrors as errors:
        found = (
            errors.failure_cases[["index", "column"]].drop_duplicates().sort_values("index", kind="stable")
        )
        return found.assign(index=typed.index[found["index"].astype(int)])
    return pd.DataFrame(columns=["index", "column"])


def finished(typed: pd.DataFrame, rules: Mapping[str, Rule]) -> pd.DataFrame:
    """The checked table with whole numbers where the rules say so, and subjects as whole numbers where all
    are."""
    kinds = {name: WHOLE for name, rule in rules.items() if rule.kind == WHOLE and not rule.empty}
    kinds |= {
        name: WHOLE
        for name, rule in rules.items()
        if rule is SUBJECT and len(typed) and typed[name].str.isdecimal().all()
    }
    return typed.astype(kinds)


def said(value: object) -> str:
    """A value as a message shows it: in quotes, on one line, its middle left out where it is long."""
    if value is None or value is pd.NA or value != value:
        return "an empty cell"
    try:
        text = repr(str(value))
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 4 :]}"
