import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import drawn_cohort
from PIL import Image

from kneel_lib import landmarks, paths
from kneel_lib.data import cache
from kneel_lib.data import crops as crops_module
from kneel_lib.data.cohort import check_cohort
from kneel_lib.data.crops import (
    CHECKSUMS,
    crop_path,
    list_checksums,
    load_crops,
    read_annotation,
    read_crop,
    verify,
)
from kneel_lib.data.folds import choose_labels, make_folds
from kneel_lib.data.polarity import bone_is_dark
from kneel_lib.data.rois import cut_rois, displacements_mm
from kneel_lib.data.tables import KNEE, SIDE, SUBJECT, Schema, read_table
from kneel_lib.errors import KneelError
from kneel_lib.experiment.cohorts import load_cohort


def test_a_sound_cohort_passes(cohort):
    assert check_cohort(cohort) is cohort


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("side", "X", "9000000X has a side other than L or R"),
        ("kl", 7, "KL grade outside 0 to 4"),
        ("mm_per_px", 0.0, "pixel spacing"),
        ("side", "L", "second row for the same knee"),
        ("split", "val", "subject 9000000 is in more than one split"),
    ],
)
def test_a_bad_table_is_refused_with_the_knee_named(cohort, column, value, message):
    knees = cohort.knees.copy()
    knees.loc[0, column] = value
    with pytest.raises(KneelError, match=message):
        check_cohort(replace(cohort, knees=knees))


def test_landmarks_out_of_order_or_out_of_the_picture_are_refused(cohort):
    swapped, moved = cohort.landmarks_mm.copy(), cohort.landmarks_mm.copy()
    swapped[2, [0, 1]] = swapped[2, [1, 0]]
    moved[5] += 200
    with pytest.raises(KneelError, match="9000002R has landmarks that do not run from lateral to medial"):
        check_cohort(replace(cohort, landmarks_mm=swapped))
    with pytest.raises(KneelError, match="9000004L has landmarks far outside"):
        check_cohort(replace(cohort, landmarks_mm=moved))
    points = cohort.landmarks_mm.copy()
    points[3, landmarks.CENTRE] = np.nan
    with pytest.raises(KneelError, match="9000002L has no landmark 4, around which ROIs are cut"):
        check_cohort(replace(cohort, landmarks_mm=points))
    with pytest.raises(KneelError, match="24 rows, 23 images"):
        check_cohort(replace(cohort, images=cohort.images[1:]))


@pytest.mark.parametrize("centre", ["truth", "image"])
@pytest.mark.parametrize("spacing", [0.5, 1.6])
def test_landmarks_stay_on_their_dots_in_every_roi(cohort, centre, spacing):
    rois = cut_rois(cohort, 64, spacing, centre, margin_px=6)
    assert rois.images.shape == (24, 76, 76)
    assert np.allclose(rois.to_mm(rois.landmarks_px - 6), cohort.landmarks_mm, atol=1e-3)
    for image, points in zip(rois.images, rois.landmarks_px):
        inside = points[((points > 2) & (points < 73)).all(axis=1)].round().astype(int)
        assert (image[inside[:, 1], inside[:, 0]] > 120).all()


def test_truth_centres_on_landmark_4_and_image_on_the_middle(cohort):
    truth, image = cut_rois(cohort, 64, 1.6), cut_rois(cohort, 64, 1.6, "image")
    assert np.allclose(truth.landmarks_px[:, landmarks.CENTRE], 31.5, atol=1e-4) and np.allclose(
        truth.mm_per_px, 1.6
    )
    middle_mm = np.array([55.5, 54.5]) * 0.88
    assert np.allclose(image.to_mm(np.full((24, 1, 2), 31.5))[:, 0], middle_mm)
    assert np.allclose(image.mm_per_px, 1.6 * 0.88 / 0.9)


def test_an_unknown_centre_is_refused(cohort):
    with pytest.raises(KneelError, match="unknown ROI centre 'knee'"):
        cut_rois(cohort, 64, 1.6, "knee")


def test_missing_landmarks_stay_missing_in_rois(cohort):
    points = cohort.landmarks_mm.copy()
    points[0, 3] = np.nan
    rois = cut_rois(replace(cohort, landmarks_mm=points), 64, 1.6)
    assert np.isnan(rois.landmarks_px[0, 3]).all() and np.isfinite(rois.landmarks_px[0, 4]).all()


def test_a_subject_that_lost_its_zeros_in_a_csv_is_displaced_as_before(cohort):
    text = cohort.knees.assign(subject_id="00" + cohort.knees["subject_id"].astype(str))
    assert np.array_equal(displacements_mm(text), displacements_mm(cohort.knees))


def test_published_annotations_are_read_in_mm_from_landmark_4(tmp_path):
    file = tmp_path / "points.csv"
    tibia, femur = (
        ",".join(f"{10 * n},{100 + n}" for n in range(9)),
        ",".join(f"{10 * n},50" for n in range(7)),
    )
    file.write_text(f'subject_id,side,kl,tibia,femur\n9000001,L,2,"{tibia}","{femur}"\n')
    offsets = read_annotation(file)[9000001, "L"]
    assert (
        offsets[4].tolist() == [0, 0]
        and offsets[0] == pytest.approx([-12, -1.2])
        and offsets[9] == pytest.approx([-12, -16.2])
    )
    file.write_text('subject_id,side,kl,tibia,femur\n9000001,L,2,"1,2,3","4,5"\n')
    with pytest.raises(KneelError, match="line 2, column tibia: '1,2,3', allowed is 9 points in pixels"):
        read_annotation(file)


def test_a_table_without_a_column_or_without_a_file(tmp_path):
    file = tmp_path / "table.csv"
    knees = Schema({"subject_id": SUBJECT, "side": SIDE}, KNEE)
    with pytest.raises(KneelError, match="table.csv is not there: data/README.md"):
        read_table(file, knees)
    file.write_text("subject_id,kl\n1,2\n")
    with pytest.raises(KneelError, match=r"has no column side \(it has subject_id, kl\)"):
        read_table(file, knees)
    file.write_text("")
    with pytest.raises(KneelError, match="cannot be read as csv"):
        read_table(file, knees)


def test_a_file_that_is_no_picture(tmp_path):
    file = tmp_path / "9000001L.png"
    file.write_bytes(b"this is no picture")
    with pytest.raises(KneelError, match="9000001L.png is not a readable image"):
        read_crop(file, "L")


def test_no_data_at_all_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KNEEL_DATA", str(tmp_path))
    with pytest.raises(KneelError, match="no real knees on this machine: .*data/README.md"):
        load_cohort("crops")
    with pytest.raises(KneelError, match="unknown cohort 'mine'"):
        load_cohort("mine")


def test_the_crops_are_the_529_knees_of_the_study(crops):
    assert len(crops) == 529 and crops.knees["split"].value_counts().to_dict() == {"train": 471, "val": 58}
    assert crops.knees["kl"].value_counts().sort_index().tolist() == [108, 111, 109, 102, 99]
    assert {image.shape for image in crops.images} == {(224, 224)}


def test_the_folds_of_the_crops_are_those_of_the_registration_table(crops):
    registration = crops_module.read_registration()
    rows = registration[registration["split"] != "test"]
    assert (rows["subject_id"].to_numpy() == crops.knees["subject_id"].to_numpy()).all()
    assert [len(held_out) for _, held_out in make_folds(crops)] == [106, 106, 106, 106, 105]


def test_landmarks_lie_on_bone_edges_of_the_real_crops(crops):
    """Gradients along the plateau are stronger at the landmarks than 4 mm above and below."""
    rois = cut_rois(crops, 320, 0.3)
    average = rois.images.mean(axis=0)
    edges = np.abs(np.gradient(average, axis=0))
    x, y = np.nanmean(rois.landmarks_px[:, [1, 2, 6, 7]], axis=0).round().astype(int).T

    def strength(shift):
        return edges[(y[:, None] + shift + np.arange(-3, 4)), x[:, None]].max(axis=1)

    assert (strength(0) > strength(-20)).all() and (strength(0) > strength(20)).all()


def test_the_checksums_are_those_of_the_files(crops):
    pd.testing.assert_frame_equal(list_checksums(paths.downloads()), pd.read_csv(CHECKSUMS))


def linked_downloads(folder):
    """A copy of the downloads made of links, so that single files can be spoilt."""
    source = paths.downloads()
    for file in source.rglob("*"):
        if file.is_file():
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    return folder


def test_half_the_data_and_damaged_files_are_named(crops, tmp_path):
    folder = linked_downloads(tmp_path / "data")
    assert verify(folder).empty
    victim = folder / "oai_crops" / "train" / "0" / "9015798L.png"
    whole = victim.read_bytes()
    victim.unlink()
    with pytest.raises(KneelError, match=r"1 of 529 knee crops are missing .*9015798L.png"):
        load_crops(folder)
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KneelError, match="9015798L.png is not a readable image"):
        load_crops(folder)
    assert verify(folder).values.tolist() == [["oai_crops/train/0/9015798L.png", "different"]]
    victim.write_bytes(whole)
    annotations = folder / "oai_landmarks" / "bf_landmarks_1_0.3.csv"
    text = annotations.read_text().splitlines(keepends=True)
    annotations.unlink()
    annotations.write_text("".join(line.replace("9015798,L,0", "9015798,L,3") for line in text))
    with pytest.raises(KneelError, match="9015798L has KL 3, the registration table says 0"):
        load_crops(folder)
    annotations.write_text("".join(line.replace("9015798,L,0", "nobody,L,0") for line in text))
    with pytest.raises(KneelError, match="no landmarks for .*the file is not complete"):
        load_crops(folder)
    annotations.write_text("".join(text[:300]))
    with pytest.raises(KneelError, match="no landmarks for .*the file is not complete"):
        load_crops(folder)


@pytest.mark.parametrize("header", ["{not json", '{"name": "kept"}', "[]"])
def test_a_kept_cohort_whose_header_is_damaged_is_made_again(cohort, tmp_path, header):
    path = tmp_path / "kept.npz"
    cache.save(cohort, path)
    assert cache.load(path).fingerprint == cohort.fingerprint
    arrays = dict(np.load(path)) | {"header": np.array(header)}
    np.savez(path, **arrays)
    assert cache.load(path) is None


def changed_header(**changes):
    return lambda arrays: (
        arrays | {"header": np.array(json.dumps(json.loads(str(arrays["header"])) | changes))}
    )


@pytest.mark.parametrize(
    "change",
    [
        changed_header(nominal_mm_per_px=None),
        changed_header(nominal_mm_per_px=0.5),
        changed_header(nominal_mm_per_px=10**400),
        changed_header(name="another"),
        changed_header(shapes=[[112, 110]] * 24),
        changed_header(shapes=[[-1, 112], *[[110, 112]] * 23]),
        changed_header(shapes=[[10**400, 1]]),
        changed_header(shapes=None),
        changed_header(knees=[]),
        changed_header(knees={"columns": ["side"], "data": [["L"]] * 24}),
        lambda arrays: arrays | {"header": np.array("[" * 100_000)},
        lambda arrays: arrays | {"header": np.array(3.0)},
        lambda arrays: arrays | {"landmarks_mm": arrays["landmarks_mm"][:, :15]},
        lambda arrays: arrays | {"landmarks_mm": arrays["landmarks_mm"][:-1]},
        lambda arrays: arrays | {"landmarks_mm": arrays["landmarks_mm"].astype(np.float32)},
        lambda arrays: arrays | {"landmarks_mm": arrays["landmarks_mm"].astype(complex)},
        lambda arrays: arrays | {"landmarks_mm": arrays["landmarks_mm"] + 0.1},
        lambda arrays: arrays | {"landmarks_mm": arrays["landmarks_mm"].astype(str)},
        lambda arrays: arrays | {"pixels": arrays["pixels"][:-1]},
        lambda arrays: arrays | {"pixels": arrays["pixels"].astype(np.int8)},
        lambda arrays: arrays | {"pixels": arrays["pixels"] > 3},
        lambda arrays: arrays | {"pixels": arrays["pixels"][::-1]},
    ],
)
def test_a_kept_cohort_in_which_anything_was_changed_is_made_again(cohort, tmp_path, change):
    path = tmp_path / "kept.npz"
    cache.save(cohort, path)
    np.savez(path, **change(dict(np.load(path))))
    assert cache.load(path) is None


def test_a_kept_cohort_that_is_no_file_is_made_again(cohort, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "loop.npz").symlink_to(tmp_path / "loop.npz")
    assert cache.load(tmp_path / "folder.npz") is None and cache.load(tmp_path / "loop.npz") is None


@pytest.mark.parametrize("side", ["R", "L"])
def test_an_inverted_crop_is_turned_round_and_a_left_one_is_mirrored(tmp_path, side):
    drawn = drawn_cohort(4, seed=2)
    for image in drawn.images:
        for number, stored in enumerate((image, 255 - image)):
            stored = stored[:, ::-1] if side == "L" else stored
            Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"{number}.png")
            assert np.array_equal(read_crop(tmp_path / f"{number}.png", side), image)


def test_real_crops_are_turned_round_as_the_registration_found_them_to_be_by_their_gradients(crops):
    stored = [
        np.array(Image.open(crop_path(paths.downloads(), row)).convert("L"))
        for _, row in crops.knees.iterrows()
    ]
    dark = [bone_is_dark(image) for image in stored]
    assert dark == crops.knees["inverted"].astype(bool).tolist() and sum(dark) == 5
    assert all(bone_is_dark(255 - image) != found for image, found in zip(stored, dark))


def test_few_labels_are_others_with_another_seed(cohort):
    known = np.arange(40)
    first, again, other = (set(choose_labels(known, 6, seed)) for seed in (0, 0, 1))
    assert first == again != other and len(first) == len(other) == 6
