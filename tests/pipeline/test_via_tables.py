"""Tables for a person to correct: written again as long as nobody changed them."""

import shutil

import numpy as np
import pytest

from kneel_lib.data.via import via_rows
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.corrections import FOLDER, WRITTEN, write_tables

POINTS = np.arange(32.0).reshape(16, 2)
TABLES = "via.csv", "via.json"


def rows(shift):
    return via_rows("a.png", 1, [("R", "", "", POINTS + shift)], "a.dcm")


@pytest.mark.parametrize("ended_before", [0, 1, 2])
def test_a_write_that_ended_between_two_files_is_done_again(tmp_path, ended_before):
    """Its hashes come first, so that neither old nor new tables look like somebody's corrections."""
    write_tables(rows(0), tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "whole")
    write_tables(rows(1), tmp_path / "whole")
    for name in (WRITTEN, *(f"{FOLDER}/{name}" for name in TABLES[:ended_before])):
        shutil.copyfile(tmp_path / "whole" / name, tmp_path / "out" / name)
    write_tables(rows(2), tmp_path / "out")
    write_tables(rows(2), tmp_path / "new")
    for name in TABLES:
        assert (tmp_path / "out" / FOLDER / name).read_text() == (
            tmp_path / "new" / FOLDER / name
        ).read_text()


@pytest.mark.parametrize("name", TABLES)
def test_corrections_are_never_written_over(tmp_path, name):
    write_tables(rows(0), tmp_path)
    with open(tmp_path / FOLDER / name, "a") as table:
        table.write("\n")
    with pytest.raises(KneelError, match=f"{name} was changed after it was written"):
        write_tables(rows(1), tmp_path)
