import hashlib
import json

import numpy as np
import pytest

from kneel_lib import landmarks, paths
from kneel_lib.data.crops import annotation_path
from kneel_lib.data.folds import FOLDS, make_folds
from kneel_lib.errors import KneelError
from kneel_lib.simulation import shape_model
from kneel_lib.simulation.population import SIMULATOR

MODELS = shape_model.load()


@pytest.mark.parametrize("kl", range(5))
def test_samples_have_the_statistics_of_the_committed_numbers(kl):
    model = MODELS[kl]
    shapes = model.sample(np.random.default_rng(1), 3000)
    assert np.abs(shapes.mean(axis=0) - model.mean).max() < 0.5
    moving = [n for n in range(landmarks.COUNT) if n != landmarks.CENTRE]
    assert np.abs(shapes.std(axis=0)[moving] / model.landmark_deviations()[moving] - 1).max() < 0.15
    assert shape_model.possible(shapes).all()


@pytest.mark.parametrize("kl", range(5))
def test_samples_have_the_statistics_of_the_published_landmarks(kl, crops):
    real = shape_model.published_shapes(annotation_path(paths.downloads()))[kl]
    shapes = MODELS[kl].sample(np.random.default_rng(2), 3000)
    assert MODELS[kl].knees == len(real) in (149, 150)
    assert np.abs(shapes.mean(axis=0) - real.mean(axis=0)).max() < 0.5
    moving = [n for n in range(landmarks.COUNT) if n != landmarks.CENTRE]
    assert np.abs(shapes.std(axis=0)[moving] / real.std(axis=0)[moving] - 1).max() < 0.15


def test_joint_space_narrows_with_the_grade():
    gaps = [MODELS[kl].mean[7, 1] - MODELS[kl].mean[14, 1] for kl in range(5)]
    assert gaps[0] > gaps[3] > gaps[4] > 0


def test_fitting_finds_the_mode_that_made_the_shapes():
    random = np.random.default_rng(0)
    mode = random.normal(size=(16, 2))
    mode /= np.linalg.norm(mode)
    mean = MODELS[0].mean
    model = shape_model.fit(mean + random.normal(0, 3, (400, 1, 1)) * mode, kl=0)
    assert len(model.deviations) == 1 and model.deviations[0] == pytest.approx(3, rel=0.1)
    assert abs((model.modes[0] * mode).sum()) == pytest.approx(1, abs=1e-6)


def test_overlapping_bones_and_disorder_are_not_possible():
    good = MODELS[0].mean
    overlapping, disordered = good.copy(), good.copy()
    overlapping[14, 1] = good[7, 1] + 1
    disordered[[0, 1]] = good[[1, 0]]
    assert shape_model.possible(np.stack([good, overlapping, disordered])).tolist() == [True, False, False]


@pytest.mark.parametrize("fold", range(FOLDS))
def test_the_model_of_a_fold_has_not_seen_its_held_out_subjects(fold, crops):
    known, held_out = (set(crops.knees["subject_id"].iloc[rows]) for rows in make_folds(crops)[fold])
    seen = shape_model.published_shapes(annotation_path(paths.downloads()), held_out)
    assert not known & held_out
    for kl, model in shape_model.load(shape_model.unseen_name(fold)).items():
        assert model.knees == len(seen[kl]) < MODELS[kl].knees
        assert np.abs(model.mean - seen[kl].mean(axis=0)).max() < 1e-3
        assert np.abs(model.mean - MODELS[kl].mean).max() > 1e-3


def test_a_changed_shape_model_comes_with_a_new_version_of_the_simulator():
    content = b"".join(
        (paths.DATA / name).read_bytes()
        for name in (shape_model.NAME, *map(shape_model.unseen_name, range(FOLDS)))
    )
    assert (SIMULATOR, hashlib.sha256(content).hexdigest()) == (
        4,
        "41bf958f4e157c8e45791efce3c60f4b645af0181271fb524410c7f940c692c5",
    ), (
        "a shape model's file has changed: raise SIMULATOR, whose number is the only thing that kept files "
        "and runs know of it by, and put the new sum here"
    )


def models(change):
    whole = json.loads((paths.DATA / shape_model.NAME).read_text())
    change(whole["2"])
    return json.dumps(whole)


WHOLE = (paths.DATA / shape_model.NAME).read_text()
DAMAGED = {
    "empty": "",
    "not json": "x",
    "a list": "[]",
    "null": "null",
    "deep": '{"2":' * 50_000 + "1" + "}" * 50_000,
    "cut off": WHOLE[:9000],
    "doubled": WHOLE + WHOLE,
    "no grade": "{}",
    "a sixth grade": WHOLE.replace('"2":', '"7":', 1),
    "knees as text": models(lambda model: model.update(knees="148")),
    "knees true": models(lambda model: model.update(knees=True)),
    "knees 10**400": models(lambda model: model.update(knees=10**400)),
    "no modes": models(lambda model: model.pop("modes")),
    "modes null": models(lambda model: model.update(modes=None)),
    "NaN": models(lambda model: model["mean_mm"][3].__setitem__(0, float("nan"))),
    "inf": models(lambda model: model["modes"][3][0].__setitem__(1, float("inf"))),
    "10**400": models(lambda model: model["mean_mm"][3].__setitem__(0, 10**400)),
    "far": models(lambda model: model["mean_mm"].__setitem__(2, [1e9, 1e9])),
    "15 points": models(lambda model: model["mean_mm"].pop()),
    "ragged": models(lambda model: model["mean_mm"][2].pop()),
    "a mode less": models(lambda model: model["modes"].pop()),
    "negative deviation": models(lambda model: model["deviations_mm"].__setitem__(0, -5.0)),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_shape_model_is_one_line_that_names_file_and_place(tmp_path, monkeypatch, text):
    (tmp_path / "damaged.json").write_text(text)
    monkeypatch.setattr(paths, "DATA", tmp_path)
    with pytest.raises(KneelError, match="damaged.json.*get it again from git") as caught:
        shape_model.load.__wrapped__("damaged.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
