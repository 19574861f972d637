"""What goes wrong, on simulated radiographs: one drawn knee, spoilt in many ways, and what predict says of
it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kneel_lib.data.cohort import Cohort
from kneel_lib.figures.style import TWO_COLUMNS, show_knee
from kneel_lib.pipeline.predict import Networks
from studies.strangers.distortions import RIGHT, SPOILT, Distortion
from studies.strangers.measure import Told, answer_of, as_files

KINDS = (
    *("as it is", "inverted", "gamma 2", "turned by 10 degrees", "edges enhanced", "wide white border"),
    *("upside down", "a quarter turn", "false colours", "metal", "lateral third cut off", "texture"),
)
"""Of the strangers' distortions: two rows that should be answered, and two that should be doubted."""

EMPTY = ("texture",)
"""Those of them that show no knee."""

COLUMNS = 4
Case = tuple[Distortion, np.ndarray, Told]
"""(what was done, the picture (H, W) or (H, W, 3), what predict said)."""


def drawn_cases(cohort: Cohort, networks: Networks, kinds: Sequence[str] = KINDS) -> list[Case]:
    """The first knee of a simulated cohort, spoilt, and answered from a file as strangers send it."""
    known = {kind.name: kind for kind in (*RIGHT, *SPOILT)}
    image, points, side, step = next(as_files(cohort))
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "knee.png")
        for kind in (known[name] for name in kinds):
            picture, places = kind.change(image, points)
            cv2.imwrite(str(path), picture)
            cases.append((kind, picture, answer_of(path, places, side, step, networks, None)))
    return cases


def gallery(cases: Sequence[Case]) -> Figure:
    """A panel a case: true landmarks as circles, answers as crosses, and what was doubted."""
    rows = -(-len(cases) // COLUMNS)
    size = TWO_COLUMNS, rows * TWO_COLUMNS / COLUMNS * 1.22
    figure, panels = plt.subplots(rows, COLUMNS, figsize=size, layout="constrained", squeeze=False)
    for axes in panels.flat[len(cases) :]:
        axes.remove()
    for axes, (kind, picture, told) in zip(panels.flat, cases):
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        found = told.knee.points_px if told.knee else None
        known = None if kind.name in EMPTY else told.places
        title = f"{kind.name}\n{verdict(told, known is not None)}"
        show_knee(axes, grey, told.mm_per_px, known, found, title)
    return figure


def verdict(told: Told, a_knee: bool = True) -> str:
    """What came of a file, in a few words; an error only where there is a knee."""
    if told.knee is None:
        return "no knee found"
    said = "trusted" if told.knee.trusted else "doubted"
    return f"{told.errors_mm.mean():.1f} mm, {said}" if a_knee else said


def case_table(cases: Sequence[Case]) -> pd.DataFrame:
    """A row a case: whether it should be answered, mean and greatest error in mm, trust, and the doubts."""
    return pd.DataFrame(
        [
            {
                "kind": kind.name,
                "should_be_answered": kind.right,
                "found": told.knee is not None,
                "mean_mm": np.nan if kind.name in EMPTY else told.errors_mm.mean(),
                "greatest_mm": np.nan if kind.name in EMPTY else told.errors_mm.max(),
                "trusted": bool(told.knee and told.knee.trusted),
                "trust": told.knee.trust if told.knee else np.nan,
                "doubts": "; ".join(told.knee.doubts) if told.knee else "",
            }
            for kind, _, told in cases
        ]
    )
