"""Two runs of one spec: how far their answers lie apart."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kneel_lib.errors import KneelError
from kneel_lib.experiment.provenance import commit_of
from kneel_lib.experiment.store import Run, points_of
from kneel_lib.reporting.sizes import machine_of


def compared(recorded: Run, again: Run) -> Iterator[dict[str, Any]]:
    """A row a kind of weights. apart: between what both say of the same landmark, in mm; recorded places are
    rounded to 0.01 mm. Raises `KneelError` where `again` is the recorded run itself."""
    if again.manifest["started"] == recorded.manifest["started"]:
        raise KneelError(f"{again.folder} is the recorded run itself: set KNEEL_RUNS to an empty folder")
    for weights in recorded.predictions["weights"].unique():
        ours, theirs = (
            run.chosen(weights=weights).sort_values(["subject_id", "side"]) for run in (recorded, again)
        )
        apart = np.linalg.norm(points_of(ours) - points_of(theirs), axis=2)
        mre = [float(run.errors(weights=weights).mean()) for run in (recorded, again)]
        yield {
            "setting": recorded.spec.setting.name,
            "cohort": recorded.spec.cohort,
            "profile": recorded.spec.profile.name,
            "fold": recorded.spec.held_out,
            "seed": recorded.spec.seed,
            "weights": weights,
            "recorded_on": machine_of(recorded),
            "again_on": machine_of(again),
            "recorded_commit": commit_of([recorded.manifest]),
            "again_commit": commit_of([again.manifest]),
            "recorded_mre_mm": mre[0],
            "again_mre_mm": mre[1],
            "difference_mm": mre[1] - mre[0],
            "mean_apart_mm": float(apart.mean()),
            "greatest_apart_mm": float(apart.max()),
        }
