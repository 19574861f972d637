"""The page without a browser: names of files, corrections, what is said and what is saved."""

import io
import zipfile

import highdicom
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_writer import write_radiograph
from film import write_film
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from app import words
from app.close_up import close_up
from app.downloads import FORMATS, download
from app.knee_panel import KneePanel
from app.opened import Opened, open_file
from app.page import Page
from app.uploads import LONGEST_NAME, Inbox, safe_name
from kneel_lib import landmarks
from kneel_lib.data.grey import GREATEST_FILE_BYTES
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.via import load_via, read_via
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.knee import Knee
from kneel_lib.simulation import shape_model

STEP = 0.2
DOUBT = "views disagree by 4 mm <b>at</b> landmark 3"


@pytest.fixture
def opened(tmp_path):
    """A DICOM file with an answer of two knees."""
    uids = {name: generate_uid(entropy_srcs=[name]) for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    pixels = np.random.default_rng(0).integers(0, 4000, (520, 1200))
    path = write_radiograph(tmp_path / "knee.dcm", pixels, **uids)
    shape = shape_model.load()[1].sample(np.random.default_rng(1), 1)[0] / STEP
    how = {"region_px": np.tile([3.0, 5.0], (landmarks.COUNT, 1)), "trust": 0.5}
    knees = (
        Knee("R", shape + [300, 260], STEP, np.ones(16), 30.0, (DOUBT,), **how),
        Knee("L", landmarks.mirrored(shape, 0) + [900, 260], STEP, np.ones(16), 30.0, (), **how),
    )
    return Opened(path, read_radiograph(path), knees, knees)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("knee 1 (left).dcm", "knee 1 (left).dcm"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\knee.dcm", "knee.dcm"),
        ("=1+2.png", "1_2.png"),
        (".hidden", "hidden"),
        ("a<script>.png", "a_script_.png"),
        ("Knöchel.png", "Knöchel.png"),
        ("..", "radiograph"),
        ("", "radiograph"),
        ("a\nb\0c.png", "a_b_c.png"),
        ("x" * 300 + ".dcm", "x" * (LONGEST_NAME - 4) + ".dcm"),
    ],
)
def test_a_name_is_made_harmless(name, safe):
    assert safe_name(name) == safe


@given(st.text(max_size=200))
def test_no_name_leads_elsewhere_or_is_markup_or_a_formula(name):
    safe = safe_name(name)
    assert 0 < len(safe) <= LONGEST_NAME and safe[0].isalnum() and safe == safe_name(safe)
    assert not set(safe) & set("/\\<>&\"'\0\n=+@") and safe not in (".", "..")


def test_parts_make_the_file_and_those_of_an_overtaken_one_are_left_out():
    inbox = Inbox()
    inbox.begin(1, "first.png", 4)
    inbox.add(1, [b"ab"])
    inbox.begin(2, "second.png", 3)
    inbox.add(1, [b"cd"])
    inbox.add(2, [b"xy", memoryview(b"z")])
    assert inbox.finish(1) is None
    path = inbox.finish(2)
    assert path.name == "second.png" and path.read_bytes() == b"xyz"
    assert [one.name for one in path.parent.iterdir()] == ["second.png"]
    inbox.close()
    assert not path.parent.exists()


@pytest.mark.parametrize("size", [0, GREATEST_FILE_BYTES + 1])
def test_a_file_without_bytes_or_with_too_many_is_refused(size):
    with pytest.raises(KneelError, match=r"^knee\.png is (empty|larger)"):
        Inbox().begin(1, "knee.png", size)


def test_a_file_that_lacks_a_part_is_refused():
    inbox = Inbox()
    inbox.begin(1, "knee.png", 4)
    inbox.add(1, [b"ab"])
    with pytest.raises(KneelError, match="as a whole"):
        inbox.finish(1)


def test_a_moved_landmark_is_measured_and_named_and_certainty_is_left_out(opened):
    found = opened.found[0]
    x, y = found.points_px[2]
    moved = opened.with_landmark(0, 2, (x, y - 30))
    assert moved.moved(0) == (2,) and moved.moved(1) == () and opened.moved(0) == ()
    knee = moved.knees[0]
    assert np.isnan(knee.trust) and np.isnan(knee.region_px).all() and knee.doubts == (DOUBT,)
    assert "moved by hand: landmark 2" in knee.notes
    before, after = ({one.name: one for one in each.measurements(0)} for each in (opened, moved))
    assert after["lateral_area"].value < before["lateral_area"].value - 1
    assert np.isfinite(before["lateral_area"].low) and np.isnan(after["lateral_area"].low)
    assert moved.put_back(0, 2).knees[0] is found
    assert moved.knees[1] is opened.knees[1]


def test_a_landmark_stays_in_the_picture(opened):
    assert opened.with_landmark(0, 3, (-5, 9999)).knees[0].points_px[3].tolist() == [0, 519]


def test_the_close_up_shows_where_landmarks_lie_and_takes_places_back(opened):
    square, knee = close_up(opened.found[1]), opened.found[1]
    marks = square.marks(knee, opened.with_landmark(1, 4, (901, 261)).knees[1])
    assert [mark["moved"] for mark in marks] == [number == 4 for number in range(16)]
    assert marks[4]["ellipse"] is None and marks[5]["ellipse"][:2] == pytest.approx(
        [5 / square.step_px, 3 / square.step_px], abs=0.01
    )
    assert square.to_file(marks[4]["at"]) == pytest.approx((901, 261), abs=0.01)
    assert square.to_file(marks[0]["at"]) == pytest.approx(tuple(knee.points_px[0]), abs=0.01)
    assert square.picture(opened.radiograph).startswith(b"\xff\xd8")


def test_a_dragged_landmark_lands_where_it_was_dropped_and_keys_move_it_by_a_pixel(opened):
    kept = [opened]
    panel = KneePanel(0, lambda: kept[-1], kept.append)
    panel.receive(None, {"kind": "put", "number": 5, "at": panel.square.to_page(np.array([310, 250]))}, [])
    assert kept[-1].knees[0].points_px[5] == pytest.approx([310, 250])
    assert panel.choice.value == panel.picture.chosen == 5 and (panel.x.value, panel.y.value) == (310, 250)
    panel.receive(None, {"kind": "step", "number": 5, "step": [0, -1]}, [])
    assert kept[-1].knees[0].points_px[5] == pytest.approx([310, 249])
    panel.x.value = 333.5
    assert kept[-1].knees[0].points_px[5] == pytest.approx([333.5, 249])
    count = len(kept)
    panel.choice.value = 6
    assert len(kept) == count, "to choose another landmark moves none"
    panel.choice.value = 5
    panel.back.click()
    assert kept[-1].moved(0) == ()


def test_what_is_saved_is_read_back_as_it_was_corrected(opened):
    moved = opened.with_landmark(0, 2, (250.25, 240.5))
    saved = {what: download(what, moved) for what in FORMATS}
    assert [name for name, _ in saved.values()] == [
        f"knee.dcm.{ending}" for ending in ("landmarks.csv", "measurements.csv", "via.zip", "sr.dcm")
    ]
    table = pd.read_csv(io.BytesIO(saved["Landmarks (csv)"][1]))
    points = np.concatenate([knee.points_px for knee in moved.knees])
    assert table[["x_px", "y_px"]].to_numpy() == pytest.approx(points, abs=0.01)
    assert "moved by hand: landmark 2" in table["reason"][0]
    assert len(pd.read_csv(io.BytesIO(saved["Measurements (csv)"][1]))) == 2 * len(moved.measurements(0))
    report = highdicom.sr.ComprehensiveSR.from_dataset(
        pydicom.dcmread(io.BytesIO(saved["Structured report (DICOM)"][1]))
    )
    groups = report.content.get_planar_roi_measurement_groups()
    at = np.array([group.roi.value[0] for group in groups])
    assert at - 0.5 == pytest.approx(points, abs=0.01)


def test_what_via_gets_is_a_cohort_of_the_file_itself(opened, tmp_path):
    x, y = opened.found[1].points_px[9]
    moved = opened.with_landmark(1, 9, (x + 4.25, y - 7.5))
    packed = zipfile.ZipFile(io.BytesIO(download("VIA (zip)", moved)[1]))
    assert packed.namelist() == ["knee.dcm.png", "via.csv", "via.json"]
    packed.extractall(tmp_path / "via")
    (_, _, points) = read_via(tmp_path / "via" / "via.csv")["knee.dcm", "L"]
    assert points == pytest.approx(moved.knees[1].points_px, abs=0.01)
    assert len(load_via(tmp_path, tmp_path / "via" / "via.csv", jobs=1, kl=0).knees) == 2


def test_a_picture_has_no_report_and_no_message_names_the_folder(opened, tmp_path):
    picture = tmp_path / "knee.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 200)
    of_picture = Opened(picture, opened.radiograph, opened.found, opened.knees)
    with pytest.raises(KneelError, match=r"^knee\.png has no structured report"):
        download("Structured report (DICOM)", of_picture)
    for path in (picture, tmp_path / "missing.dcm"):
        with pytest.raises(KneelError) as told:
            open_file(path, ([], []))
        assert path.name in str(told.value) and str(tmp_path) not in str(told.value)
        assert "\n" not in str(told.value)


def test_what_is_said_is_escaped_and_says_doubts(opened):
    said = words.verdict(opened, 0)
    assert "&lt;b&gt;at&lt;/b&gt;" in said and "<b>" not in said and "Not to be trusted" in said
    assert "probability 0.50" in words.verdict(opened, 1) and "Nothing speaks" in words.verdict(opened, 1)
    assert "<script>" not in words.wrong(KneelError("<script>"))
    assert words.summary(opened, 1.25).count("2 knees in 1.2 s") == 1


@pytest.mark.trains  # it trains nothing, but looks at two knees with the networks that came along
def test_a_page_answers_a_dropped_file_and_tells_what_is_wrong_with_another(tmp_path):
    page, film = Page(), write_film(tmp_path / "knee.dcm")[0]

    def drop(name, content):
        page.receive(None, {"kind": "begin", "number": 1, "name": name, "size": len(content)}, [])
        page.receive(None, {"kind": "part", "number": 1}, [content])
        page.receive(None, {"kind": "end", "number": 1}, [])

    drop("a<b>.dcm", film.read_bytes())
    assert page.opened and page.opened.name == "a_b_.dcm", page.status.value
    assert page.below.layout.display is None and "a_b_.dcm" in page.status.value
    assert len(page.knees.children) == len(page.opened.knees) == 2
    drop("notes.txt", b"no radiograph")
    said = page.status.value
    assert "notes.txt is neither DICOM nor a picture" in said and "kneel-wrong" in said
    assert page.opened is None and page.below.layout.display == "none" and not page.knees.children
