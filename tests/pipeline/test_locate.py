import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from kneel_lib import landmarks
from kneel_lib.data import dicom, radiographs, roi_fields
from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.profiles import ROI_PROFILES, Profile
from kneel_lib.experiment.rows import ROI, SETTINGS
from kneel_lib.network import training
from kneel_lib.pipeline import predict, predictors, pretrained, quality
from kneel_lib.pipeline.locate import BILATERAL_MM, Knee, locate, softmax_maps
from kneel_lib.simulation import population, shape_model

SMALL = population.take(population.POPULATIONS["simulated"], 6)
TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return population.make_files(SMALL, jobs=1)


@pytest.fixture(scope="module")
def files(folder):
    return sorted(folder.glob("0.S.1/*/*/*/001"))


@pytest.fixture(scope="module")
def networks():
    """Untrained networks: what they say is nonsense, but always the same."""
    torch.manual_seed(0)
    return [
        predictors.Network(
            training.make_network(SETTINGS["best"], TINY).eval(), TINY.size_px, TINY.spacing_mm
        )
    ]


def test_halves_hold_their_landmarks_where_the_radiograph_shows_them(folder):
    halves = roi_fields.load_halves(folder, folder / "annotations.csv", "simulated", jobs=1)
    whole = pd.read_csv(folder / "annotations.csv")
    assert len(halves) == len(whole) and halves.name == "simulated_halves"
    for image, points, (_, row) in zip(halves.images, halves.landmarks_mm, halves.knees.iterrows()):
        assert (points > 0).all() and (points < np.array(image.shape[::-1])).all()
        assert (np.diff(points[list(landmarks.TIBIA), 0]) > 0).all() == (row["side"] == "R")


def test_a_scattered_crop_keeps_its_landmarks_on_its_pixels(cohort):
    """The drawn cohort's landmarks are bright dots: they must still be bright where the scattered picture says that they are."""
    field = roi_fields.scatter(cohort)
    for image, points, (_, row) in zip(field.images, field.landmarks_mm, field.knees.iterrows()):
        x, y = np.round(points).astype(int).T
        assert image[y, x].mean() > 150 and image.shape == (200, 200)
        assert (points[8, 0] > points[0, 0]) == (row["side"] == "R")
    assert np.linalg.norm(field.landmarks_mm[:, 4] - 100, axis=1).std() > 3


@pytest.mark.trains
def test_the_search_network_learns_and_predicts_one_landmark(folder, store):
    halves = roi_fields.load_halves(folder, folder / "annotations.csv", "simulated", jobs=1)
    profile = ROI_PROFILES["smoke"]
    run = runs.get_run(ROI, profile, halves.select(slice(4, None)), source=halves.select(slice(0, 4)))
    errors = run.errors("image")
    assert (
        np.isfinite(errors[:, landmarks.CENTRE]).all()
        and np.isnan(np.delete(errors, landmarks.CENTRE, axis=1)).all()
    )
    assert trained.load_network(run).architecture.landmarks == 1


def test_mirroring_a_picture_mirrors_the_answer(files, networks):
    radiograph = dicom.read_dicom(files[0])
    single = radiographs.Radiograph(
        radiograph.path, np.ascontiguousarray(radiograph.image[:, :600]), radiograph.mm_per_px
    )
    mirrored = radiographs.Radiograph(
        radiograph.path, np.ascontiguousarray(single.image[:, ::-1]), radiograph.mm_per_px
    )
    (right,), (left,) = locate(single, networks, side="R"), locate(mirrored, networks, side="L")
    assert (right.side, left.side) == ("R", "L")
    assert np.allclose(
        left.points_px, np.stack([599 - right.points_px[:, 0], right.points_px[:, 1]], axis=1), atol=1e-2
    )


def test_an_answer_without_a_side_is_the_more_plausible_mirroring(files, networks):
    radiograph = dicom.read_dicom(files[0])
    single = radiographs.Radiograph(
        radiograph.path, np.ascontiguousarray(radiograph.image[:, :600]), radiograph.mm_per_px
    )
    both = {side: locate(single, networks, side=side)[0] for side in "RL"}
    (chosen,) = locate(single, networks)
    assert quality.implausibility(chosen) == min(quality.implausibility(knee) for knee in both.values())


def test_real_shapes_are_plausible_and_others_are_not():
    random = np.random.default_rng(0)
    for model in shape_model.load().values():
        shapes = model.sample(random, 50) + random.normal(0, 0.7, (50, 16, 2))
        distances = np.array([quality.shape_distance(shape) for shape in shapes])
        assert (distances < 75).mean() > 0.95
        assert (
            quality.shape_distance(shapes[0][::-1]) > 500
            and quality.shape_distance(shapes[0] + random.normal(0, 8, (16, 2))) > 150
        )


def test_joint_space_is_the_distance_of_facing_landmarks():
    points = np.zeros((16, 2))
    points[list(landmarks.TIBIA)] = np.stack([np.arange(9) * 10.0, np.full(9, 50.0)], axis=1)
    points[list(landmarks.FEMUR)] = np.stack([np.linspace(0, 80, 7), np.full(7, 46.0)], axis=1)
    knee = Knee("R", points, 0.5, np.zeros(16), 30.0, ())
    assert (
        knee.joint_space_mm() == {"medial": pytest.approx(2.0), "lateral": pytest.approx(2.0)}
        and knee.trusted
    )


def test_a_wide_picture_whose_file_says_its_side_shows_one_knee(files, networks):
    radiograph = dicom.read_dicom(files[0])
    assert radiograph.image.shape[1] * radiograph.mm_per_px > BILATERAL_MM
    assert [knee.side for knee in locate(replace(radiograph, side="L"), networks)] == ["L"]


def test_two_knees_need_networks_that_search(files, networks):
    with pytest.raises(KneelError, match="shows two knees, but there is no network for ROI localisation"):
        locate(dicom.read_dicom(files[0]), networks)


@pytest.mark.trains
def test_shipped_networks_predict_as_the_run_does(cohort, store, tmp_path):
    run = runs.get_run(SETTINGS["best"], TINY, cohort, 0)
    path = pretrained.write_pretrained(run, "landmarks", tmp_path)
    assert path.stat().st_size < (run.folder / "weights.safetensors").stat().st_size
    (network,) = pretrained.load_networks("landmarks", tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    maps = [
        softmax_maps(predictors.Network(model, 64, 1.6), images)
        for model in (network.model, trained.load_network(run))
    ]
    assert np.abs(maps[0] - maps[1]).max() < 2e-3 and pretrained.load_networks("roi", tmp_path) == []
    (tmp_path / "landmarks-broken.safetensors").write_bytes(b"no")
    with pytest.raises(KneelError, match="is not a readable safetensors file"):
        pretrained.load_networks("landmarks", tmp_path)


def test_a_folder_with_good_and_bad_files_is_done_to_its_end(files, networks, tmp_path, capsys):
    """Single-knee pictures among text, damaged and foreign files: one line each, and every good file has its rows."""
    folder = tmp_path / "in"
    folder.mkdir()
    radiograph = dicom.read_dicom(files[0])
    for number in range(3):
        Image.fromarray(radiograph.image[:, 50 * number : 50 * number + 500]).save(
            folder / f"good{number}.png"
        )
    whole = files[0].read_bytes()
    random = np.random.default_rng(0)
    for number in range(20):
        damaged = bytearray(whole[: random.integers(10, 4000)])
        damaged[random.integers(len(damaged))] ^= 0xFF
        (folder / f"bad{number}.dcm").write_bytes(bytes(damaged))
    (folder / "notes.txt").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    failed = predict.predict_all(folder, tmp_path / "out", mm_per_px=0.3, side="R", pretrained=(networks, []))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert len(failed) == len(lines) == 22
    table = pd.read_csv(tmp_path / "out" / "landmarks.csv")
    assert list(table.columns) == list(predict.COLUMNS) and table.groupby("file").size().to_dict() == {
        f"good{n}.png": 16 for n in range(3)
    }
    assert np.allclose(table["x_mm"], table["x_px"] * 0.3, atol=2e-3)
    written = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    assert (
        len(written["knees"]) == 3
        and set(written["failed"]) == set(failed)
        and set(written["knees"][0]["joint_space_mm"]) == {"medial", "lateral"}
    )
    assert cv2.imread(str(tmp_path / "out" / "overlays" / "good0.png.png")).shape[2] == 3


@pytest.fixture
def pictures(files, tmp_path):
    """Three single-knee pictures, two of which have names that only their folder tells apart."""
    image = dicom.read_dicom(files[0]).image
    for number, name in enumerate(("a/b.png", "a_b.png", "c.png")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, 50 * number : 50 * number + 500]).save(tmp_path / "in" / name)
    return tmp_path / "in"


def test_what_was_written_is_not_read_again_and_every_file_has_its_overlay(pictures, networks):
    for _ in range(2):
        assert (
            predict.predict_all(
                pictures, pictures / "out", mm_per_px=0.3, side="R", pretrained=(networks, [])
            )
            == {}
        )
        assert set(pd.read_csv(pictures / "out" / "landmarks.csv")["file"]) == {"a/b.png", "a_b.png", "c.png"}
    assert sorted(
        str(path.relative_to(pictures / "out" / "overlays")) for path in (pictures / "out").rglob("*.png")
    ) == ["a/b.png.png", "a_b.png.png", "c.png.png"]


def test_answers_so_far_are_kept_when_prediction_is_stopped(pictures, networks, tmp_path):
    """An overlay that cannot be written stops it, as a full disk does, at the second file."""
    (tmp_path / "out" / "overlays" / "a_b.png.png").mkdir(parents=True)
    with pytest.raises(KneelError, match="cannot write .*a_b.png.png"):
        predict.predict_all(pictures, tmp_path / "out", mm_per_px=0.3, side="R", pretrained=(networks, []))
    assert set(pd.read_csv(tmp_path / "out" / "landmarks.csv")["file"]) == {"a/b.png", "a_b.png"}


def test_an_output_that_cannot_be_written_is_said_before_anything_is_predicted(
    pictures, networks, tmp_path, capsys
):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(KneelError, match="cannot write"):
        predict.predict_all(pictures, tmp_path / "out", mm_per_px=0.3, side="R", pretrained=(networks, []))
    assert "predicting" not in capsys.readouterr().out
