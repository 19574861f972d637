"""The networks that travel with the package, used as a user would: on files, from the command line."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from kneel_lib import landmarks, metrics, paths
from kneel_lib.cli import main
from kneel_lib.data import radiographs
from kneel_lib.data.crops import crop_path
from kneel_lib.data.normalisation import normalised_cut
from kneel_lib.data.rois import PLATEAU_MM, plateau_mm
from kneel_lib.pipeline import onnx_export, predict, pretrained, test_sets
from kneel_lib.pipeline.locate import NoKneeFound, locate

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def shipped():
    return predict.load_pretrained()


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Six simulated bilateral radiographs of a test set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_CACHE", str(tmp_path_factory.mktemp("shipped-cache")))
        _, _, found = test_sets.load_cases("A", 10)
        return list(found)


def moved(case, image):
    return radiographs.Radiograph(
        case.radiograph.path, np.ascontiguousarray(image), case.radiograph.mm_per_px
    )


def test_networks_for_landmarks_and_for_the_search_came_with_the_package(shipped):
    landmark_networks, search_networks = shipped
    assert landmark_networks and search_networks
    for network in landmark_networks + search_networks:
        assert network.model.architecture.landmarks == landmarks.COUNT
        assert network.precision == "fp32"  # whatever the processor is good at


def test_each_network_is_small_and_stands_in_the_model_card():
    card = (pretrained.FOLDER / "MODEL_CARD.md").read_text()
    files = sorted(pretrained.FOLDER.glob("*.safetensors"))
    assert set(predict.NEEDED) <= {path.name.split("-")[0] for path in files} <= set(pretrained.KINDS)
    for path in files:
        assert path.stat().st_size <= 6e6 and path.name in card
    assert "not a medical device" in card


def test_real_crops_that_were_kept_out_of_training(crops, shipped):
    """From the file alone: no spacing and no side; the truth only measures how far off the answer is."""
    held_out = crops.select((crops.knees["split"] == "val").to_numpy())
    errors, sides, wrong = [], [], []
    for (_, row), truth in zip(held_out.knees.iterrows(), held_out.landmarks_mm):
        path = crop_path(paths.downloads(), row)
        radiograph, (knee,) = predict.predict_file(path, shipped, side=row["side"])
        last = radiograph.image.shape[1] - 1
        points = knee.points_px if row["side"] == "R" else landmarks.mirrored(knee.points_px, last)
        errors.append(np.linalg.norm(points * row["mm_per_px"] - truth, axis=1))
        _, (guessed,) = predict.predict_file(path, shipped)
        sides.append(guessed.side == row["side"])
        wrong += [] if sides[-1] else [guessed]
    errors = np.stack(errors)
    assert len(errors) == 58 and metrics.mean_radial_error(errors) <= 1.05
    assert metrics.outliers_paper(errors) == 0
    assert np.mean(sides) >= 0.95 and not any(knee.trusted for knee in wrong)


def test_an_inverted_crop_without_a_spacing_gives_the_same_landmarks(crops, shipped):
    held_out = crops.select((crops.knees["split"] == "val").to_numpy()).select(slice(0, 4))
    for image in held_out.images:
        plain = radiographs.Radiograph(paths.downloads(), image, None)
        inverted = radiographs.Radiograph(paths.downloads(), 255 - image, None)
        (knee,), (other,) = locate(plain, *shipped, "R"), locate(inverted, *shipped, "R")
        away = np.linalg.norm(knee.points_px - other.points_px, axis=1) * PLATEAU_MM / knee.plateau_px
        assert away.mean() < 1.0 and "bone is dark in this picture: turned round" in other.notes


def test_an_inverted_knee_without_a_spacing_gives_the_same_landmarks(cases, shipped):
    """The simulated twin of the test before: 130 mm around a knee, as large as a crop."""
    for case in cases[:3]:
        (_, row), step = next(case.knees.iterrows()), case.radiograph.mm_per_px
        left, top = ((case.truth_mm[0][landmarks.CENTRE] - 65) / step).astype(int)
        side = int(130 / step)
        image = case.radiograph.image[max(top, 0) : top + side, max(left, 0) : left + side]
        plain, inverted = (
            radiographs.Radiograph(case.radiograph.path, one, None) for one in (image, 255 - image)
        )
        (knee,), (other,) = (locate(one, *shipped, row["side"]) for one in (plain, inverted))
        away = np.linalg.norm(knee.points_px - other.points_px, axis=1) * PLATEAU_MM / knee.plateau_px
        assert away.mean() < 1.0 and "bone is dark in this picture: turned round" in other.notes


def test_both_knees_of_a_radiograph_are_found_and_mirroring_swaps_them(cases, shipped):
    for case in cases[:3]:
        knees = {knee.side: knee for knee in locate(case.radiograph, *shipped)}
        assert set(knees) == {"R", "L"}
        for (_, row), truth in zip(case.knees.iterrows(), case.truth_mm):
            assert np.linalg.norm(knees[row["side"]].points_mm - truth, axis=1).max() < 10
        width = case.radiograph.image.shape[1]
        swapped = {knee.side: knee for knee in locate(moved(case, case.radiograph.image[:, ::-1]), *shipped)}
        for side, other in (("R", "L"), ("L", "R")):
            back = landmarks.mirrored(swapped[other].points_px, width - 1) * case.radiograph.mm_per_px
            assert np.linalg.norm(back - knees[side].points_mm, axis=1).mean() < 1.0


def test_both_knees_of_an_inverted_radiograph_are_found(cases, shipped):
    for case in cases[:2]:
        knees = {knee.side: knee for knee in locate(moved(case, 255 - case.radiograph.image), *shipped)}
        for (_, row), truth in zip(case.knees.iterrows(), case.truth_mm):
            assert np.linalg.norm(knees[row["side"]].points_mm - truth, axis=1).max() < 10


def test_a_knee_in_a_wide_strip_or_on_a_large_canvas_is_found(cases, shipped):
    (_, row), truth = next(cases[0].knees.iterrows()), cases[0].truth_mm[0] / cases[0].radiograph.mm_per_px
    first, last = truth.min(axis=0) - 150, truth.max(axis=0) + 150
    (left, top), (right, bottom) = first.round().astype(int).clip(0), last.round().astype(int)
    image = cases[0].radiograph.image[top:bottom, left:right]
    height, width = image.shape
    for canvas in (
        np.zeros((height + 40, 7 * height), np.uint8),
        np.full((5 * height, 5 * width), 255, np.uint8),
    ):
        canvas[20 : 20 + height, 30 : 30 + width] = image
        (knee,) = locate(moved(cases[0], canvas), *shipped)
        away = np.linalg.norm(knee.points_px - (truth - [left, top] + [30, 20]), axis=1)
        assert away.max() * cases[0].radiograph.mm_per_px < 10 and knee.side == row["side"]


def test_two_knees_that_lie_the_other_way_round_are_not_trusted(cases, shipped):
    """Cut apart and swapped, so that each lies where one of the other side would."""
    for case in cases[:2]:
        image = case.radiograph.image
        middle = image.shape[1] // 2
        swapped = np.concatenate([image[:, middle:], image[:, :middle]], axis=1)
        found = locate(moved(case, swapped), *shipped)
        assert len(found) == 2 and not any(knee.trusted for knee in found)


def test_of_two_pairs_on_one_sheet_one_is_answered_and_the_others_are_named(cases, shipped):
    sheet = np.concatenate([cases[2].radiograph.image, cases[2].radiograph.image], axis=0)
    found = locate(moved(cases[2], sheet), *shipped)
    assert 1 <= len(found) <= 2
    assert all(any("left out: give one radiograph a file" in note for note in knee.notes) for knee in found)


def test_how_a_picture_was_turned_is_noted_and_no_doubt(cases, shipped):
    turned = replace(cases[0].radiograph, turned="the file is mirrored, and was turned")
    for knee, plain in zip(locate(turned, *shipped), locate(cases[0].radiograph, *shipped)):
        assert turned.turned in knee.notes and knee.doubts == plain.doubts


def test_one_leg_alone_is_one_knee(cases, shipped):
    image = cases[0].radiograph.image.copy()
    image[:, : image.shape[1] // 2] = 0
    assert [knee.side for knee in locate(moved(cases[0], image), *shipped)] == ["L"]


def test_a_picture_without_a_knee_has_none(cases, shipped):
    shape = cases[0].radiograph.image.shape
    random = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for picture, said in ((np.zeros(shape, np.uint8), "the same grey value"), (random, "shows no knee")):
        with pytest.raises(NoKneeFound, match=said):
            locate(moved(cases[0], picture), *shipped)


def test_an_upside_down_radiograph_is_not_trusted(cases, shipped):
    answered = []
    for case in cases[:3]:
        with suppress(NoKneeFound):
            answered += locate(moved(case, case.radiograph.image[::-1]), *shipped)
    assert answered and not any(knee.trusted for knee in answered)


def test_a_knee_at_the_border_is_found_or_doubted(cases, shipped):
    """Cut off 25 mm below the tibial centre: what is still in the picture must be right, or said to be
    doubtful."""
    case = cases[0]
    (_, row), truth = next(case.knees.iterrows()), case.truth_mm[0]
    last = int((truth[:, 1].max() + 25) / case.radiograph.mm_per_px)
    knees = {knee.side: knee for knee in locate(moved(case, case.radiograph.image[:last]), *shipped)}
    knee = knees[row["side"]]
    assert not knee.trusted or np.linalg.norm(knee.points_mm - truth, axis=1).max() < 10


def test_shipped_networks_say_the_same_in_onnxruntime(cases, shipped, tmp_path):
    case = cases[0]
    network = shipped[0][0]
    exported = onnx_export.load(onnx_export.export(network, tmp_path / "network.onnx"))
    images = []
    for truth in case.truth_mm / case.radiograph.mm_per_px:
        step = network.spacing_mm * float(plateau_mm(truth)) / PLATEAU_MM
        origin = truth[landmarks.CENTRE] - step * (network.size_px - 1) / 2
        images.append(normalised_cut(case.radiograph.grey, origin, step, network.size_px))
    images = np.stack(images)
    with torch.no_grad():
        exact = onnx_export.Whole(network)(torch.from_numpy(images[:, None]).float())
    for found, wanted in zip(exported.answer(images), exact):
        assert np.abs(found - wanted.numpy()).max() * network.spacing_mm < 0.01


def test_a_folder_of_a_hundred_bad_files_from_the_command_line(cases, tmp_path, capsys):
    """One line each, exit code 1 at the end, and every good file done."""
    folder, random = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    case = cases[0]
    left = case.radiograph.image[:, : case.radiograph.image.shape[1] // 2]
    for number in range(2):
        Image.fromarray(np.ascontiguousarray(left[100 * number :])).save(folder / f"good{number}.png")
    whole = case.radiograph.path.read_bytes()
    (folder / "whole.dcm").write_bytes(whole)
    for number in range(60):
        damaged = bytearray(whole[: random.integers(1, len(whole) // 2)])
        damaged[random.integers(len(damaged))] ^= 0xFF
        (folder / f"cut{number}.dcm").write_bytes(bytes(damaged))
    for number in range(25):
        (folder / f"noise{number}.png").write_bytes(random.bytes(int(random.integers(0, 3000))))
    for number, content in enumerate([b"", b"text", b"%PDF-1.7", b"PK\x03\x04", b"<html></html>"] * 3):
        (folder / f"other{number}.{('jpg', 'dcm', 'txt')[number % 3]}").write_bytes(content)
    code = main(
        [
            "predict",
            str(folder),
            "--output",
            str(tmp_path / "out"),
            "--spacing",
            str(case.radiograph.mm_per_px),
            "--side",
            "R",
            "--jobs",
            "1",
        ]
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(lines) == 100
    table = pd.read_csv(tmp_path / "out" / "landmarks.csv")
    found = table.groupby("file").size()
    assert found[found > 1].to_dict() == {"good0.png": 16, "good1.png": 16, "whole.dcm": 32}
    assert (found == 1).sum() == 100 and table[table["landmark"].isna()]["reason"].str.len().min() > 10
