"""The vote on crops of known truth: whether it brings simulated knees nearer to where they are."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from kneel_lib.baselines import rfrv_clm
from kneel_lib.data.rois import cut_rois
from kneel_lib.experiment.methods import forest_options
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.runs import commit
from studies.registration import network_check, table, vote
from studies.registration.congealing import MEDIAN_MM_PER_PX, Placement, disagreement_mm, in_gauge_of
from studies.registration.simulated_crops import Crops


def forests_half(
    crops: Crops,
    placement: Placement,
    known: np.ndarray,
    unseen: np.ndarray,
    seed: int = 0,
    profile: Profile = network_check.CHECK,
) -> np.ndarray:
    """(rows, 16, 2) landmarks of the rows `unseen` in pixels of their crops, by voting forests trained on the
    rows `known`: `network_check.predict_half` for forests."""
    plain = network_check.plain_cohort(crops, placement)
    learnt = cut_rois(plain.select(known), profile.size_px, profile.spacing_mm, "image")
    options = forest_options(profile)
    model = rfrv_clm.train(learnt.images, learnt.landmarks_px, profile.spacing_mm, options, seed, 1)
    rois = cut_rois(plain.select(unseen), profile.size_px, profile.spacing_mm, "image")
    return rois.to_mm(rfrv_clm.fit(model, rois.images)) / MEDIAN_MM_PER_PX


def by_halves(
    crops: Crops,
    placement: Placement,
    predict: Callable[[Crops, Placement, np.ndarray, np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """(n, 16, 2) pixels: every knee as seen by what was trained on the other half of the subjects."""
    points = np.empty((len(crops.images), *crops.offsets_mm.shape[1:]))
    for number, (known, unseen) in enumerate(network_check.halves(crops)):
        points[unseen] = predict(crops, placement, known, unseen, number)
    return points


def truth_rows(
    crops: Crops, jobs: int = 1, profile: Profile = network_check.CHECK, templates: Placement | None = None
) -> pd.DataFrame:
    """results/registration_truth.csv: the templates, then the votes of a network and of forests, each trained
    on the other half of the subjects with the templates' labels, against the truth; common scale and shift
    taken out. scale_sd_percent: of the scale over the true one. templates: their placement, if known."""
    templates = templates or table.place_by_templates(crops, jobs=jobs)
    votes = np.stack(
        [
            table.network_points(crops, templates, profile),
            by_halves(
                crops,
                templates,
                lambda *given: forests_half(*given, profile=profile),  # type: ignore[misc]  # given five
            ),
        ]
    )
    voted, _ = vote.vote(votes, crops, templates)
    rows = []
    for name, placement in (("templates", templates), ("network and forests, one vote", voted)):
        apart = disagreement_mm(crops.truth, placement, crops.offsets_mm)
        scale = in_gauge_of(crops.truth, placement, crops.offsets_mm).mm_per_px / crops.truth.mm_per_px
        rows.append(
            {
                "placed_by": name,
                "cohort": crops.name,
                "median_mm": np.median(apart),
                "mean_mm": apart.mean(),
                "p95_mm": np.percentile(apart, 95),
                "scale_sd_percent": 100 * np.std(scale),
                "knees": len(apart),
            }
        )
    return pd.DataFrame(rows).assign(profile=profile.name, folds="2 halves", seed=0, commit=commit())
