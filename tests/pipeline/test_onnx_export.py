from dataclasses import replace

import numpy as np
import pytest
import torch

from kneel_lib.data.rois import Rois, cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import training
from kneel_lib.pipeline import onnx_export, predictors

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=3, batch=8)


def rois_of(images, spacing_mm):
    count, size = len(images), images.shape[-1]
    return Rois(images, np.zeros((count, 1, 2)), np.full(count, spacing_mm), np.zeros((count, 2)), size, 0)


def in_full_precision(network, images):
    with torch.no_grad():
        return onnx_export.Whole(network)(torch.from_numpy(images[:, None]).float()).numpy()


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


def test_flip_averaging_gives_mirrored_answers_for_mirrored_pictures():
    torch.manual_seed(0)
    network = predictors.Network(
        training.make_network(SETTINGS["best"], TINY).eval(), TINY.size_px, TINY.spacing_mm
    )
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])

    def gap(one, order):
        points, other = (one.predict(rois_of(pictures, 1.6)) for pictures in (images, mirrored))
        return np.abs(points - np.stack([63 - other[..., 0], other[..., 1]], axis=-1)[:, order]).max()

    as_it_is = list(range(16))
    assert gap(replace(network, flip=True, saw_mirrored=True), as_it_is) < 1e-4 < gap(network, as_it_is)
    renumbered = [8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9]
    assert gap(replace(network, flip=True), renumbered) < 1e-4 < gap(network, renumbered)
