"""Tables that somebody else wrote: every kind of damage is one line that names file, line, column, value
and what is allowed."""

import hashlib
import re

import pandas as pd
import pytest

from kneel_lib import paths
from kneel_lib.data import crops
from kneel_lib.data.crops import REGISTRATION, TABLES, read_registration
from kneel_lib.data.tables import read_table
from kneel_lib.errors import KneelError

WHOLE = (paths.DATA / "oai_crops_registration.csv").read_text()
HEADER, FIRST, SECOND, *REST = WHOLE.splitlines()
COLUMNS = HEADER.split(",")
DIGITS = "1" + "0" * 400


def spoilt(column, value):
    """The registration table with another value in line 3."""
    cells = SECOND.split(",")
    cells[COLUMNS.index(column)] = value
    return "\n".join([HEADER, FIRST, ",".join(cells), *REST]) + "\n"


def refused(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(KneelError) as caught:
        read_table(path, REGISTRATION)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and message.startswith(str(path))
    return message.removeprefix(str(path))


ODD_NUMBERS = ["", "abc", "nan", "NA", "inf", "-inf", "1e400", DIGITS, "-1", "TRUE", "1_0", "0x1", " 1", "٣"]


@pytest.mark.parametrize("value", ODD_NUMBERS)
@pytest.mark.parametrize(
    "column, allowed",
    [
        ("kl", "a whole number from 0 to 4"),
        ("mm_per_px", "a number from 0.05 to 2"),
        ("x4_px", "a number from 0 to 223"),
        ("inverted", "a whole number from 0 to 1"),
    ],
)
def test_what_is_no_number_is_named_with_its_place_and_what_is_allowed(tmp_path, column, allowed, value):
    message = refused(tmp_path / "registration.csv", spoilt(column, value))
    shown = "an empty cell" if not value else repr(value[:20])[:-1]
    assert message.startswith(f", line 3, column {column}: {shown}") and message.endswith(
        f"allowed is {allowed}"
    )


@pytest.mark.parametrize(
    "column, value",
    [
        ("side", ""),
        ("side", "l"),
        ("side", "Left"),
        ("split", "vall"),
        ("split", "Train"),
        ("split", "val "),
        ("subject_id", ""),
        ("subject_id", "nan"),
        ("subject_id", "9000000.5"),
        ("subject_id", DIGITS),
        ("subject_id", "../../x"),
        ("kl", "2.5"),
        ("inverted", "2"),
    ],
)
def test_words_and_subjects_are_held_against_what_is_allowed(tmp_path, column, value):
    assert f", line 3, column {column}: " in refused(tmp_path / "registration.csv", spoilt(column, value))


def all_longer(cell):
    return "\n".join([HEADER, *(f"{line}{cell}" for line in (FIRST, SECOND, *REST))])


@pytest.mark.parametrize(
    "content, message",
    [
        (HEADER + "\n", " has 0 rows, expected at least one"),
        ("", " cannot be read as csv: it is empty"),
        ("\n\n", " cannot be read as csv: it is empty"),
        (WHOLE + SECOND + "\n", "line 675, columns subject_id, side: .* stand in an earlier row"),
        (WHOLE + WHOLE, "line 675, column side: 'side', allowed is L or R"),
        (WHOLE[: len(WHOLE) // 2], "line 33[0-9]: [0-9] cells, the header has 10"),
        (all_longer(",x"), "line 2: 11 cells, the header has 10"),
        (WHOLE.replace(SECOND, SECOND.rsplit(",", 1)[0]), "line 3: 9 cells, the header has 10"),
        (WHOLE.replace(SECOND, f'"{SECOND}'), "cannot be read as csv"),
        (WHOLE.replace(",", ";"), " has no column subject_id"),
        (WHOLE.replace("subject_id,side", "subject_id, side"), " has no column side "),
        (WHOLE.replace(",score,", ",kl,", 1), " has the column 'kl' more than once"),
        (WHOLE.encode("utf-16"), "is not text in UTF-8"),
        (WHOLE.replace("\n9002316", "\nM\xfcller", 1).encode("latin-1"), "is not text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not text in UTF-8"),
    ],
)
def test_a_table_that_is_none_or_not_whole(tmp_path, content, message):
    assert re.search(message, refused(tmp_path / "registration.csv", content))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + WHOLE.encode(),
        WHOLE.replace("\n", "\r\n").encode(),
        WHOLE.replace("\n", "\r").encode(),
        WHOLE.rstrip().encode(),
        f"{WHOLE}\n\n".encode(),
    ],
)
def test_marks_and_line_ends_of_other_systems_change_nothing(tmp_path, content):
    (tmp_path / "table.csv").write_bytes(content)
    read = read_table(tmp_path / "table.csv", REGISTRATION)
    expected = pd.read_csv(paths.DATA / "oai_crops_registration.csv")
    pd.testing.assert_frame_equal(read.reset_index(drop=True), expected, check_exact=True)


@pytest.mark.parametrize("make", ["mkdir", "loop", "nothing", "long"])
def test_what_is_no_file(tmp_path, make):
    path = tmp_path / ("x" * 300 if make == "long" else "table.csv")
    if make == "mkdir":
        path.mkdir()
    elif make == "loop":
        path.symlink_to(path)
    with pytest.raises(KneelError, match="is not there|cannot be read"):
        read_table(path, REGISTRATION)


@pytest.mark.parametrize(
    "text",
    ["".join(f"{line}\n" for line in (HEADER, FIRST, SECOND)), spoilt("mm_per_px", "0.5")],
    ids=["two rows", "another scale"],
)
def test_the_committed_registration_is_the_one_that_every_run_stands_on(tmp_path, monkeypatch, text):
    assert {name: len(read_registration(name)) for name in TABLES} == {
        "crops": 673,
        "crops_first": 673,
        "crops_templates": 529,
        "crops_voted": 529,
    }
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "oai_crops_registration.csv").write_text(text)
    with pytest.raises(KneelError, match="is not the table that recorded runs stand on"):
        read_registration()
    (tmp_path / "oai_crops_registration.csv").write_bytes(WHOLE.replace("\n", "\r\n").encode())
    assert len(read_registration()) == 673, "line ends do not count"
    assert hashlib.sha256(WHOLE.encode()).hexdigest() == crops.REGISTRATION_SHA256["crops"]


POINTS = ",".join(f"{10 * n},{100 + n}" for n in range(9))


@pytest.mark.parametrize(
    "tibia",
    [
        "",
        "abc",
        POINTS.rsplit(",", 1)[0],
        f"{POINTS},3",
        POINTS.replace("102", "nan"),
        POINTS.replace("102", "inf"),
        POINTS.replace("102", DIGITS),
        POINTS.replace("102", ""),
        POINTS.replace(",", ";"),
        ",".join(POINTS.split(",")[::-1]),
        POINTS.replace("102", "1e7"),
    ],
)
def test_landmarks_are_so_many_finite_points_from_lateral_to_medial(tmp_path, tibia):
    femur = ",".join(f"{10 * n},50" for n in range(7))
    path = tmp_path / "points.csv"
    path.write_text(f'subject_id,side,kl,tibia,femur\n9000001,L,2,"{tibia}","{femur}"\n')
    with pytest.raises(KneelError, match="line 2, column tibia: .* allowed is 9 points in pixels"):
        crops.read_annotation(path)
