"""Public knee crops that have a Kellgren-Lawrence grade and no landmarks: those of subjects whom the
annotation does not know, so that no network of this study has seen them."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from kneel_lib import paths
from kneel_lib.data.crops import read_registration
from kneel_lib.errors import KneelError

FOLDERS = ("oai_crops_unlabelled", "oai_crops")
"""Where below the downloads' folder such crops may lie, each as <split>/<grade>/<subject><side>.png."""

SPLITS = ("train", "val")
NAME = re.compile(r"(?P<subject_id>\d{1,18})(?P<side>[LR])\.png")

PUBLISHED = {0: 2614, 1: 1199, 2: 1728, 3: 863, 4: 200}
"""{grade: knees} of the splits train and val of the whole published set, 6,604 knees: the numbers of files in
the archive's folders."""


def find_graded(folder: Path | str | None = None) -> pd.DataFrame:
    """A row a knee, sorted by subject and side: subject_id, side, kl, split, path; of subjects without a
    labelled knee only.

    folder: where the downloads are (default: `paths.downloads()`). Raises `KneelError` where there is none.
    """
    folder = Path(folder or paths.downloads())
    known = labelled_subjects()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for below in FOLDERS:
        for path in sorted((folder / below).glob("*/*/*.png")):
            row = described(path)
            if row and row["subject_id"] not in known:
                rows.setdefault((row["subject_id"], row["side"]), row)
    if not rows:
        raise KneelError(
            f"no knee crops of other subjects under {folder}: take more of the folders train and val of the "
            "same archive (data/README.md, Knee crops) and put them under oai_crops_unlabelled/ there"
        )
    return pd.DataFrame([rows[key] for key in sorted(rows)])


def described(path: Path) -> dict[str, Any] | None:
    """What a crop's path says of it; None where it is no such crop."""
    name, (split, kl) = NAME.fullmatch(path.name), path.parts[-3:-1]
    if name is None or split not in SPLITS or kl not in map(str, PUBLISHED):
        return None
    return {**name.groupdict(), "kl": int(kl), "split": split, "path": path}


def labelled_subjects() -> set[str]:
    """The subjects of whom the registration table has a knee, of any split."""
    return {str(subject) for subject in read_registration()["subject_id"]}


def check_unseen(subjects: Collection[str]) -> None:
    """Raise `KneelError` if one of these subjects has a labelled knee, which a network may have seen."""
    seen = sorted(set(subjects) & labelled_subjects())
    if seen:
        raise KneelError(
            f"subject {seen[0]} has a labelled knee ({len(seen)} such subjects): the networks have seen it; "
            "leave these subjects out"
        )
