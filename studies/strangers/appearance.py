"""`python -m studies.strangers.appearance`: fit the appearance model of `pipeline.appearance` to the real
crops and to drawn knees, and say how far knees that it has not seen are from it: results/appearance.csv."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold

from kneel_lib import paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.rois import plateau_mm
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.runs import commit
from kneel_lib.files import write_arrays, write_text
from kneel_lib.pipeline.appearance import (
    CHANNELS,
    MODEL,
    PARTS,
    SIZE,
    SPAN,
    Appearance,
    look_at,
    looked_at,
    loudness,
    residuals,
    smoothed,
)
from kneel_lib.reporting.selection import FINAL_LABELS

DRAWN = {"simulated": 300, "A": 161, "B": 209}
"""{cohort: how many of its first knees}: drawn knees are no strangers, though no hospital has them."""

COMPONENTS, FOLDS = 20, 5
FLOOR = 0.2
"""What is added to every deviation, in medians of the channel: where all knees are alike, small things count
for little."""

QUANTILES = {"median": 0.5, "percentile_95": 0.95, "percentile_99": 0.99, "greatest": 1.0}


def template_of(cohort: Cohort) -> np.ndarray:
    """(16, 2) mean shape in pixels of the template, in its middle; every plateau counts as one wide."""
    shapes = cohort.landmarks_px / plateau_mm(cohort.landmarks_px)[:, None, None]
    mean = (shapes - shapes.mean(axis=1, keepdims=True)).mean(axis=0)
    middle = (mean.min(axis=0) + mean.max(axis=0)) / 2
    return np.asarray((mean - middle) * SIZE / SPAN + (SIZE - 1) / 2)


def laid_out(cohort: Cohort, count: int | None, template: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """The channels of the first knees of a cohort, by their true landmarks."""
    for image, points in list(zip(cohort.images, cohort.landmarks_px))[:count]:
        yield look_at(Radiograph(Path(cohort.name), image, None), points, "R", 1, template)[0]


def modes_of(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (n,), modes (COMPONENTS, n)) of pictures (m, n)."""
    fitted = PCA(COMPONENTS, svd_solver="full").fit(pictures)
    return fitted.mean_, fitted.components_


def unseen_residuals(pictures: np.ndarray, groups: Sequence[str], seen: np.ndarray) -> np.ndarray:
    """Smoothed residuals (m, n) of each picture (m, n) by modes of the knees of other groups."""
    found = np.empty_like(pictures)
    for fitted, held_out in GroupKFold(FOLDS).split(pictures, groups=groups):
        left = residuals(pictures[held_out], *modes_of(pictures[fitted]))
        found[held_out] = [smoothed(one, seen) for one in left]
    return found


def deviation_of(left: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(n,) of residuals (m, n): the greater one of real and of drawn knees, and a floor. real: (m,) bool."""
    deviation = np.max([np.sqrt((left[chosen] ** 2).mean(axis=0)) for chosen in (real, ~real)], axis=0)
    return np.asarray(deviation + FLOOR * np.median(deviation))


def fit(
    pictures: np.ndarray, seen: np.ndarray, real: np.ndarray, groups: Sequence[str]
) -> tuple[Appearance, np.ndarray]:
    """(what these pictures (m, SIZE, SIZE) of one channel look like; how far each is (m,) from those of other
    groups). real: (m,) bool. groups: whose knee each is."""
    flat = pictures[:, seen]
    left = unseen_residuals(flat, groups, seen)
    deviation = deviation_of(left, real)
    far = np.array([loudness(np.abs(one) / deviation) for one in left])
    return Appearance(seen, *modes_of(flat), deviation), far


def said(cohorts: Sequence[str], far: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A row a cohort and channel: how far its knees are, and how many beyond the limit."""
    rows = []
    for cohort in dict.fromkeys(cohorts):
        for channel, distances in far.items():
            own, limit = distances[np.array(cohorts) == cohort], CHANNELS[channel].limit
            quantiles = {name: np.quantile(own, share) for name, share in QUANTILES.items()}
            counts = {"limit": limit, "beyond": int((own > limit).sum())}
            rows.append({"cohort": cohort, "channel": channel, "knees": len(own), **quantiles, **counts})
    return pd.DataFrame(rows)


def main() -> int:
    crops = load_cohort(FINAL_LABELS)
    template = template_of(crops)
    cohorts, groups, pictures = [], [], []
    for name, count in {FINAL_LABELS: None, **DRAWN}.items():
        cohort = crops if name == FINAL_LABELS else load_cohort(name)
        found = list(laid_out(cohort, count, template))
        pictures += found
        cohorts += [name] * len(found)
        groups += [f"{name} {subject}" for subject in cohort.knees["subject_id"][: len(found)]]
    real = np.array(cohorts) == FINAL_LABELS
    kept, far = {"template": template.astype(np.float32)}, {}
    for name, channel in CHANNELS.items():
        own = np.stack([picture[name] for picture in pictures])
        fitted, far[name] = fit(own, looked_at(template, channel.reach), real, groups)
        for part in PARTS:
            array = getattr(fitted, part)
            kept[f"{name}_{part}"] = array if part == "seen" else array.astype(np.float16)
    write_arrays(MODEL, np.savez_compressed, **kept)
    table = said(cohorts, far).assign(commit=commit())
    write_text(paths.RESULTS / "appearance.csv", table.to_csv(index=False, float_format="%.3f"))
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
