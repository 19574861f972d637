import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kneel_lib import landmarks
from kneel_lib.data import oai, radiographs, via
from kneel_lib.data.folds import make_folds
from kneel_lib.data.subjects import names_a_subject, subject_of
from kneel_lib.errors import KneelError
from kneel_lib.simulation import population

SMALL = population.take(population.POPULATIONS["simulated"], 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return population.make_files(SMALL, jobs=1)


def test_both_annotation_files_give_the_same_knees(folder):
    """They differ by the whole 0.3 mm pixels of the published form alone."""
    published = oai.load_oai(folder, folder / "annotations.csv", "simulated", jobs=1)
    from_via = via.load_via(folder, folder / "via.csv", "simulated", jobs=1)
    assert list(published.knees["side"]) == list(from_via.knees["side"]) and list(
        published.knees["kl"]
    ) == list(from_via.knees["kl"])
    shapes = [
        cohort.landmarks_mm - cohort.landmarks_mm[:, landmarks.CENTRE, None]
        for cohort in (published, from_via)
    ]
    assert 0 < np.abs(shapes[0] - shapes[1]).max() <= 0.31
    assert {image.shape for image in from_via.images} == {(600, 600)}


def test_polylines_drawn_the_other_way_round_are_turned(folder, tmp_path):
    table = pd.read_csv(folder / "via.csv")
    shapes = [json.loads(text) for text in table["region_shape_attributes"]]
    turned = [
        {**shape, **{axis: shape[axis][::-1] for axis in ("all_points_x", "all_points_y")}}
        for shape in shapes
    ]
    table.assign(region_shape_attributes=[json.dumps(shape) for shape in turned]).to_csv(
        tmp_path / "turned.csv", index=False
    )
    first, second = via.read_via(folder / "via.csv"), via.read_via(tmp_path / "turned.csv")
    assert first.keys() == second.keys() and len(first) == population.plan(SMALL)["annotated"].sum()
    assert all(np.array_equal(first[knee][2], second[knee][2]) for knee in first)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns="region_attributes"), "has no column region_attributes"),
        (lambda t: t.assign(region_attributes="{}"), "line 2: region_attributes must name bone"),
        (
            lambda t: t.assign(region_shape_attributes="nonsense"),
            "line 2, column region_shape_attributes: 'nonsense', allowed is a json",
        ),
        (
            lambda t: t.assign(region_shape_attributes='{"name": "rect", "x": 1}'),
            "line 2, column region_shape_attributes has no all_points_x",
        ),
        (
            lambda t: t.assign(region_shape_attributes='{"all_points_x": [1, 2], "all_points_y": [1, 2]}'),
            "line 2: 2 points, expected 9",
        ),
        (lambda t: t.iloc[:-1], "no femur for"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "a second tibia for"),
        (
            lambda t: t.assign(region_attributes=t["region_attributes"].str.replace('"kl": "', '"kl": "7')),
            "is not a Kellgren-Lawrence grade",
        ),
    ],
)
def test_damaged_csv_is_one_error_that_names_the_line(folder, tmp_path, change, message):
    change(pd.read_csv(folder / "via.csv")).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(KneelError, match=message) as caught:
        via.load_via(folder, tmp_path / "bad.csv", jobs=1)
    assert "\n" not in str(caught.value)


def test_pictures_without_a_region_are_passed_over_and_a_csv_of_nothing_else_is_one_error(folder, tmp_path):
    table = pd.read_csv(folder / "via.csv")
    empty = table.iloc[:1].assign(
        filename="other.dcm", region_count=0, region_shape_attributes="{}", region_attributes="{}"
    )
    pd.concat([empty, table]).to_csv(tmp_path / "more.csv", index=False)
    assert via.read_via(tmp_path / "more.csv").keys() == via.read_via(folder / "via.csv").keys()
    empty.to_csv(tmp_path / "nothing.csv", index=False)
    with pytest.raises(KneelError, match="the annotations name no knee"):
        via.load_via(folder, tmp_path / "nothing.csv", jobs=1)


def test_a_hospitals_own_set_can_be_a_test_set_or_be_split_into_folds(folder):
    tested, trained = (
        via.load_via(folder, folder / "via.csv", "mine", jobs=1, split=split) for split in ("test", "train")
    )
    with pytest.raises(KneelError, match="cohort mine cannot be split into 2 folds: 0 of its 5 knees"):
        make_folds(tested, 2)
    with pytest.raises(
        KneelError,
        match="cohort mine cannot be split into 5 folds: 5 of its 5 knees, of .* "
        "at least 5 of one Kellgren-Lawrence grade",
    ):
        make_folds(trained)


def test_an_annotation_of_another_file_is_one_error(folder, tmp_path):
    table = pd.read_csv(folder / "via.csv")
    shapes = [json.loads(text) for text in table["region_shape_attributes"]]
    moved = [
        json.dumps({**shape, "all_points_y": [y + 5000 for y in shape["all_points_y"]]}) for shape in shapes
    ]
    table.assign(region_shape_attributes=moved).to_csv(tmp_path / "moved.csv", index=False)
    with pytest.raises(KneelError, match="its tibial centre, .* px from the top, is not in .*001"):
        via.load_via(folder, tmp_path / "moved.csv", jobs=1)


def test_pictures_need_a_spacing_and_then_read_as_the_dicom_does(folder, tmp_path):
    source = next(folder.glob("0.S.1/*/*/*/001"))
    from_dicom = radiographs.read_radiograph(source)
    Image.fromarray(from_dicom.image).save(tmp_path / "knee.png")
    with pytest.raises(KneelError, match="give the pixel spacing"):
        radiographs.read_radiograph(tmp_path / "knee.png")
    with pytest.raises(KneelError, match="a pixel spacing of 30"):
        radiographs.read_radiograph(tmp_path / "knee.png", 30)
    picture = radiographs.read_radiograph(tmp_path / "knee.png", from_dicom.mm_per_px)
    assert np.abs(picture.image.astype(int) - from_dicom.image).max() <= 1


def test_a_file_that_is_no_picture_is_one_error(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(KneelError, match="text.png is neither DICOM nor a picture"):
        radiographs.read_radiograph(tmp_path / "text.png", 0.3)
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    with pytest.raises(KneelError, match="has 20 x 20 pixels"):
        radiographs.read_radiograph(tmp_path / "small.png", 0.3)


DEEP = "[" * 100_000 + "]" * 100_000


def changed_cell(table, column, change):
    """The table with the json object in the first row's cell changed."""
    value = change(json.loads(table[column].iloc[0]))
    text = value if isinstance(value, str) else json.dumps(value)
    return table.assign(**{column: [text, *table[column][1:]]})


def write_with_attributes(folder, path, attributes):
    """The release's VIA table with these attributes in its first region."""
    table = pd.read_csv(folder / "via.csv")
    changed_cell(table, "region_attributes", lambda whole: whole | attributes).to_csv(path, index=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda shape: '{"all_points_x": ' + DEEP[:1000] + "}",
        lambda shape: '{"a":' * 20_000 + "1" + "}" * 20_000,
        lambda shape: "[1]",
        lambda shape: "null",
        lambda shape: shape | {"all_points_x": [float("nan"), *shape["all_points_x"][1:]]},
        lambda shape: shape | {"all_points_x": [float("inf"), *shape["all_points_x"][1:]]},
        lambda shape: shape | {"all_points_x": [10**400, *shape["all_points_x"][1:]]},
        lambda shape: json.dumps(shape).replace(str(shape["all_points_x"][0]), "9" * 5000),
        lambda shape: shape | {"all_points_x": ["12", *shape["all_points_x"][1:]]},
        lambda shape: shape | {"all_points_x": [True, *shape["all_points_x"][1:]]},
        lambda shape: shape | {"all_points_x": [[x] for x in shape["all_points_x"]]},
        lambda shape: shape | {"all_points_x": 5},
        lambda shape: shape | {"all_points_x": shape["all_points_x"][:-1]},
        lambda shape: shape | {"all_points_x": [x + 1e7 for x in shape["all_points_x"]]},
    ],
)
def test_json_of_a_region_that_is_no_polyline_is_one_line(folder, tmp_path, change):
    table = changed_cell(pd.read_csv(folder / "via.csv"), "region_shape_attributes", change)
    table.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(KneelError, match="bad.csv, line 2") as caught:
        via.read_via(tmp_path / "bad.csv")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "attributes",
    [
        {"bone": 3},
        {"bone": "patella"},
        {"side": "Rubbish"},
        {"side": ["R"]},
        {"kl": 2.5},
        {"kl": [2]},
        {"kl": 10**400},
        {"kl": float("inf")},
        {"subject": [1]},
        {"subject": "../../x"},
    ],
)
def test_attributes_of_a_region_that_are_not_allowed_are_one_line(folder, tmp_path, attributes):
    write_with_attributes(folder, tmp_path / "bad.csv", attributes)
    with pytest.raises(KneelError, match="bad.csv, line 2"):
        via.read_via(tmp_path / "bad.csv")


@pytest.mark.parametrize("attributes", [{"subject": "other"}, {"kl": "-1"}])
def test_the_bones_of_a_knee_agree_on_its_subject_and_grade(folder, tmp_path, attributes):
    write_with_attributes(folder, tmp_path / "bad.csv", attributes)
    with pytest.raises(KneelError, match="have different kl or subject"):
        via.read_via(tmp_path / "bad.csv")


@pytest.mark.parametrize(
    "name", ["scans/left knees/k0.png", "IMG(0).png", f"{'x' * 80}.png", "1e5", "Knie äö.png"]
)
def test_a_file_without_a_subject_has_one_that_every_table_holds(folder, tmp_path, name):
    table = pd.read_csv(folder / "via.csv")
    table = table[table["filename"] == table["filename"].iloc[0]].iloc[:2]
    attributes = [json.loads(text) for text in table["region_attributes"]]
    unnamed = [json.dumps({**each, "subject": "", "kl": "2"}) for each in attributes]
    table.assign(filename=name, region_attributes=unnamed).to_csv(tmp_path / "via.csv", index=False)
    file = folder / table["filename"].iloc[0]
    cohort = via.load_via(folder, tmp_path / "via.csv", jobs=1, files={name: file})
    (subject,) = cohort.knees["subject_id"]
    assert names_a_subject(subject) and subject != subject_of(f"{name} ")
    assert (subject == name) == names_a_subject(name)


def test_several_tables_are_read_together_and_no_knee_twice(folder, tmp_path):
    table = pd.read_csv(folder / "via.csv")
    first = table["filename"] == table["filename"].iloc[0]
    for name, rows in (("a.csv", table[first]), ("b.csv", table[~first])):
        rows.to_csv(tmp_path / name, index=False)
    both = via.read_together([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert both.keys() == via.read_via(folder / "via.csv").keys()
    with pytest.raises(KneelError, match="b.csv: .* is in a table before it too"):
        via.read_together([folder / "via.csv", tmp_path / "b.csv"])
