import multiprocessing
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from kneel_lib import metrics
from kneel_lib.data.rois import cut_rois
from kneel_lib.experiment.profiles import PROFILES, Profile
from kneel_lib.experiment.rows import BEST
from kneel_lib.network import hourglass, training
from kneel_lib.network.ranges import NONE
from kneel_lib.pipeline import onnx_export
from kneel_lib.pipeline.predictors import Network
from studies.speed import inference as inference_speed
from studies.speed import measures
from studies.speed import threads as beside
from studies.speed import training as training_speed

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=8)


@pytest.fixture(scope="module")
def rois(cohort):
    return training_speed.training_rois(cohort, TINY)


@pytest.mark.trains
def test_every_recipe_trains_and_is_timed(rois):
    rates = training_speed.rates(training_speed.LADDER, rois, TINY, rounds=1, steps=1)
    assert list(rates) == [recipe.name for recipe in training_speed.LADDER] and min(rates.values()) > 0


@pytest.mark.parametrize("augmentation", ["solt", "batched"])
def test_batches_hold_the_landmarks_where_the_pictures_show_them(augmentation, rois):
    recipe = replace(training_speed.PAPER, augmentation=augmentation)
    inputs, truth = next(training_speed.batches(recipe, rois, TINY, ranges=NONE))
    assert inputs.shape == (8, 1, 64, 64) and truth.shape == (8, 16, 2)
    for picture, points in zip((255 * (0.25 * inputs[:, 0] + 0.45)).numpy(), 64 * truth.numpy()):
        moved = points - rois.landmarks_px
        knee = int(moved.std(axis=1).sum(axis=1).argmin())
        shift = moved[knee].mean(axis=0)
        assert np.allclose(moved[knee], shift, atol=0.6), "without ranges a knee is moved as a whole"
        shown = cv2.warpAffine(
            rois.images[knee], np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float), (64, 64)
        )
        assert np.abs(picture - shown)[8:-8, 8:-8].mean() < 4


def held_out_errors(recipe, cohort, known, held_out, profile, seed=0):
    """Landmark errors in mm (knees, 16) of the held-out rows after the profile's epochs of training under a
    recipe, one-cycle rate.
    """
    rois, unseen = training_speed.training_rois(cohort.select(known), profile), cohort.select(held_out)
    tried = cut_rois(unseen, profile.size_px, profile.spacing_mm)
    if recipe.ours:
        found = training.predict(training.train(training_speed.SETTING, profile, rois, seed).model, tried)
        return metrics.landmark_errors(tried.to_mm(found), unseen.landmarks_mm)
    trainer, steps = (
        training_speed.make_trainer(recipe, profile, seed),
        profile.epochs * (len(known) // profile.batch),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        trainer.optimizer, training_speed.SETTING.learning_rate, total_steps=steps
    )
    with closing(training_speed.batches(recipe, rois, profile, seed)) as stream:
        for _ in range(steps):
            trainer.step(*next(stream))
            schedule.step()
    trainer.model.eval()
    with torch.no_grad():
        inputs = training.standardise(torch.from_numpy(tried.images)[:, None].float() / 255)
        found = torch.cat([trainer.forward(part) for part in inputs.split(training.EVALUATION_BATCH)])
    return metrics.landmark_errors(tried.to_mm(found.numpy() * profile.size_px), unseen.landmarks_mm)


@pytest.mark.trains
def test_recipes_that_change_no_numbers_give_the_same_network(cohort):
    known, held_out = np.arange(16), np.arange(16, 24)
    recipes = (
        training_speed.BATCHED,
        training_speed.CHANNELS_LAST,
        replace(training_speed.CHANNELS_LAST, fused=True),
    )
    plain, last, fused = (held_out_errors(recipe, cohort, known, held_out, TINY) for recipe in recipes)
    assert np.allclose(plain, last, atol=0.05) and np.allclose(last, fused, atol=0.05) and plain.std() > 0


@pytest.mark.trains
def test_a_busy_process_is_there_while_the_rates_beside_it_are_taken(rois):
    table = pd.DataFrame(beside.rates(rois, TINY, cores=2, steps=1))
    assert list(table["busy_processes"]) == [0, 1] * 3 and table["way"].nunique() == 3
    assert (table["images_per_s"] > 0).all() and (table["share"][::2] == 1).all()
    before = multiprocessing.active_children()
    with beside.busy_processes(2):
        busy = [process for process in multiprocessing.active_children() if process not in before]
        assert len(busy) == 2 and all(process.is_alive() for process in busy)
    assert not any(process.is_alive() for process in busy)


def test_operations_are_those_that_can_be_counted_by_hand():
    architecture = replace(hourglass.PAPER, width=4, depth=1)
    profile = replace(TINY, depth=1)
    assert (
        measures.operations("paper", profile)
        < measures.operations("paper", TINY)
        < measures.operations("paper", PROFILES["paper"])
    )
    entry = (
        2 * 32 * 32 * 7 * 7 * architecture.width
    )  # one 7 x 7 convolution of stride 2, forward: a small part of the whole
    assert entry / 1e9 < measures.operations("paper", profile)
    doubled = measures.operations("paper", replace(profile, size_px=128))
    assert doubled == pytest.approx(4 * measures.operations("paper", profile))


@pytest.mark.trains
def test_the_librarys_own_rung_is_the_training_that_the_library_does(cohort):
    known, held_out = np.arange(16), np.arange(16, 24)
    errors = held_out_errors(training_speed.OURS, cohort, known, held_out, TINY)
    trainer = training_speed.make_trainer(training_speed.OURS, TINY)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    stream = training_speed.batches(training_speed.OURS, training_speed.training_rois(cohort, TINY), TINY)
    trainer.step(*next(stream))
    assert errors.shape == (8, 16) and np.isfinite(errors).all()
    assert not any(torch.equal(old, new) for old, new in zip(before, trainer.model.parameters()))


@pytest.mark.trains
def test_shares_of_a_step_add_up(rois):
    shares = measures.time_by_kind(training_speed.OURS, rois, TINY, steps=1)
    assert sum(shares.values()) == pytest.approx(1) and shares["convolution"] > 0 and shares["batch norm"] > 0


def test_recorded_rows_take_the_place_of_their_own_kind_alone(tmp_path):
    path = tmp_path / "speed.csv"
    rows = pd.DataFrame({"what": ["train", "train"], "step": ["a", "b"], "images_per_s": [1.0, 2.0]})
    measures.record(rows, path)
    measures.record(pd.DataFrame({"what": ["infer"], "step": ["c"], "images_per_s": [3.0]}), path)
    measures.record(rows.assign(images_per_s=9.0), path)
    table = pd.read_csv(path)
    assert list(table.columns) == list(measures.COLUMNS)
    assert dict(zip(table["step"], table["images_per_s"])) == {"a": 9.0, "b": 9.0, "c": 3.0}


@pytest.mark.trains
def test_every_way_to_predict_gives_the_same_landmarks(cohort, tmp_path):
    torch.manual_seed(0)
    network = Network(training.make_network(BEST, TINY).eval(), TINY.size_px, TINY.spacing_mm)
    rois = inference_speed.rois_for(network, cohort)
    ladder = inference_speed.rungs(network, tmp_path, rois)
    assert min(inference_speed.rates(ladder, rois, rounds=1).values()) > 0
    reference = ladder[0].network.predict(rois)
    for rung in ladder:
        allowed = 2.0 if "int8" in rung.name else 1.0 if "bf16" in rung.name else 0.01
        assert np.abs(rung.network.predict(rois) - reference).max() < allowed, rung.name
    assert inference_speed.errors_mm(ladder[0], rois, cohort).shape == (len(cohort), 16)
    assert onnx_export.load(tmp_path / "landmarks-int8.onnx").size_px == 64


def test_hours_of_the_table_follow_from_the_rate():
    assert measures.table_hours(100, PROFILES["study"]) == pytest.approx(
        (6 + 2 * 14) * 5 * 423 * PROFILES["study"].epochs / 100 / 3600
    )
