"""Checking what was downloaded: every file by sha256 against data/checksums.csv."""

import hashlib
from pathlib import Path

import pandas as pd

from kneel_lib import paths
from kneel_lib.data.crops import annotation_path, crop_path, read_registration

CHECKSUMS = paths.DATA / "checksums.csv"


def sha256(path):
    """The sha256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder):
    """What is wrong with the downloads under `folder`: a table of file (relative) and problem (missing, different)."""
    folder, rows = Path(folder), []
    for file, expected in pd.read_csv(CHECKSUMS).itertuples(index=False):
        path = folder / file
        if not path.is_file():
            rows.append((file, "missing"))
        elif sha256(path) != expected:
            rows.append((file, "different"))
    return pd.DataFrame(rows, columns=["file", "problem"])


def list_checksums(folder):
    """The table that data/checksums.csv holds, from a folder known to be whole (training and validation crops)."""
    knees = read_registration()
    files = [annotation_path(folder)] + [crop_path(folder, row) for _, row in knees[knees["split"] != "test"].iterrows()]
    return pd.DataFrame([(path.relative_to(folder).as_posix(), sha256(path)) for path in files], columns=["file", "sha256"])
