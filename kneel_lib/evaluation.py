"""Test sets (section 4.5, Table 2): whole pipelines on images that no part of the training has seen.

"A" and "B" are simulated, with the paper's sizes: bilateral radiographs, in which both knees are searched first. "val" and "test" are the splits of
the real crops, one knee each, so the first ROI is cut around the middle; nothing true is used but the file's side. Spacing is the file's
own, or for crops the nominal one; the true one only turns errors into mm. An evaluation is kept and recorded like a run.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics, paths, runs
from kneel_lib.data.cohorts import load_cohort, search_name
from kneel_lib.data.crops import crop_path, load_crops
from kneel_lib.data.dicom import Radiograph, read_dicom
from kneel_lib.data.oai import annotated_radiographs, described, radiograph_points_mm
from kneel_lib.data.simulated import POPULATIONS, make_files, take
from kneel_lib.data.rois import cut_rois
from kneel_lib.engines import get_table
from kneel_lib.errors import KneelError
from kneel_lib.pipeline import Forests, Network, NoKneeFound, locate
from kneel_lib.progress import Progress
from kneel_lib.settings import BEST, SEARCH, SETTINGS, profile_for

DATASETS = ("A", "B", "val", "test")
STAGES = {"rfrv_clm": 1, "one_stage": 1, "two_stage": 2}
"""The rows of Table 2: voting forests in BoneFinder's place, and the network's pipeline with one or two stages of landmarks."""


@dataclass(frozen=True)
class Case:
    """One image file and its knees: a table row each, and landmarks (knees, 16, 2) in mm of the file as it shows them, at the true spacing."""

    radiograph: Radiograph
    knees: pd.DataFrame
    truth_mm: np.ndarray


def load_cases(dataset, simulated_knees=None):
    """(fingerprint, number of images, the `Case`s one by one) of a test set; `KneelError` for an unknown one or where its images are missing."""
    if dataset not in DATASETS:
        raise KneelError(f"unknown test set '{dataset}': choose one of {', '.join(DATASETS)}")
    if dataset in POPULATIONS:
        folder = make_files(take(POPULATIONS[dataset], simulated_knees))
        groups, points = annotated_radiographs(folder, folder / "annotations.csv")
        return folder.name, len(groups), (radiograph_case(*group, points) for group in groups)
    cohort = load_crops(splits=(dataset,))
    return cohort.fingerprint, len(cohort), (crop_case(cohort, row) for row in range(len(cohort)))


def radiograph_case(path, rows, points):
    """The `Case` of a bilateral radiograph."""
    radiograph = read_dicom(path)
    truth = [radiograph_points_mm(radiograph, row, points[row.subject_id, row.side]) for row in rows.itertuples()]
    return Case(radiograph, pd.DataFrame([described(row, radiograph.mm_per_px) for row in rows.itertuples()]), np.stack(truth))


def crop_case(cohort, row):
    """The `Case` of a single-knee crop, as its file shows it: a left knee is mirrored back."""
    knee, image, points = cohort.knees.iloc[row], cohort.images[row], cohort.landmarks_mm[row]
    if knee["side"] == "L":
        image, points = np.ascontiguousarray(image[:, ::-1]), landmarks.mirrored(points, (image.shape[1] - 1) * knee["mm_per_px"])
    path = crop_path(paths.downloads(), knee)
    return Case(Radiograph(path, image, cohort.nominal_mm_per_px, knee["side"]), cohort.knees.iloc[[row]], points[None])


@dataclass(frozen=True)
class Team:
    """The finished runs that a pipeline is made of: landmark runs (networks, or one of forests), and ROI searches where there is something to search."""

    landmark_runs: tuple
    search_runs: tuple = ()

    def load(self, profile):
        """(predictors, search networks), ready to use."""
        return ([load_predictor(run, profile) for run in self.landmark_runs], [load_network(run) for run in self.search_runs])


def load_network(run):
    size = run.config["profile"]
    return Network(run.load_network(), size["size_px"], size["spacing_mm"])


def load_predictor(run, profile):
    """A run's network, or its forests."""
    if run.config["setting"].get("method") != "rfrv_clm":
        return load_network(run)
    return Forests(runs.load_forests(run, profile, load_cohort(run.config["cohort"], profile.simulated)))


def get_team(dataset, method, profile, folds=None, seed=0, device="cpu", weights=False):
    """The `Team` of one row of Table 2, trained where it is missing. weights: ready to predict, see `runs.get_run`.

    A and B: the fold models (`folds`, default: the profile's) of the simulated development cohort and of its ROI search. val and test: a
    network trained on the crops' training split. Of the forests, those of the first fold.
    """
    real = dataset not in POPULATIONS
    folds = ["val"] if real else list(range(profile.folds) if folds is None else folds)
    cohort = load_cohort("crops" if real else "simulated", profile.simulated)
    setting = SETTINGS["rfrv_clm"] if method == "rfrv_clm" else BEST
    found = get_table([setting], profile, cohort, folds[:1] if method == "rfrv_clm" else folds, (seed,), device, weights=weights)
    if real:
        return Team(tuple(found))
    searching = profile_for(SEARCH, profile)
    halves = load_cohort(search_name("simulated"), profile.simulated)
    return Team(tuple(found), tuple(get_table([SEARCH], searching, halves, folds, (seed,), device, weights=weights)))


def evaluate(dataset, method, profile, folds=None, seed=0, device="cpu"):
    """The finished evaluation of a pipeline on a test set, as a `runs.Run`: loaded if it exists, else made now.

    A row of its predictions is a knee: x, y in mm of the file, e in mm, `trusted`, and the seconds that its file took. A knee that was not found
    has empty ones.
    """
    if method not in STAGES:
        raise KneelError(f"unknown pipeline '{method}': choose one of {', '.join(STAGES)}")
    fingerprint, count, cases = load_cases(dataset, profile.tested)
    team = get_team(dataset, method, profile, folds, seed, device)
    config = make_config(dataset, fingerprint, count, method, team, seed)

    def make():
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        ready = get_team(dataset, method, profile, folds, seed, device, weights=True)
        predictions = predict_cases(f"{method} on {dataset}", cases, count, *ready.load(profile), STAGES[method])
        history = pd.DataFrame({"epoch": [0], "seconds": [predictions["seconds"].sum()]})
        minutes = np.mean([run.manifest["train_seconds"] for run in team.landmark_runs]) / 60
        return runs.keep(config, {"started": started, "train_seconds": round(60 * float(minutes), 1), **runs.environment(device)}, history, predictions)
    return runs.find_or_make(config, make)


def make_config(dataset, fingerprint, count, method, team, seed):
    """All that an evaluation's numbers depend on; see `runs.make_config`."""
    first = team.landmark_runs[0].config
    networks = {name: [runs.content_hash(run.config) for run in made] for name, made in (("landmarks", team.landmark_runs), ("search", team.search_runs))}
    looks = (Forests if method == "rfrv_clm" else Network).looks
    return {"recipe": runs.RECIPE, "cohort": dataset, "fingerprint": fingerprint, "knees": count, "fold": "test", "seed": seed,
            "trained_on": first["cohort"], "setting": {"name": method, "method": "pipeline", "stages": STAGES[method], "looks_mm": looks},
            "profile": first["profile"], "networks": networks}


def predict_cases(what, cases, count, predictors, search_networks, stages):
    """The predictions table of a pipeline on all cases."""
    progress, parts = Progress(what, count, unit="image"), []
    for done, case in enumerate(cases, start=1):
        clock = time.monotonic()
        try:
            located = {knee.side: knee for knee in locate(case.radiograph, predictors, search_networks, stages=stages)}
        except NoKneeFound:
            located = {}
        parts.append(case_table(case, located).assign(seconds=time.monotonic() - clock))
        progress.advance(done)
    progress.close()
    return pd.concat(parts, ignore_index=True)


def case_table(case, located):
    """The rows of one case: who, x and y in mm of the file at the true spacing, error in mm, trusted. located: {side: `pipeline.Knee`}."""
    nothing = np.full((landmarks.COUNT, 2), np.nan)
    found = [located.get(side) for side in case.knees["side"]]
    scale = case.knees["mm_per_px"].to_numpy(float)[:, None, None]
    points_mm = np.stack([nothing if knee is None else knee.points_px for knee in found]) * scale
    values = np.concatenate([points_mm, metrics.landmark_errors(points_mm, case.truth_mm)[..., None]], axis=2).reshape(len(found), -1)
    who = case.knees[["subject_id", "side", "kl", "split"]].reset_index(drop=True).assign(fold="test", roi="found")
    who["trusted"] = [knee is not None and knee.trusted for knee in found]
    return pd.concat([who, pd.DataFrame(values, columns=runs.COORDINATES)], axis=1)
