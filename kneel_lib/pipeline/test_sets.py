"""Test sets (section 4.5, Table 2): whole pipelines on images that no part of the training has seen.

"A" and "B" are simulated, with the paper's sizes: bilateral radiographs, in which both knees are localised
first. "val" and "test" are the splits of the real crops, one knee each, so the first ROI is cut around the
middle; nothing true is used but the file's side. Spacing is the file's own, or for crops the nominal one; the
true one only turns errors into mm. An evaluation is kept and recorded like a run.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics, paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import crop_path, load_crops
from kneel_lib.data.oai import annotated_radiographs, described, radiograph_points_mm
from kneel_lib.data.radiographs import Radiograph, read_radiograph
from kneel_lib.errors import KneelError, find
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.cohorts import load_cohort, roi_cohort_name
from kneel_lib.experiment.engines import get_table
from kneel_lib.experiment.profiles import Profile, profile_for
from kneel_lib.experiment.rows import BEST, DATASETS, ROI, SETTINGS, STAGES
from kneel_lib.experiment.settings import Setting
from kneel_lib.experiment.spec import Pipeline, RunSpec
from kneel_lib.experiment.store import COORDINATES, FINAL, Run
from kneel_lib.pipeline.forests import Forests
from kneel_lib.pipeline.locate import NoKneeFound
from kneel_lib.pipeline.paper_pipeline import locate
from kneel_lib.pipeline.predictors import Network
from kneel_lib.progress import Progress
from kneel_lib.simulation.population import POPULATIONS, make_files, take

SIMULATED_SETS = ("A", "B")


@dataclass(frozen=True)
class Case:
    """One image file and its knees: a table row each, and landmarks (knees, 16, 2) in mm of the file as it
    shows them, at the true spacing."""

    radiograph: Radiograph
    knees: pd.DataFrame
    truth_mm: np.ndarray


def chosen(
    datasets: Sequence[str], models: int, profile: Profile, real: bool
) -> tuple[list[str], Sequence[int]]:
    """(the test sets of these that can be made, the folds whose models are averaged); real: whether the real
    crops are there. Raises `KneelError` where there is no such set, or the profile has fewer folds."""
    found = [dataset for dataset in datasets if real or dataset in SIMULATED_SETS]
    if not found:
        raise KneelError(f"{', '.join(datasets)}: no test set is left, since the real crops are not chosen")
    if models > profile.folds:
        raise KneelError(f"{models} models: profile {profile.name} has {profile.folds} folds")
    return found, range(models)


def load_cases(dataset: str, simulated_knees: int | None = None) -> tuple[str, int, Iterator[Case]]:
    """(fingerprint, number of images, the `Case`s one by one) of a test set;
    `KneelError` for an unknown one or where its images are missing."""
    find(dataset, DATASETS, "test set")
    if dataset in POPULATIONS:
        folder = make_files(take(POPULATIONS[dataset], simulated_knees))
        groups, points = annotated_radiographs(folder, folder / "annotations.csv")
        return folder.name, len(groups), (radiograph_case(*group, points) for group in groups)
    cohort = load_crops(splits=(dataset,))
    return cohort.fingerprint, len(cohort), (crop_case(cohort, row) for row in range(len(cohort)))


def radiograph_case(path: Path, rows: pd.DataFrame, points: Any) -> Case:
    """The `Case` of a bilateral radiograph."""
    radiograph = read_radiograph(path)
    truth = [
        radiograph_points_mm(radiograph, row, points[row.subject_id, row.side]) for row in rows.itertuples()
    ]
    return Case(
        radiograph,
        pd.DataFrame([described(row, radiograph.spacing_mm) for row in rows.itertuples()]),
        np.stack(truth),
    )


def crop_case(cohort: Cohort, row: int) -> Case:
    """The `Case` of a single-knee crop, as its file shows it: a left knee is mirrored back."""
    knee, image, points = cohort.knees.iloc[row], cohort.images[row], cohort.landmarks_mm[row]
    if knee["side"] == "L":
        image, points = (
            np.ascontiguousarray(image[:, ::-1]),
            landmarks.mirrored(points, (image.shape[1] - 1) * knee["mm_per_px"]),
        )
    path = crop_path(paths.downloads(), knee)
    return Case(
        Radiograph(path, image, cohort.nominal_mm_per_px, knee["side"]),
        cohort.knees.iloc[[row]],
        points[None],
    )


@dataclass(frozen=True)
class Team:
    """The finished runs that a pipeline is made of: landmark runs (networks, or one of forests), and ROI
    networks where knees are still to be found."""

    landmark_runs: tuple
    roi_runs: tuple = ()

    def load(self) -> tuple[list[Any], list[Network]]:
        """(predictors, ROI networks), ready to use."""
        return (
            [load_predictor(run) for run in self.landmark_runs],
            [predictor_of(run) for run in self.roi_runs],
        )


def predictor_of(run: Run) -> Network:
    profile, grey = run.spec.profile, run.spec.setting.grey
    return Network(trained.load_network(run), profile.size_px, profile.spacing_mm, grey=grey)


def load_predictor(run: Run) -> Network | Forests:
    """A run's network, or its forests."""
    if run.spec.setting.method != "rfrv_clm":
        return predictor_of(run)
    cohort = load_cohort(run.spec.cohort, run.spec.profile.simulated)
    return Forests(trained.load_forests(run, cohort), grey=run.spec.setting.grey)


def get_team(
    dataset: str,
    method: str,
    profile: Profile,
    folds: Sequence[int | str] | None = None,
    seed: int = 0,
    device: str = "cpu",
    weights: bool = False,
) -> Team:
    """The `Team` of one row of Table 2, trained where it is missing. weights: ready to predict, see
    `runs.get_run`.

    A and B: the fold models (`folds`, default: the profile's) of the simulated development cohort and of its
    ROI localisation. val and test: a network trained on the crops' training split. Of the forests, those of
    the first fold.
    """
    real = dataset not in POPULATIONS
    folds = ["val"] if real else list(range(profile.folds) if folds is None else folds)
    if not folds:
        raise KneelError("no fold model to average: name one fold at least, 0 to 4 (models: 1 to 5)")
    cohort = load_cohort("crops" if real else "simulated", profile.simulated)
    setting = SETTINGS["rfrv_clm"] if method == "rfrv_clm" else BEST
    found = get_table(
        [setting],
        profile,
        cohort,
        folds[:1] if method == "rfrv_clm" else folds,
        (seed,),
        device,
        weights=weights,
    )
    if real:
        return Team(tuple(found))
    roi_profile = profile_for(ROI, profile)
    halves = load_cohort(roi_cohort_name("simulated"), profile.simulated)
    return Team(
        tuple(found), tuple(get_table([ROI], roi_profile, halves, folds, (seed,), device, weights=weights))
    )


def evaluate(
    dataset: str,
    method: str,
    profile: Profile,
    folds: Sequence[int | str] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Run:
    """The finished evaluation of a pipeline on a test set, as a `store.Run`: loaded if it exists, else made
    now.

    A row of its predictions is a knee: x, y in mm of the file, e in mm, `trusted`, and the seconds that its
    file took. A knee that was not found has empty ones.
    """
    find(method, STAGES, "pipeline")
    fingerprint, count, cases = load_cases(dataset, profile.tested)
    team = get_team(dataset, method, profile, folds, seed, device)
    spec = plan_test(dataset, fingerprint, count, method, team, seed)

    def make() -> Run:
        begun = runs.beginning(device)
        ready = get_team(dataset, method, profile, folds, seed, device, weights=True)
        predictions = predict_cases(f"{method} on {dataset}", cases, count, *ready.load(), STAGES[method])
        history = pd.DataFrame({"epoch": [0], "seconds": [predictions["seconds"].sum()]})
        minutes = np.mean([run.manifest["train_seconds"] for run in team.landmark_runs]) / 60
        return runs.keep(
            spec, {**begun, "train_seconds": round(60 * float(minutes), 1)}, history, predictions
        )

    return runs.find_or_make(spec, make)


def plan_test(dataset: str, fingerprint: str, count: int, method: str, team: Team, seed: int) -> RunSpec:
    """The `RunSpec` of a pipeline's evaluation."""
    first = team.landmark_runs[0].spec
    views = (Forests if method == "rfrv_clm" else Network).views_mm
    members = (tuple(run.spec.hash for run in made) for made in (team.landmark_runs, team.roi_runs))
    pipeline = Pipeline(STAGES[method], views, first.cohort, *members)
    setting = Setting(method, method, method="pipeline")
    return RunSpec("test", setting, first.profile, dataset, fingerprint, count, seed=seed, pipeline=pipeline)


def predict_cases(
    what: str,
    cases: Iterable[Case],
    count: int,
    predictors: Sequence[Any],
    roi_networks: Sequence[Network],
    stages: int,
) -> pd.DataFrame:
    """The predictions table of a pipeline on all cases."""
    progress, parts = Progress(what, count, unit="image"), []
    for done, case in enumerate(cases, start=1):
        clock = time.monotonic()
        try:
            located = {
                knee.side: knee for knee in locate(case.radiograph, predictors, roi_networks, stages=stages)
            }
        except NoKneeFound:
            located = {}
        parts.append(case_table(case, located).assign(seconds=time.monotonic() - clock))
        progress.advance(done)
    progress.close()
    return pd.concat(parts, ignore_index=True)


def case_table(case: Case, located: Any) -> pd.DataFrame:
    """The rows of one case: who, x and y in mm of the file at the true spacing, error in mm, trusted.
    located: {side: `locate.Knee`}."""
    nothing = np.full((landmarks.COUNT, 2), np.nan)
    found = [located.get(side) for side in case.knees["side"]]
    scale = case.knees["mm_per_px"].to_numpy(float)[:, None, None]
    points_mm = np.stack([nothing if knee is None else knee.points_px for knee in found]) * scale
    values = np.concatenate(
        [points_mm, metrics.landmark_errors(points_mm, case.truth_mm)[..., None]], axis=2
    ).reshape(len(found), -1)
    who = (
        case.knees[["subject_id", "side", "kl", "split"]]
        .reset_index(drop=True)
        .assign(fold="test", roi="found", weights=FINAL)
    )
    who["trusted"] = [knee is not None and knee.trusted for knee in found]
    return pd.concat([who, pd.DataFrame(values, columns=COORDINATES)], axis=1)
