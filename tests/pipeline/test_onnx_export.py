import numpy as np
import pytest
import torch

from kneel_lib.data.radiographs import Radiograph
from kneel_lib.data.rois import Rois, cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.pipeline import onnx_export, predictors
from kneel_lib.pipeline.locate import locate_knee
from kneel_lib.pipeline.search import Place

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=3, batch=8)


def rois_of(images, spacing_mm):
    count, size = len(images), images.shape[-1]
    return Rois(images, np.zeros((count, 1, 2)), np.full(count, spacing_mm), np.zeros((count, 2)), size, 0)


def in_full_precision(network, images):
    with torch.no_grad():
        landmarks_px, _ = onnx_export.Whole(network)(torch.from_numpy(images[:, None]).float())
    return landmarks_px.numpy()


@pytest.mark.trains
def test_an_exported_network_says_the_same_for_any_number_of_rois(cohort, store, tmp_path):
    run = runs.get_run(SETTINGS["best"], TINY, cohort, 0)
    network = predictors.Network(trained.load_network(run), TINY.size_px, TINY.spacing_mm)
    exported = onnx_export.load(onnx_export.export(network, tmp_path / "network.onnx"))
    assert (exported.size_px, exported.spacing_mm) == (64, 1.6)
    rois = cut_rois(cohort, TINY.size_px, TINY.spacing_mm)
    for count in (1, 5, len(cohort)):
        chosen = rois_of(rois.images[:count], TINY.spacing_mm)
        difference_mm = (
            np.abs(exported.predict(chosen) - in_full_precision(network, chosen.images)) * TINY.spacing_mm
        )
        assert difference_mm.max() < 0.01
    assert exported.predict(rois_of(rois.images, 1.6)).std(axis=0).max() > 0.01, (
        "the answers must depend on the pictures for this to mean anything"
    )


def test_other_files_are_no_networks(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no network")
    for name in ("x.onnx", "absent.onnx"):
        with pytest.raises(KneelError, match=f"{name} is no exported network of this package"):
            onnx_export.load(tmp_path / name)


@pytest.mark.trains
def test_an_exported_network_answers_as_the_network_itself(tiny_networks, cohort, tmp_path):
    """Landmarks and the deviation of their maps, in ROI pixels."""
    for (network,) in tiny_networks:
        exported = onnx_export.load(onnx_export.export(network, tmp_path / "network.onnx"))
        assert (exported.size_px, exported.spacing_mm) == (network.size_px, network.spacing_mm)
        images = cut_rois(cohort, 64, 1.6, scale="plateau", grey="normalised").images[:3]
        expected = network.answer(images)
        for found, wanted in zip(exported.answer(images), expected):
            assert found.shape == wanted.shape and np.abs(found - wanted).max() < 0.01
        assert expected[0].shape == (3, 16, 2) and expected[1].shape == (3, 16)
        assert expected[1].min() > 1, "an untrained network's maps are wide"


@pytest.mark.trains
def test_an_exported_network_takes_a_networks_place_in_locating_a_knee(tiny_networks, cohort, tmp_path):
    radiograph = Radiograph(tmp_path / "drawn.png", cohort.images[0], 0.88)
    place = Place(np.array([56.0, 58.0]), 70.0, "R", 0.05)
    (network,) = tiny_networks[0]
    exported = onnx_export.load(onnx_export.export(network, tmp_path / "network.onnx"))
    knee, other = (locate_knee(radiograph, [one], place, "R") for one in (network, exported))
    assert np.abs(knee.points_px - other.points_px).max() < 0.05
    assert len(knee.doubts) == len(other.doubts) and knee.spread_mm == pytest.approx(
        other.spread_mm, rel=0.01
    )
