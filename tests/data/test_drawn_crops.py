"""A folder of drawn knees in the form of the public crops: read, checked and spoilt as those are.

Runs on every machine; `test_data.py` does the same with the real ones where they are.
"""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kneel_lib import landmarks, paths
from kneel_lib.data import crops
from kneel_lib.data.folds import make_folds, split_rows
from kneel_lib.data.rois import cut_rois
from kneel_lib.errors import KneelError

ROI_MIDDLE = 233


def text(values):
    return ",".join(str(int(value)) for value in np.ravel(values))


def write_downloads(cohort, folder, data):
    """Each picture as its file has it: left knees mirrored, every fifth inverted. Returns the
    registration."""
    annotations, rows = [], []
    for number, (image, points) in enumerate(zip(cohort.images, cohort.landmarks_mm)):
        knee = cohort.knees.iloc[number]
        row = {"subject_id": knee["subject_id"], "side": knee["side"], "kl": knee["kl"]}
        inside = np.round((points - points[landmarks.CENTRE]) / 0.3) + ROI_MIDDLE
        bones = {"tibia": landmarks.TIBIA, "femur": landmarks.FEMUR}
        annotations.append({**row, **{name: text(inside[list(bone)]) for name, bone in bones.items()}})
        x, y = points[landmarks.CENTRE] / knee["mm_per_px"]
        split, inverted = "val" if number >= 20 else "train", int(number % 5 == 0)
        rows.append(
            row
            | {"split": split, "mm_per_px": knee["mm_per_px"], "x4_px": x, "y4_px": y, "inverted": inverted}
        )
        stored = 255 - image if inverted else image
        path = crops.crop_path(folder, rows[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored[:, ::-1] if knee["side"] == "L" else stored).save(path)
    crops.annotation_path(folder).parent.mkdir()
    pd.DataFrame(annotations).to_csv(crops.annotation_path(folder), index=False)
    data.mkdir()
    table = pd.DataFrame(rows)
    table.to_csv(data / crops.TABLES["crops"], index=False)
    return table


@pytest.fixture
def downloads(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "tables")
    monkeypatch.setattr(crops, "CHECKSUMS", tmp_path / "tables" / "checksums.csv")
    write_downloads(cohort, tmp_path / "downloads", tmp_path / "tables")
    drawn = crops.sha256(tmp_path / "tables" / crops.TABLES["crops"])
    monkeypatch.setitem(crops.REGISTRATION_SHA256, "crops", drawn)
    return tmp_path / "downloads"


def test_drawn_crops_are_read_as_they_were_drawn(cohort, downloads):
    read = crops.load_crops(downloads)
    assert len(read) == 24 and read.name == "crops" and read.nominal_mm_per_px == crops.NOMINAL_MM_PER_PX
    assert read.knees["split"].value_counts().to_dict() == {"train": 20, "val": 4}
    assert all(np.array_equal(one, other) for one, other in zip(read.images, cohort.images))
    assert np.abs(read.landmarks_mm - cohort.landmarks_mm).max() <= 0.151, "whole pixels of 0.3 mm"
    assert np.allclose(read.landmarks_mm[:, 4], cohort.landmarks_mm[:, 4])


def test_landmarks_of_drawn_crops_lie_on_their_dots(downloads):
    """The mirror image, the inversion and the spacing fit together, in ROIs of every kind."""
    rois = cut_rois(crops.load_crops(downloads), 96, 0.9)
    for image, points in zip(rois.images, rois.landmarks_px):
        x, y = np.clip(np.round(points), 0, 95).astype(int).T
        assert image[y, x].mean() > image.mean() + 80


def test_splits_and_folds_of_drawn_crops_hold_whole_subjects_out(downloads):
    read = crops.load_crops(downloads)
    for known, held_out in [split_rows(read, "val"), *make_folds(read)]:
        subjects = [set(read.knees["subject_id"].iloc[rows]) for rows in (known, held_out)]
        assert subjects[0] and subjects[1] and not subjects[0] & subjects[1]
    assert len(crops.load_crops(downloads, splits=("val",))) == 4


def test_checksums_find_what_is_missing_and_what_is_different(downloads):
    crops.list_checksums(downloads).to_csv(crops.CHECKSUMS, index=False)
    assert len(pd.read_csv(crops.CHECKSUMS)) == 25 and crops.verify(downloads).empty
    first, second = sorted(downloads.rglob("*.png"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes() + b"\0")
    assert sorted(crops.verify(downloads).values.tolist()) == sorted(
        [
            [first.relative_to(downloads).as_posix(), "missing"],
            [second.relative_to(downloads).as_posix(), "different"],
        ]
    )


def test_half_of_the_drawn_crops_and_damaged_ones_are_named(downloads):
    victim = downloads / "oai_crops" / "train" / "0" / "9000000R.png"
    whole = victim.read_bytes()
    victim.unlink()
    with pytest.raises(KneelError, match=r"1 of 24 knee crops are missing .*9000000R.png"):
        crops.load_crops(downloads)
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KneelError, match="9000000R.png is not a readable image"):
        crops.load_crops(downloads)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: [line.replace("9000000,R,0", "9000000,R,3") for line in lines], "has KL 3, .* says 0"),
        (
            lambda lines: [line.replace("9000000,R", "nobody,R") for line in lines],
            "no landmarks for 9000000R",
        ),
        (lambda lines: lines[:10], r"no landmarks for .* .15 knees.: the file is not complete"),
        (lambda lines: ["a,b\n"], "has no column subject_id"),
    ],
)
def test_annotations_that_do_not_fit_the_drawn_crops_are_one_error(downloads, change, message):
    path = crops.annotation_path(downloads)
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(KneelError, match=message):
        crops.load_crops(downloads)
