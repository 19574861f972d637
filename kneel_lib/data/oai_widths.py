"""The OAI's own table of joint-space widths, kxr_qjsw_duryea, as a user with an account has it; nothing of it
ships with this project.

It is a text with | between its columns: ID, SIDE (1 right, 2 left), READPRJ (which reading project), and for
each visit, by the prefix of its columns (V00 baseline), the least medial width (MCMJSW) and widths at fixed
places, medial (JSW150 to JSW300) and lateral (LJSW700 to LJSW900), in mm. The OAI's places are those of its
readers' own coordinate system, ours are shares of the tibial plateau between its landmarks, so the two agree
in what they mean and not to the last tenth of a millimetre.
"""

from pathlib import Path

import pandas as pd

from kneel_lib.errors import KneelError
from kneel_lib.files import last_line

WIDTHS = {"MCMJSW": "medial_jsw_min"}
WIDTHS |= {f"JSW{x}": f"medial_jsw_{x / 1000:.3f}" for x in range(150, 301, 25)}
WIDTHS |= {f"LJSW{x}": f"lateral_jsw_{x / 1000:.3f}" for x in range(700, 901, 25)}
"""{name of a column without the visit's prefix: the measurement of ours that is nearest to it}."""

SIDES = {"1": "R", "2": "L"}
LEAST_MM, GREATEST_MM = 0.0, 20.0
"""Outside, a width is a code for a missing one."""


def read_widths(path: Path | str, visit: str = "00") -> pd.DataFrame:
    """A row a knee: subject_id, side, and the widths of one visit in mm under the names of `measurements`,
    NaN where there is none; the mean where a knee was read more than once.

    visit: as in the columns' names, "00" for baseline. Raises `KneelError` for a file that is none, or that
    has no widths of this visit.
    """
    table = read_text(path)
    table.columns = [str(name).strip().upper() for name in table.columns]
    names = {f"V{visit}{name}": ours for name, ours in WIDTHS.items()}
    lacking = [name for name in ("ID", "SIDE") if name not in table]
    held = [name for name in names if name in table]
    if lacking or not held:
        said = f"no column {lacking[0]}" if lacking else f"no widths of visit {visit} (V{visit}MCMJSW)"
        raise KneelError(f"{path} has {said}: give the OAI's kxr_qjsw_duryea{visit}.txt")
    sides = table["SIDE"].str.strip().str[:1].map(SIDES)
    if sides.isna().any():
        row = int(sides.isna().to_numpy().argmax())
        raise KneelError(f"{path}, line {row + 2}: side '{table['SIDE'].iloc[row]}' is neither 1 nor 2")
    widths = table[held].apply(pd.to_numeric, errors="coerce").rename(columns=names)
    widths = widths.where((widths >= LEAST_MM) & (widths <= GREATEST_MM))
    knees = pd.DataFrame({"subject_id": table["ID"].str.strip(), "side": sides}).join(widths)
    return knees.groupby(["subject_id", "side"], as_index=False).mean()


def read_text(path: Path | str) -> pd.DataFrame:
    """The table as text, whatever stands between its columns: |, a comma or a tab."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            heading = file.readline()
        between = max("|,\t", key=heading.count)
        return pd.read_csv(path, sep=between, dtype=str, keep_default_na=False, encoding_errors="replace")
    except (OSError, ValueError) as error:
        raise KneelError(f"{path} cannot be read as a table ({last_line(error)})") from None
