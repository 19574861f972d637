"""The vote on crops of known truth: whether it brings simulated knees nearer to where they are."""

import numpy as np
import pandas as pd

from kneel_lib.baselines import rfrv_clm
from kneel_lib.data.rois import cut_rois
from kneel_lib.experiment.methods import forest_options
from kneel_lib.experiment.runs import commit
from studies.registration import network_check, table, vote
from studies.registration.congealing import MEDIAN_MM_PER_PX, disagreement_mm, in_gauge_of


def forests_half(crops, placement, known, unseen, seed=0, profile=network_check.CHECK):
    """(rows, 16, 2) landmarks of the rows `unseen` in pixels of their crops, by voting forests trained on the
    rows `known`: `network_check.predict_half` for forests."""
    plain = network_check.plain_cohort(crops, placement)
    learnt = cut_rois(plain.select(known), profile.size_px, profile.spacing_mm, "image")
    options = forest_options(profile)
    model = rfrv_clm.train(learnt.images, learnt.landmarks_px, profile.spacing_mm, options, seed, 1)
    rois = cut_rois(plain.select(unseen), profile.size_px, profile.spacing_mm, "image")
    return rois.to_mm(rfrv_clm.fit(model, rois.images)) / MEDIAN_MM_PER_PX


def by_halves(crops, placement, predict):
    """(n, 16, 2) pixels: every knee as seen by what was trained on the other half of the subjects."""
    points = np.empty((len(crops.images), *crops.offsets_mm.shape[1:]))
    for number, (known, unseen) in enumerate(network_check.halves(crops)):
        points[unseen] = predict(crops, placement, known, unseen, number)
    return points


def truth_rows(crops, jobs=1, profile=network_check.CHECK, templates=None):
    """results/registration_truth.csv: the templates, then the votes of a network and of forests, each trained
    on the other half of the subjects with the templates' labels, against the truth; common scale and shift
    taken out. scale_sd_percent: of the scale over the true one. templates: their placement, if known."""
    templates = templates or table.place_by_templates(crops, jobs=jobs)
    votes = np.stack(
        [
            table.network_points(crops, templates, profile),
            by_halves(crops, templates, lambda *given: forests_half(*given, profile=profile)),
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
