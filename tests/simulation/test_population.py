import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from kneel_lib import landmarks
from kneel_lib.data import cache as data_cache
from kneel_lib.data import oai
from kneel_lib.data.dicom import read_dicom
from kneel_lib.errors import KneelError
from kneel_lib.simulation import anatomy, phantom, population, shape_model

SMALL = population.take(population.POPULATIONS["simulated"], 6)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KNEEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "name, subjects, knees, grades",
    [
        ("simulated", 720, 748, (150, 150, 149, 150, 149)),
        ("A", 81, 161, (4, 54, 49, 29, 25)),
        ("B", 107, 209, (35, 84, 51, 37, 2)),
    ],
)
def test_populations_have_the_papers_sizes(name, subjects, knees, grades):
    plan = population.plan(population.POPULATIONS[name])
    annotated = plan[plan["annotated"]]
    assert plan["subject_id"].nunique() == subjects and len(plan) == 2 * subjects and len(annotated) == knees
    assert tuple(annotated["kl"].value_counts().sort_index()) == grades
    assert plan["implant"].sum() == population.POPULATIONS[name].implants and not annotated["implant"].any()


def test_training_population_has_28_subjects_with_both_knees():
    annotated = population.plan(population.POPULATIONS["simulated"]).query("annotated")
    assert Counter(annotated["subject_id"].value_counts()) == {1: 692, 2: 28}


@pytest.mark.parametrize("kl", range(5))
def test_landmarks_lie_on_the_edges_of_the_thickness_maps(kl):
    """The bone alone, at 0.1 mm: no landmark is farther than 0.3 mm from where its bone's thickness
    begins."""
    shape = shape_model.load()[kl].sample(np.random.default_rng(kl), 1)[0]
    origin, step = np.array([-60.0, -40.0]), 0.1
    for outline, bone in ((anatomy.femur(shape), landmarks.FEMUR), (anatomy.tibia(shape), landmarks.TIBIA)):
        bone_mm = phantom.rounded(phantom.depth_inside(outline, (800, 1200), origin, step), 15, 40)
        contours, _ = cv2.findContours(
            (bone_mm > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        edge = max(contours, key=len)[:, 0] * step + origin
        distances = np.linalg.norm(shape[list(bone), None] - edge[None], axis=2).min(axis=1)
        assert distances.max() < 0.3


def test_bone_takes_away_light_and_noise_falls_with_more_photons():
    shape = shape_model.load()[0].sample(np.random.default_rng(0), 1)[0]
    maps = phantom.thickness_maps(
        shape, 0, np.random.default_rng(1), (300, 300), np.array([-75.0, -75.0]), 0.5
    )

    def twice(photons):
        return [
            phantom.detect(maps, phantom.Machine(mm_per_px=0.5, photons=photons), np.random.default_rng(seed))
            for seed in (2, 3)
        ]

    few, many = twice(1e3), twice(1e5)
    assert all(value.min() >= 0 and np.isfinite(value).all() for value in maps.values())
    femur, joint = many[0][80:110, 130:170].mean(), many[0][147:150, 60:70].mean()
    assert femur < joint
    assert np.std(few[0] - few[1]) == pytest.approx(10 * np.std(many[0] - many[1]), rel=0.1)


@pytest.mark.trains
def test_landmarks_survive_dicom_annotation_and_reader(cache):
    """Drawn in one machine's pixels, written, read back at 0.3 mm: only the whole pixels of the annotation
    remain as an error."""
    folder = population.make_files(SMALL, jobs=1)
    cohort = oai.load_oai(folder, folder / "annotations.csv", "simulated", jobs=1)
    plan = population.plan(SMALL)
    assert len(cohort) == plan["annotated"].sum() and set(cohort.knees["side"]) == {"L", "R"}
    for index, row in cohort.knees.iterrows():
        knees = plan[plan["subject_id"] == row["subject_id"]]
        random = np.random.default_rng([SMALL.seed, row["subject_id"], 1])
        machine = SMALL.machines[int(random.integers(len(SMALL.machines)))]
        _, points, _, _ = population.draw_radiograph(knees, SMALL.seed, machine, SMALL.shift)
        drawn = points[row["side"]] * machine.mm_per_px * [1 if row["side"] == "R" else -1, 1]
        read = cohort.landmarks_mm[index]
        assert np.linalg.norm((read - read[4]) - (drawn - drawn[4]), axis=1).max() < 0.45


@pytest.mark.trains
def test_left_knees_are_mirrored_so_that_the_fibula_is_on_the_left(cache):
    cohort = population.load_simulated(knees=6, jobs=1)
    for image, points in zip(cohort.images, cohort.landmarks_px):
        below = int(points[0, 1] + 40 / 0.3)
        detail = image - phantom.blur(image.astype(np.float32), (1, 30))
        lateral, medial = (
            detail[below : below + 60, int(x) : int(x) + 13].mean() for x in (points[0, 0], points[8, 0] - 13)
        )
        assert lateral > medial + 3


@pytest.mark.trains
def test_a_seed_gives_the_same_files(cache, monkeypatch, tmp_path):
    first = population.make_files(SMALL, jobs=1)
    monkeypatch.setenv("KNEEL_CACHE", str(tmp_path / "again"))
    again = population.make_files(SMALL, jobs=1)
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert (
        names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
        and len(names) == len(set(population.plan(SMALL)["subject_id"])) + 3
    )
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert population.make_files(replace(SMALL, seed=5), jobs=1) != again


@pytest.mark.trains
def test_files_vary_as_hospitals_do(cache):
    folder = population.make_files(population.take(population.POPULATIONS["simulated"], 25), jobs=2)
    import pydicom

    headers = [
        pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("0.S.1/*/*/*/001"))
    ]
    assert {header.PhotometricInterpretation for header in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {"ImagerPixelSpacing" in header for header in headers} == {True, False}
    assert {header.BitsStored for header in headers} == {12, 14, 16} and {
        header.file_meta.TransferSyntaxUID.is_compressed for header in headers
    } == {True, False}
    images = [read_dicom(path).image for path in sorted(folder.glob("0.S.1/*/*/*/001"))]
    assert all(image[-40:, -40:].mean() < image[image.shape[0] // 3].max() for image in images)


@pytest.mark.trains
def test_oai_folders_that_are_not_whole_are_one_error(cache):
    folder = population.make_files(SMALL, jobs=1)
    annotations = folder / "annotations.csv"
    table = pd.read_csv(annotations)
    table.assign(subject_id=[999, *table["subject_id"][1:]]).to_csv(folder / "other.csv", index=False)
    with pytest.raises(KneelError, match="lists no 'Bilateral PA Fixed Flexion Knee' of subject 999"):
        oai.load_oai(folder, folder / "other.csv", jobs=1)
    table.drop(columns="center").to_csv(folder / "other.csv", index=False)
    with pytest.raises(KneelError, match="has no column center"):
        oai.load_oai(folder, folder / "other.csv", jobs=1)
    table.assign(center="4000,4000").to_csv(folder / "other.csv", index=False)
    with pytest.raises(KneelError, match="its tibial centre, .* is not in .*001"):
        oai.load_oai(folder, folder / "other.csv", jobs=1)
    table.iloc[:0].to_csv(folder / "other.csv", index=False)
    with pytest.raises(KneelError, match="other.csv has 0 rows, expected at least one"):
        oai.load_oai(folder, folder / "other.csv", jobs=1)
    contents = (folder / "contents.csv").read_text()
    pd.read_csv(folder / "contents.csv").assign(
        Folder=lambda rows: rows["Folder"].where(rows.index > 0)
    ).to_csv(folder / "contents.csv", index=False)
    with pytest.raises(KneelError, match="contents.csv, line 2, column Folder: an empty cell"):
        oai.load_oai(folder, annotations, jobs=1)
    (folder / "contents.csv").write_text(contents)
    victim = next(folder.glob("0.S.1/*/*/*/001"))
    victim.write_bytes(victim.read_bytes()[:5000])
    with pytest.raises(KneelError, match="001 is truncated or has damaged pixel data"):
        oai.load_oai(folder, annotations, jobs=1)


@pytest.mark.trains
def test_an_interrupted_drawing_is_started_again_and_finished(cache):
    folder = population.make_files(SMALL, jobs=1)
    partial = folder.with_name(folder.name + ".partial")
    folder.rename(partial)
    (partial / "annotations.csv").unlink()
    assert (
        population.make_files(SMALL, jobs=1) == folder
        and (folder / "annotations.csv").is_file()
        and not partial.exists()
    )


@pytest.mark.trains
def test_the_simulated_cohort_is_the_default_where_there_are_no_real_knees(tmp_path):
    code = "from kneel_lib.experiment.cohorts import load_cohort\n"
    code += "c = load_cohort(simulated_knees=5); print(c.name, len(c))"
    environment = {**os.environ, "KNEEL_DATA": str(tmp_path), "KNEEL_CACHE": str(tmp_path / "cache")}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "this is the simulated cohort" in process.stdout and process.stdout.split()[-2:] == [
        "simulated",
        "5",
    ], process.stderr


@pytest.mark.trains
def test_a_cohort_that_was_cut_once_is_kept(cache, monkeypatch, tmp_path):
    """Equal to the last bit, read without the DICOM files, and cut anew where what was kept is damaged or
    was made by other code."""
    monkeypatch.setenv("KNEEL_CACHE", str(tmp_path))
    first = population.load_simulated(knees=6, jobs=1)
    (kept,) = tmp_path.glob("*.npz")
    files = sorted(tmp_path.glob("*/0.S.1/*/*/*/001"))
    moved = [path.rename(path.with_name("away")) for path in files]
    again = population.load_simulated(knees=6, jobs=1)
    assert again.fingerprint == first.fingerprint and again.knees.dtypes.equals(first.knees.dtypes)
    for path, name in zip(moved, files):
        path.rename(name)
    kept.write_bytes(kept.read_bytes()[:1000])
    assert (
        population.load_simulated(knees=6, jobs=1).fingerprint == first.fingerprint
        and kept.stat().st_size > 1000
    )
    monkeypatch.setattr(data_cache, "readers_hash", lambda: "of other code")
    population.load_simulated(knees=6, jobs=1)
    assert len(list(tmp_path.glob("*.npz"))) == 2


@pytest.mark.parametrize(
    "changed", ["data/dicom_pixels.py", "data/normalisation.py", "imaging.py", "landmarks.py"]
)
def test_whatever_module_reading_passes_through_cuts_anew_where_it_changed(changed, tmp_path):
    library = shutil.copytree(
        data_cache.LIBRARY, tmp_path / "kneel_lib", ignore=shutil.ignore_patterns("weights")
    )
    assert data_cache.readers_hash(library) == data_cache.readers_hash()
    with open(library / changed, "a") as module:
        module.write("# changed\n")
    data_cache.readers_hash.cache_clear()
    assert data_cache.readers_hash(library) != data_cache.readers_hash()
