"""Whether what a run says of itself is so: its errors follow from its points and the labels, its knees are
those that it held out, its history is whole. The labels of the crops are read for it where they are on this
machine; those of simulated knees are drawn, and are not."""

from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, paths
from kneel_lib.data.cohort import Cohort, knee_name
from kneel_lib.data.crops import NOMINAL_MM_PER_PX, TABLES, annotation_path, labelled_knees
from kneel_lib.data.folds import make_folds, split_rows
from kneel_lib.data.roi_fields import scatter
from kneel_lib.errors import KneelError
from kneel_lib.experiment.predictions import AGAIN, errors_of, points_of

TOLERANCE_MM = 0.01
"""Recorded places are whole hundredths of a mm: an error may differ by 0.0071, and by its own 0.0005."""

CROP_PX = 224
TRAINED = ("network", "roi", "search")


def check_history(history: pd.DataFrame, spec: Any, place: object) -> None:
    """Raise `KneelError` unless the history has a row for each epoch, with the seconds that it took."""
    missing = [name for name in ("epoch", "seconds") if name not in history]
    if missing or not len(history):
        raise KneelError(f"{place}: the history has no {missing[0] if missing else 'rows'}: {AGAIN}")
    numbers = history[["epoch", "seconds"]].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers.to_numpy(float)).all() or (numbers["seconds"] < 0).any():
        raise KneelError(f"{place}: epoch and seconds of the history must be numbers from 0: {AGAIN}")
    if spec.setting.method in TRAINED:
        epochs = max(round(spec.profile.epochs * spec.setting.epoch_share), 1)
        if numbers["epoch"].tolist() != list(range(1, epochs + 1)):
            raise KneelError(
                f"{place}: the history has the epochs {numbers['epoch'].min():g} to "
                f"{numbers['epoch'].max():g} in {len(history)} rows, the run has 1 to {epochs}: {AGAIN}"
            )


def check_errors(predictions: pd.DataFrame, spec: Any, place: object) -> None:
    """Raise `KneelError` if a knee is not one that the run held out, if one of these is missing, or if an
    error is not the distance of the predicted point from the label."""
    truth = labels(spec.tried_on, spec.kind)
    if truth is None or not len(predictions):
        return
    keys = list(zip(predictions["subject_id"].tolist(), predictions["side"].tolist()))
    strange = [key for key in keys if key not in truth]
    if strange:
        raise KneelError(f"{place}: {knee_of(strange[0])} is no knee of {spec.tried_on}: {AGAIN}")
    expected = held_out_knees(spec, truth)
    if expected is not None and expected != set(keys):
        wrong = min(expected ^ set(keys), key=str)
        what = "is missing" if wrong in expected else "was not held out"
        raise KneelError(
            f"{place}: {knee_of(wrong)} {what}; it has {len(set(keys))} knees, the run held out "
            f"{len(expected)}: {AGAIN}"
        )
    compare(predictions, np.stack([truth[key] for key in keys]), place)


def compare(predictions: pd.DataFrame, truth_mm: np.ndarray, place: object) -> None:
    """`check_errors` of the distances: truth_mm (rows, 16, 2), in the predictions' frame."""
    recorded = errors_of(predictions)
    follows = np.linalg.norm(points_of(predictions) - truth_mm, axis=2)
    bent = (np.isnan(recorded) != np.isnan(follows)) | (np.abs(recorded - follows) > TOLERANCE_MM)
    if bent.any():
        row, landmark = np.argwhere(bent)[0]
        raise KneelError(
            f"{place}: {knee_name(predictions.iloc[row])}, ROI {predictions['roi'].iloc[row]}, landmark "
            f"{landmark}: the error says {recorded[row, landmark]:.3f} mm, point and label lie "
            f"{follows[row, landmark]:.3f} mm apart ({bent.sum()} such errors): {AGAIN}"
        )


def knee_of(key: tuple[Hashable, str]) -> str:
    return f"{key[0]}{key[1]}"


def labels(name: str, kind: str) -> dict[tuple[Any, str], np.ndarray] | None:
    """{(subject, side): (16, 2) landmarks in mm of the frame that runs of this cohort, or on this test set,
    predict in}; None of drawn cohorts, and where the annotations are not on this machine, which is said
    once."""
    if (name, kind) not in FRAMES:
        return None
    path = annotation_path(paths.downloads())
    if not path.is_file():
        say_missing(path)
        return None
    return read_labels(name, path, path.stat().st_mtime_ns)


FRAMES = {
    **{(name, kind): ("train", "val") for name in TABLES for kind in ("fold", "split", "transfer")},
    **{(f"{name}_scattered", kind): ("train", "val") for name in TABLES for kind in ("fold", "split")},
    **{(name, "test"): (name,) for name in ("val", "test")},
}
"""{(cohort or test set, kind of run): splits of the crops that its knees are of}."""


@cache
def say_missing(path: Path) -> None:
    print(
        f"the labels are not on this machine (no {path.name} under {path.parent}): recorded errors are taken "
        "as they are; everything else about recorded runs is checked",
        flush=True,
    )


@cache
def read_labels(name: str, path: Path, changed_ns: int) -> dict[tuple[Any, str], np.ndarray]:
    """`labels` of a file as it is since `changed_ns`."""
    table = name.removesuffix("_scattered")
    splits = FRAMES.get((name, "fold")) or (name,)
    knees, points = read_crops(path, changed_ns, splits, table if table in TABLES else "crops")
    if name != table:
        blank = np.zeros((CROP_PX, CROP_PX), np.uint8)
        points = scatter(
            Cohort("crops", knees, (blank,) * len(knees), points, NOMINAL_MM_PER_PX)
        ).landmarks_mm
    elif name not in TABLES:  # a test set's pictures are as their files are: left knees not mirrored
        reach_mm = (CROP_PX - 1) * knees["mm_per_px"].to_numpy(float)
        mirrored = np.stack([landmarks.mirrored(knee, reach) for knee, reach in zip(points, reach_mm)])
        points = np.where((knees["side"] == "L").to_numpy()[:, None, None], mirrored, points)
    return dict(zip(zip(knees["subject_id"], knees["side"]), points))


def held_out_knees(spec: Any, truth: dict[tuple[Any, str], np.ndarray]) -> set[tuple[Any, str]] | None:
    """The knees that a run on crops held out; None where its profile takes only some of them."""
    if spec.profile.knees is not None:
        return None
    if spec.kind in ("transfer", "test"):
        return set(truth)
    path = annotation_path(paths.downloads())
    return knees_of_folds(path, path.stat().st_mtime_ns)[spec.held_out]


@cache
def read_crops(
    path: Path, changed_ns: int, splits: tuple[str, ...], name: str = "crops"
) -> tuple[pd.DataFrame, np.ndarray]:
    return labelled_knees(path.parent.parent, splits, name)


@cache
def knees_of_folds(path: Path, changed_ns: int) -> dict[int | str, set[tuple[Any, str]]]:
    """{fold of the crops, or "val": its knees}."""
    knees, points = read_crops(path, changed_ns, FRAMES["crops", "fold"])
    names = list(zip(knees["subject_id"], knees["side"]))
    cohort = Cohort("crops", knees, (), points, NOMINAL_MM_PER_PX)
    held_out = dict(enumerate(rows for _, rows in make_folds(cohort))) | {"val": split_rows(cohort, "val")[1]}
    return {fold: {names[row] for row in rows} for fold, rows in held_out.items()}
