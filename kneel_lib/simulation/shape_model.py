"""A point-distribution model of the knee for each KL grade, from the published landmarks; only its numbers
are committed.

Shapes are aligned by translation to the tibial centre (landmark 4), as the paper's ROIs are: size and
rotation are part of the variation, because radiographs show them. `python -m
kneel_lib.simulation.shape_model` writes data/shape_model.json again, and for each fold of the crops a model
that has not seen the subjects held out there (`unseen_name`): with these, what a network learns from
simulated knees cannot hold anything of them.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, Len

from kneel_lib import landmarks, paths
from kneel_lib.data.crops import ANNOTATION, annotation_path, load_crops, read_annotation
from kneel_lib.data.folds import make_folds
from kneel_lib.data.json_records import read_json
from kneel_lib.data.tables import read_table, read_text
from kneel_lib.errors import KneelError
from kneel_lib.files import write_text

NAME = "shape_model.json"
GRADES = tuple("01234")
KEPT_VARIANCE = 0.999
FARTHEST = 3.0
"""Samples beyond this many standard deviations along a mode are drawn again."""

LEAST_GAP_MM = 0.0
FACING = ((1, 10), (2, 11), (6, 13), (7, 14))
"""Pairs of landmarks (tibia, femur) that face each other over the joint space."""


FARTHEST_MM = 500.0
"""No landmark lies as far from the tibial centre, and no deviation is as large."""

Coordinate = Annotated[float, Ge(-FARTHEST_MM), Le(FARTHEST_MM)]
Shape = Annotated[list[tuple[Coordinate, Coordinate]], Len(landmarks.COUNT, landmarks.COUNT)]
MOST_MODES = 2 * landmarks.COUNT


@dataclass(frozen=True)
class Kept:
    """One grade's model as the json holds it."""

    knees: Annotated[int, Ge(2), Le(1_000_000)]
    mean_mm: Shape
    modes: Annotated[list[Shape], Len(1, MOST_MODES)]
    deviations_mm: Annotated[list[Annotated[float, Ge(0), Le(FARTHEST_MM)]], Len(1, MOST_MODES)]


@dataclass(frozen=True)
class ShapeModel:
    """Shapes of one grade in mm from landmark 4: mean (16, 2), modes (k, 16, 2) of unit length, deviations
    (k,) in mm."""

    kl: int
    knees: int
    mean: np.ndarray
    modes: np.ndarray
    deviations: np.ndarray

    def landmark_deviations(self) -> np.ndarray:
        """Standard deviation of each landmark coordinate, (16, 2) mm, that the kept modes carry."""
        return np.sqrt(np.einsum("kij,k->ij", self.modes**2, self.deviations**2))

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """`count` shapes, (count, 16, 2) mm;
        those whose bones would overlap or that lie far out are drawn again."""
        shapes = np.empty((0, landmarks.COUNT, 2))
        while len(shapes) < count:
            weights = random.normal(size=(2 * count, len(self.deviations)))
            drawn = self.mean + np.einsum("nk,kij->nij", weights * self.deviations, self.modes)
            shapes = np.concatenate(
                [shapes, drawn[(np.abs(weights) < FARTHEST).all(axis=1) & possible(drawn)]]
            )
        return shapes[:count]


def possible(shapes: np.ndarray) -> np.ndarray:
    """Which shapes have their landmarks in order from lateral to medial and the femur above the tibia."""
    ordered = [
        np.diff(shapes[:, list(bone), 0], axis=1).min(axis=1) > 0
        for bone in (landmarks.TIBIA, landmarks.FEMUR)
    ]
    gaps = np.stack([shapes[:, tibia, 1] - shapes[:, femur, 1] for tibia, femur in FACING], axis=1)
    return ordered[0] & ordered[1] & (gaps.min(axis=1) > LEAST_GAP_MM)


def fit(shapes: np.ndarray, kl: int) -> ShapeModel:
    """The model of these shapes, (n, 16, 2) mm from landmark 4."""
    mean = shapes.mean(axis=0)
    _, singular, modes = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
    variances = singular**2 / (len(shapes) - 1)
    kept = np.searchsorted(np.cumsum(variances) / variances.sum(), KEPT_VARIANCE) + 1
    return ShapeModel(
        kl, len(shapes), mean, modes[:kept].reshape(-1, landmarks.COUNT, 2), np.sqrt(variances[:kept])
    )


def published_shapes(path: Path | str, without: Collection[Any] = ()) -> dict[Any, np.ndarray]:
    """{KL grade: (n, 16, 2) mm from landmark 4} of the published annotations, but for those of the subjects
    `without`."""
    offsets = read_annotation(path)
    table = read_table(path, ANNOTATION)
    table = table[~table["subject_id"].isin(without)]
    return {
        kl: np.stack([offsets[row.subject_id, row.side] for row in rows.itertuples()])
        for kl, rows in table.groupby("kl")
    }


def save(models: Iterable[ShapeModel], name: str = NAME) -> None:
    """Write the models as a json of this name under data/, rounded to 0.1 micrometres."""
    content = {
        str(m.kl): {
            "knees": m.knees,
            "mean_mm": m.mean.round(4).tolist(),
            "modes": m.modes.round(5).tolist(),
            "deviations_mm": m.deviations.round(4).tolist(),
        }
        for m in models
    }
    write_text(paths.DATA / name, json.dumps(content) + "\n")


def unseen_name(fold: int | str) -> str:
    """The committed file of the models without the subjects that this fold of the crops holds out."""
    return f"shape_model_unseen_{fold}.json"


@cache
def load(name: str = NAME) -> dict[int, ShapeModel]:
    """{KL grade: `ShapeModel`} from the committed file of this name; `KneelError` if it is not whole."""
    path, again = paths.DATA / name, "get it again from git"
    kept = read_json(read_text(path, again), dict[str, Kept], path, again)
    if sorted(kept) != list(GRADES):
        raise KneelError(f"{path} has models of the grades {', '.join(kept)}, expected are 0 to 4: {again}")
    for kl, entry in kept.items():
        if len(entry.modes) != len(entry.deviations_mm):
            raise KneelError(
                f"{path}, {kl}: {len(entry.modes)} modes and {len(entry.deviations_mm)} deviations, "
                f"there must be as many: {again}"
            )
    return {
        int(kl): ShapeModel(
            int(kl), entry.knees, *map(np.array, (entry.mean_mm, entry.modes, entry.deviations_mm))
        )
        for kl, entry in kept.items()
    }


if __name__ == "__main__":
    cohort, annotation = load_crops(), annotation_path(paths.downloads())
    left_out: dict[str, Any] = {
        NAME: (),
        **{
            unseen_name(fold): cohort.knees["subject_id"].iloc[held_out]
            for fold, (_, held_out) in enumerate(make_folds(cohort))
        },
    }
    for name, subjects in left_out.items():
        save([fit(shapes, kl) for kl, shapes in published_shapes(annotation, subjects).items()], name)
