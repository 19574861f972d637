"""What is made of answers for other software, from real files and read back by the readers of others."""

import json
import sys
from pathlib import Path

import highdicom
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_writer import write_radiograph
from matplotlib import pyplot as plt
from PIL import Image
from pydicom.uid import generate_uid

from kneel_lib import landmarks, outputs
from kneel_lib.data import via
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.errors import KneelError
from kneel_lib.figures.measurements import show_definitions
from kneel_lib.figures.summary import LINES_A_PAGE, absent_pages, pages
from kneel_lib.pipeline import structured_report
from kneel_lib.pipeline.answer_log import refusal
from kneel_lib.pipeline.input_files import find_files
from kneel_lib.pipeline.knee import Knee, knee_from
from kneel_lib.pipeline.measurement_table import without_knee
from kneel_lib.pipeline.measurements import NAMES, measured
from kneel_lib.pipeline.predict import ANSWERS, described
from kneel_lib.simulation import shape_model

STEP = 0.2
SHAPE = shape_model.load()[1].sample(np.random.default_rng(1), 1)[0]
DOUBT = "it is said to be a knee of side R, but looks like one of the other side"


def answered(name, side="R", mm_per_px=STEP, **how):
    """The entry of a file with one knee, as predict keeps it."""
    points = SHAPE if side == "R" else landmarks.mirrored(SHAPE, 0)
    region = {"region_px": np.tile([3.0, 5.0], (landmarks.COUNT, 1)), "deviation_px": np.full(16, 4.0)}
    knee = Knee(side, points / STEP + [300, 260], mm_per_px, np.ones(16), 30.0, (DOUBT,), trust=0.5, **region)
    knees = [described(name, knee)]
    return {
        "file": name,
        "state": [],
        "asked": [None, "", ["net.safetensors"]],
        "knees": knees,
        "problem": "",
    }


def write_image(path, **elements):
    """A radiograph that says which image it is."""
    uids = {name: generate_uid(entropy_srcs=[name]) for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    pixels = np.random.default_rng(0).integers(0, 4000, (520, 600))
    return write_radiograph(path, pixels, **{**uids, "PatientID": "17", **elements})


@pytest.fixture
def folder(tmp_path):
    """A DICOM file, one that is stored mirrored and upside down, and a picture, with their answers."""
    source, output = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    output.mkdir()
    write_image(source / "a.dcm")
    write_image(source / "sub" / "turned.dcm", PatientOrientation=["R", "H"])
    Image.fromarray(np.zeros((520, 600), np.uint8)).save(source / "c.png")
    names = {"a.dcm": {}, "c.png": {"mm_per_px": None}, "sub/turned.dcm": {"side": "L"}}
    entries = [answered(name, **how) for name, how in names.items()]
    (output / ANSWERS).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return source, output


def test_a_report_says_points_and_measurements_to_a_hundredth_of_a_mm(folder):
    source, output = folder
    assert outputs.write_outputs(["sr"], *folder) == []
    report = highdicom.sr.srread(output / "sr" / "a.dcm.dcm")
    image, knee = pydicom.dcmread(source / "a.dcm"), answered("a.dcm")["knees"][0]
    (group,) = [g for g in report.content.get_image_measurement_groups() if g.tracking_identifier == "knee R"]
    told = {one.name.value: one for one in group.get_measurements()}
    assert set(told) == {*NAMES, "trust"}
    for name, one in knee["measurements"].items():
        assert told[name].value == pytest.approx(one["value"], abs=0.01)
        assert told[name].unit.value == {"mm": "mm", "mm2": "mm2", "degree": "deg"}[one["unit"]]
    points = {g.tracking_identifier: g for g in report.content.get_planar_roi_measurement_groups()}
    for number, place in enumerate(knee["landmarks_px"]):
        group = points[f"knee R, landmark {number}"]
        assert np.allclose(STEP * (group.roi.value - 0.5), STEP * np.array([place]), atol=0.01)
        assert group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
            image.SOPInstanceUID
        )
        assert group.finding_type.meaning == landmarks.NAMES[number]


def test_a_report_is_of_the_images_study_and_names_algorithm_doubts_and_intervals(folder):
    source, output = folder
    outputs.write_outputs(["sr"], *folder)
    report, image = (pydicom.dcmread(path) for path in (output / "sr" / "a.dcm.dcm", source / "a.dcm"))
    assert report.Modality == "SR" and report.PatientID == "17"
    assert report.StudyInstanceUID == image.StudyInstanceUID
    assert report.SeriesInstanceUID != image.SeriesInstanceUID
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    told = [(item.ConceptNameCodeSequence[0].CodeMeaning, item) for item in items(report)]
    texts = {name: item.TextValue for name, item in told if "TextValue" in item}
    assert texts["Comment"] == DOUBT and texts["Algorithm Name"] == structured_report.ALGORITHM
    assert texts["Algorithm Version"] == structured_report.software_version()
    (least,) = [item for name, item in told if name == "medial jsw min"]
    ends = [float(child.MeasuredValueSequence[0].NumericValue) for child in least.ContentSequence]
    one = answered("a.dcm")["knees"][0]["measurements"]["medial_jsw_min"]
    below, above = one["value"] - one["low"], one["high"] - one["value"]
    assert sorted(ends) == pytest.approx(sorted([below, above]), abs=0.01) and min(ends) > 0


def items(dataset):
    """All content items below a data set."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def test_a_report_of_a_file_that_is_shown_turned_points_at_its_stored_pixels(folder):
    _, output = folder
    outputs.write_outputs(["sr"], *folder)
    report = highdicom.sr.srread(output / "sr" / "sub" / "turned.dcm.dcm")
    shown = np.array(answered("x", "L")["knees"][0]["landmarks_px"])
    groups = report.content.get_planar_roi_measurement_groups()
    places = np.concatenate([group.roi.value for group in groups])
    assert np.allclose(places, [600, 520] - (shown + 0.5), atol=0.01)


def test_the_same_answer_has_the_same_report_and_another_answer_another(folder):
    source, _ = folder
    first, again = (
        structured_report.structured_report(answered("a.dcm"), source / "a.dcm") for _ in range(2)
    )
    other = structured_report.structured_report(answered("a.dcm", "L"), source / "a.dcm")
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID


@pytest.mark.parametrize("lacking", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_that_does_not_say_which_image_it_is_has_no_report_and_the_others_have(lacking, folder):
    source, output = folder
    write_image(source / "a.dcm", **{lacking: None})
    troubles = outputs.write_outputs(["sr"], *folder)
    assert len(troubles) == 1 and f"its header has no {lacking}" in troubles[0]
    assert [path.name for path in (output / "sr").rglob("*.dcm")] == ["turned.dcm.dcm"]


def test_answers_in_pixels_are_reported_in_pixels(folder):
    source, output = folder
    structured_report.write_report(answered("a.dcm", mm_per_px=None), source / "a.dcm", output / "px.dcm")
    content = highdicom.sr.srread(output / "px.dcm").content
    (group,) = [one for one in content.get_image_measurement_groups() if one.tracking_identifier == "knee R"]
    units = {one.name.value: one.unit.value for one in group.get_measurements()}
    assert units["medial_jsw_min"] == "{pixels}" and units["plateau_angle"] == "deg"


def test_without_highdicom_a_report_is_refused_in_one_sentence(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(KneelError, match="structured reports need highdicom"):
        structured_report.structured_report(answered("a.dcm"), folder[0] / "a.dcm")


@pytest.mark.parametrize("name", ["via.csv", "via.json"])
def test_corrections_come_back_as_the_cohort_of_the_files_themselves(name, folder):
    source, output = folder
    assert outputs.write_outputs(["via"], *folder) == []
    read = via.read_via(output / "via" / name)
    assert set(read) == {("a.dcm", "R"), ("c.png", "R"), ("sub/turned.dcm", "L")}
    for (file, side), (subject, kl, points) in read.items():
        assert np.allclose(points, answered(file, side)["knees"][0]["landmarks_px"], atol=0.006)
        assert (subject, kl) == (file, -1)
    cohort = via.load_via(source, output / "via" / name, mm_per_px=STEP, jobs=1, kl=2)
    assert list(cohort.knees["side"]) == ["R", "R", "L"] and set(cohort.knees["kl"]) == {2}
    widths = [measured(points)["medial_jsw_min"] for points in cohort.landmarks_mm]
    assert np.allclose(widths, measured(SHAPE)["medial_jsw_min"], atol=0.01)


def test_knees_without_a_grade_are_still_refused_where_none_is_given(folder):
    source, output = folder
    outputs.write_outputs(["via"], *folder)
    with pytest.raises(KneelError, match="no kl for a.dcm"):
        via.load_via(source, output / "via" / "via.csv", jobs=1)


def test_files_whose_names_are_escaped_in_answers_are_found_by_them(tmp_path):
    source, output, name = tmp_path / "in", tmp_path / "out", "a\\b\u202fc.dcm"
    source.mkdir(), output.mkdir()
    write_image(source / name)
    (shown,) = files = {name: file for name, (file, _) in find_files(source).items()}
    (output / ANSWERS).write_text(json.dumps(answered(shown)) + "\n")
    assert shown != name and outputs.write_outputs(["via"], source, output) == []
    table = output / "via" / "via.csv"
    with pytest.raises(KneelError, match="cannot be read"):
        via.load_via(source, table, mm_per_px=STEP, jobs=1, kl=2)
    assert len(via.load_via(source, table, mm_per_px=STEP, jobs=1, kl=2, files=files)) == 1


@pytest.mark.parametrize("name", ["via.csv", "via.json"])
def test_what_a_person_has_corrected_is_not_written_over(folder, name):
    output = folder[1]
    assert outputs.write_outputs(["via"], *folder) == [] == outputs.write_outputs(["via"], *folder)
    corrected = output / "via" / name
    corrected.write_text(corrected.read_text().replace("17", "18"))
    kept = {path.name: path.read_bytes() for path in corrected.parent.glob("via.*")}
    (said,) = outputs.write_outputs(["via"], *folder)
    assert f"{name} was changed after it was written" in said and "is left as it is" in said
    assert {path.name: path.read_bytes() for path in corrected.parent.glob("via.*")} == kept


def test_what_via_opens_are_pictures_pixel_for_pixel(folder):
    _, output = folder
    outputs.write_outputs(["via"], *folder)
    table = pd.read_csv(output / "via" / "via.csv")
    project = json.loads((output / "via" / "via.json").read_text())
    for row in table.itertuples():
        path = output / "via" / row.filename
        assert Image.open(path).size == (600, 520) and path.stat().st_size == row.file_size
    assert [held["filename"] for held in project["_via_img_metadata"].values()] == list(
        dict.fromkeys(table["filename"])
    )
    assert project["_via_image_id_list"] == list(project["_via_img_metadata"])


@pytest.mark.parametrize("text", ["[1]", "nonsense", '{"x": {"filename": "a"}}'])
def test_a_json_that_is_none_of_vias_is_refused_in_one_sentence(text, tmp_path):
    (tmp_path / "via.json").write_text(text)
    with pytest.raises(KneelError, match="via.json.*: save it with VIA again$"):
        via.read_via(tmp_path / "via.json")


def test_a_pdf_has_a_page_for_eight_knees(folder):
    source, output = folder
    assert outputs.write_outputs(["pdf"], *folder) == []
    written = (output / "summary.pdf").read_bytes()
    assert written.startswith(b"%PDF") and written.count(b"/Type /Page ") == 1
    knees = [(source / "a.dcm", answered("a.dcm")["knees"][0])] * 9
    troubles: list[str] = []
    assert len(list(pages(knees, "nine", troubles))) == 2 and not troubles
    plt.close("all")


def test_a_pdf_ends_with_what_has_no_knee_and_why(folder):
    source, output = folder
    half = answered("a.dcm")
    half["knees"][0]["notes"] = ["no knee was found in the picture's left half"]
    gone = refusal("gone.png", "gone.png shows no knee that the search could find")
    (output / ANSWERS).write_text("".join(json.dumps(entry) + "\n" for entry in (half, gone)))
    assert outputs.write_outputs(["pdf"], *folder) == []
    assert (output / "summary.pdf").read_bytes().count(b"/Type /Page ") == 2
    reasons = [f"{entry['file']}: {why}" for entry in (half, gone) for why in without_knee(entry)]
    assert len(reasons) == 2 and list(absent_pages([])) == []
    first, second = absent_pages(reasons * LINES_A_PAGE)
    shown = "".join(text.get_text() for page in (first, second) for text in page.texts)
    assert shown.count("left half") == shown.count("could find") == LINES_A_PAGE
    plt.close("all")


def test_the_figure_of_definitions_names_each_thing_that_is_measured(folder):
    radiograph = read_radiograph(folder[0] / "a.dcm")
    figure = show_definitions(radiograph, knee_from(answered("a.dcm")["knees"][0]))
    (axes,) = figure.axes
    named = {text.get_text() for text in axes.get_legend().get_texts()}
    assert {
        "plateau: width and angle",
        "condyles, for angles",
        "condyles, for width",
        "least width",
        "area",
    } <= named
    plt.close(figure)


def test_a_described_knee_is_a_knee_again():
    knee = answered("a.dcm")["knees"][0]
    again = described("a.dcm", knee_from(knee))
    for name, one in again["measurements"].items():
        assert one["value"] == pytest.approx(knee["measurements"][name]["value"], rel=1e-3, abs=0.01)
    assert np.allclose(again["region_degrees"], knee["region_degrees"], atol=0.2)
    rounded = ("measurements", "landmarks_mm", "region_degrees")
    assert all(again[name] == known for name, known in knee.items() if name not in rounded)


def test_a_file_that_has_gone_costs_no_other_its_outputs(folder):
    source, output = folder
    (source / "a.dcm").write_bytes(bytes(128) + b"DICM")
    troubles = outputs.write_outputs(["via", "sr"], *folder)
    assert len(troubles) == 2 and all("a.dcm" in trouble for trouble in troubles)
    assert (
        Path(output / "via" / "c.png.png").is_file()
        and Path(output / "sr" / "sub" / "turned.dcm.dcm").is_file()
    )


def test_names_that_no_disk_takes_and_files_that_are_gone_cost_no_other_output(folder):
    source, output = folder
    long = "ü" * 123 + ".dcm"
    write_image(source / long)
    (source / "c.png").unlink()
    entries = [answered(name) for name in ("a.dcm", "c.png", long)]
    (output / ANSWERS).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert outputs.write_outputs(["via", "sr", "pdf"], *folder) == []
    named = set(pd.read_csv(output / "via" / "via.csv")["filename"])
    assert len(named) == 2 and all((output / "via" / name).is_file() for name in named)
    assert len(list((output / "sr").glob("*.dcm"))) == 2 and (output / "summary.pdf").stat().st_size > 0
    (source / "c.png").write_bytes(b"no picture any more")
    troubles = outputs.write_outputs(["via", "sr", "pdf"], *folder)
    assert troubles and all("c.png" in trouble for trouble in troubles)
    assert set(pd.read_csv(output / "via" / "via.csv")["filename"]) == named
