"""What `predict` is trained from: the search, and the landmark network of normalised ROIs of the knee's
size."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY

from kneel_lib import paths
from kneel_lib.data.rois import PLATEAU_MM, cut_rois, plateau_mm
from kneel_lib.errors import KneelError
from kneel_lib.experiment import methods, runs, spec, trained
from kneel_lib.experiment.cohorts import NAMES, load_cohort
from kneel_lib.experiment.profiles import PROFILES, SEARCH_PROFILES, profile_for
from kneel_lib.experiment.rows import BEST, NORMALISED, ROI, SEARCH, SETTINGS, find_setting
from kneel_lib.network import training
from kneel_lib.simulation.search_fields import SIDE_PX, search_fields

SEEN = replace(TINY, size_px=128, spacing_mm=1.0)


@pytest.fixture(scope="module")
def fields(cohort):
    """Pictures for the search: of drawn knees in the place of real ones, a third of them held out."""
    split = np.where(np.arange(len(cohort)) < 16, "train", "val")
    return search_fields(cohort, replace(cohort, knees=cohort.knees.assign(split=split)))


def test_the_search_can_be_asked_for_by_name_and_is_no_row_of_a_table():
    assert find_setting("search") == SEARCH and "search" not in SETTINGS and "search_fields" in NAMES


@pytest.mark.parametrize("setting", [BEST, NORMALISED, ROI])
def test_only_the_search_is_trained_on_its_pictures(setting, fields):
    with pytest.raises(KneelError, match=f"are for the search, not for {setting.name}: choose"):
        spec.plan(setting, TINY, fields, "val")


def test_the_search_is_trained_on_no_other_pictures(cohort):
    with pytest.raises(KneelError, match="the search is trained on pictures of its own: give search_fields"):
        spec.plan(SEARCH, SEEN, cohort, "val")


@pytest.mark.parametrize("name", PROFILES)
def test_the_search_has_profiles_of_its_own_whose_pixels_are_its_pictures(name):
    profile = profile_for(SEARCH, PROFILES[name])
    assert profile == SEARCH_PROFILES.get(name, SEARCH_PROFILES["study"])
    shown = profile.size_px * profile.spacing_mm
    assert shown == 128 and shown * (1 + 2 * methods.MARGIN_SHARE) <= SIDE_PX
    assert profile_for(NORMALISED, PROFILES[name]) == PROFILES[name]


@pytest.mark.parametrize("setting", [NORMALISED, SEARCH])
def test_their_specs_are_read_back_from_json_as_they_were(setting, cohort, fields):
    planned = spec.plan(setting, SEEN, fields if setting is SEARCH else cohort, "val")
    data = json.loads(json.dumps(spec.as_data(planned)))
    assert spec.from_data(data) == planned and spec.from_data(data).hash == planned.hash
    assert spec.from_data(data).setting.label == setting.label


def test_runs_of_a_normalised_row_see_every_knee_as_large(cohort):
    normalised, plain = (
        methods.cut_as(spec.plan(setting, TINY, cohort, 0), cohort) for setting in (NORMALISED, BEST)
    )
    wanted = cut_rois(cohort, TINY.size_px, TINY.spacing_mm, scale="plateau", grey="normalised")
    assert np.array_equal(normalised.images, wanted.images)
    assert plateau_mm(normalised.landmarks_px) == pytest.approx(PLATEAU_MM / TINY.spacing_mm, rel=1e-4)
    assert plateau_mm(plain.landmarks_px).std() > 0.1


@pytest.mark.trains
def test_the_search_trains_on_all_landmarks_in_whole_pictures(fields, store):
    run = runs.get_run(SEARCH, SEEN, fields, "val")
    assert len(run.chosen("image")) == 24 and set(run.chosen("image")["split"]) == {"val"}
    assert np.isfinite(run.errors("image")).all()
    network = trained.load_network(run)
    assert network.architecture.landmarks == 16
    held_out = fields.select((fields.knees["split"] == "val").to_numpy())
    rois = methods.cut_as(run.spec, held_out, "image")
    middle = np.stack([image[16:-16, 16:-16] for image in held_out.images]).astype(int)
    assert np.abs(rois.images - middle).mean() < 3, "normalised once, they are as normalised as before"
    points = rois.to_mm(training.predict(network, rois))
    assert np.allclose(points[:, 0], run.chosen("image")[["x0", "y0"]].to_numpy(), atol=1e-2)


@pytest.mark.trains
def test_a_normalised_rows_run_measures_in_true_millimetres(cohort, store):
    run = runs.get_run(NORMALISED, TINY, cohort, 0)
    rows = run.chosen()
    points = rows[[f"{axis}{n}" for n in range(16) for axis in "xy"]].to_numpy().reshape(-1, 16, 2)
    truth = np.stack(
        [
            cohort.landmarks_mm[
                ((cohort.knees["subject_id"] == row.subject_id) & (cohort.knees["side"] == row.side)).argmax()
            ]
            for row in rows.itertuples()
        ]
    )
    assert np.allclose(np.linalg.norm(points - truth, axis=2), run.errors(), atol=2e-3)


@pytest.mark.trains
def test_the_pictures_for_the_search_are_made_of_what_this_machine_has(store, tmp_path, monkeypatch):
    """Without real crops, of simulated halves alone."""
    monkeypatch.setenv("KNEEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KNEEL_DATA", str(tmp_path / "nothing"))
    assert not (paths.downloads() / "oai_crops").exists()
    made = load_cohort("search_fields", 6)
    assert made.name == "search_fields" and set(made.knees["split"]) == {"train"} and 0 < len(made) <= 12
    assert {image.shape for image in made.images} == {(SIDE_PX, SIDE_PX)}
