from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kneel_lib import landmarks
from kneel_lib.data import dicom, radiographs, roi_fields
from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.profiles import ROI_PROFILES, Profile
from kneel_lib.experiment.rows import ROI, SETTINGS
from kneel_lib.network import training
from kneel_lib.pipeline import predictors, pretrained
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.locate import NoKneeFound
from kneel_lib.pipeline.paper_pipeline import (
    BILATERAL_MM,
    doubt,
    implausibility,
    locate,
    locate_knee,
    more_plausible,
    softmax_maps,
    view,
    with_doubt,
)
from kneel_lib.simulation import population

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
    """The drawn cohort's landmarks are bright dots: they must still be bright where the scattered picture
    says that they are."""
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
    assert implausibility(chosen) == min(implausibility(knee) for knee in both.values())


def test_a_wide_picture_whose_file_says_its_side_shows_one_knee(files, networks):
    radiograph = dicom.read_dicom(files[0])
    assert radiograph.image.shape[1] * radiograph.mm_per_px > BILATERAL_MM
    assert [knee.side for knee in locate(replace(radiograph, side="L"), networks)] == ["L"]


def test_two_knees_need_networks_that_search(files, networks):
    with pytest.raises(KneelError, match="shows two knees, but there is no network for ROI localisation"):
        locate(dicom.read_dicom(files[0]), networks)


def test_roi_localisation_that_is_sure_of_nothing_finds_no_knee(files, networks):
    """The map of an untrained network is flat, whatever the picture shows."""
    torch.manual_seed(0)
    model = training.make_network(ROI, TINY, 1).eval()
    with pytest.raises(NoKneeFound, match="shows no knee that ROI localisation could find"):
        locate(dicom.read_dicom(files[0]), networks, [predictors.Network(model, 64, 4.0)])


def test_a_second_stage_looks_where_the_first_one_saw_the_centre(files, networks):
    radiograph = replace(dicom.read_dicom(files[0]), side="R")
    (one,), (two,) = (locate(radiograph, networks, stages=stages) for stages in (1, 2))
    start = one.points_mm[landmarks.CENTRE]
    again = locate_knee(radiograph, networks, start, "R", 1)
    assert np.allclose(again.points_px, two.points_px) and not np.allclose(one.points_px, two.points_px)


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


KNEE = Knee("R", np.full((16, 2), 300.0), 0.2, np.full(16, 0.5), 30.0, ())


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, []),
        ({"spread_mm": np.linspace(0.5, 2.9, 16)}, []),
        ({"spread_mm": np.linspace(0.5, 3.4, 16)}, ["views disagree by 3.4 mm at landmark 15"]),
        ({"shape_distance": 130.0}, ["no knee has this shape (distance 130)"]),
        ({"points_px": np.full((16, 2), 601.0)}, ["landmarks outside of the picture"]),
    ],
)
def test_an_answer_is_doubted_for_what_speaks_against_it(changes, said):
    assert list(doubt(replace(KNEE, **changes), (640, 600))) == said


@pytest.mark.parametrize("share, trusted", [(0.69, False), (0.7, True), (1.0, True)])
def test_a_knee_of_which_roi_localisation_was_unsure_is_not_trusted(share, trusted):
    knee = with_doubt(replace(KNEE, doubts=()), share)
    assert knee.trusted == trusted
    assert trusted or knee.doubts == (f"ROI localisation was unsure of this knee (share {share:.2f})",)
    assert with_doubt(replace(KNEE, doubts=("another",)), share).doubts[0] == "another"


def test_a_side_is_a_guess_where_the_other_mirroring_is_about_as_plausible():
    tried = [replace(KNEE, side=side, shape_distance=d) for side, d in (("R", 60.0), ("L", 30.0))]
    near = replace(tried[0], shape_distance=31.0)
    assert more_plausible(tried) == tried[1] and more_plausible([near, tried[1]]).side == "L"
    assert more_plausible([near, tried[1]]).doubts[0].startswith("its side is a guess")


def test_each_view_is_that_of_a_roi_moved_by_its_own_shift(files, networks):
    radiograph, centre = dicom.read_dicom(files[0]), np.array([80.0, 120.0])
    arguments = radiograph.image, radiograph.spacing_mm
    shifts = ((0.0, 0.0), (4.0, 0.0), (0.0, -4.0))
    views = view(*arguments, replace(networks[0], views_mm=shifts), centre)
    plain = replace(networks[0], views_mm=((0.0, 0.0),))
    alone = [view(*arguments, plain, centre + shift)[0] for shift in shifts]
    assert np.allclose(views, alone, atol=0.05) and np.abs(views[1] - views[0]).max() > 1
