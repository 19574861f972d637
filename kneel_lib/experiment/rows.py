"""The rows of the tables as data: the paper's Table 1, ablations that it lacks, ours; and Table 2."""

from dataclasses import replace
from typing import Any

from kneel_lib.errors import find
from kneel_lib.experiment.settings import Setting, differing_fields
from kneel_lib.network.ranges import ANYWHERE, MILD, RELEASED, STRANGERS


def change(base: Setting, name: str, label: str, **changes: Any) -> Setting:
    """A row that differs from the row `base` in these fields."""
    return replace(base, name=name, label=label, base=base.name, **changes)


WING = Setting("wing", "Wing loss", augmentation=MILD)
"""The paper gives no ranges for its augmentation. Those of the released code (rotation by up to 90 degrees,
scale 0.4 to 3.3) need far more epochs than two cores have time for, so the table's rows use mild ones;
"released_ranges" says what that changes."""

ALPHAS = (0.1, 0.2, 0.5, 0.75)
L2, L1, ROBUST, ELASTIC = (
    change(WING, loss, f"{title} loss", loss=loss)
    for loss, title in {"l2": "L2", "l1": "L1", "robust": "Robust", "elastic": "Elastic"}.items()
)
MIXUP = [change(WING, f"mixup_{alpha}", f"Wing + mixup α = {alpha}", mixup_alpha=alpha) for alpha in ALPHAS]
MIXUP_NOWD = [change(row, f"{row.name}_nowd", f"{row.label} (no wd)", weight_decay=0.0) for row in MIXUP]
MIXED = MIXUP_NOWD[-1]
CUTOUT = [
    change(MIXED, f"cutout_{percent}", f"Mixup α = 0.75 + cutout {percent}% (no wd)", cutout=percent / 100)
    for percent in (5, 10, 25)
]

TABLE1 = (
    Setting("mean_shape", "Mean shape", method="mean_shape"),
    *(
        Setting(f"{method}_{maps}", f"{method.upper()} ({maps.upper()})", method=method, features=maps)
        for method in ("aam", "clm")
        for maps in ("igo", "lbp")
    ),
    Setting("rfrv_clm", "RFRV-CLM (in BoneFinder's place)", method="rfrv_clm"),
    *(L2, L1, ROBUST, ELASTIC, WING),
    change(WING, "wing_bottleneck", "Wing + regular res. block", block="bottleneck"),
    *MIXUP,
    *MIXUP_NOWD,
    change(MIXED, "nodropout", "Mixup α = 0.75 (no wd, no dropout)", dropout=0.0),
    change(MIXED, "jitter", "Mixup α = 0.75 + jitter (no wd)", jitter_mm=0.3),
    *CUTOUT,
    change(CUTOUT[1], "finetune", "Cutout 10% (no wd), fine-tuned", start="roi"),
)
"""The rows of the paper's Table 1, the mean shape and our voting forests beside them."""

NORMALISED_SHARE = 0.05
"""Weight of the heatmap regularisation beside a loss on normalised coordinates, relative to one in mm: wing
is 5 x L1 there, and an ROI side is 96 mm."""

ABLATIONS = (
    change(L1, "l1_x5", "5 x L1", loss_weight=5.0),
    change(L1, "l1_nowd", "L1 (no wd)", weight_decay=0.0),
    change(L2, "l2_nowd", "L2 (no wd)", weight_decay=0.0),
    change(WING, "wing_nowd", "Wing (no wd)", weight_decay=0.0),
    change(WING, "wing_px", "Wing in pixels", loss_frame="pixels"),
    change(L2, "l2_px", "L2 in pixels", loss_frame="pixels"),
    change(MIXED, "mixup_printed", "Mixup α = 0.75, eq. 6 as printed (no wd)", mixup="paper"),
    change(MIXED, "mixup_standard", "Standard mixup α = 0.75 (no wd)", mixup="standard"),
    change(WING, "released_network", "Wing, released network", network="released"),
    change(WING, "released_ranges", "Wing, released augmentation", augmentation=RELEASED),
    change(WING, "picked", "Wing, epoch picked on the reported fold", picked=True),
    change(WING, "wing_finetune", "Wing, fine-tuned", start="roi"),
    *(
        change(row, f"{row.name}_heatmap", f"{row.label} + heatmap", heatmap_weight=2 * NORMALISED_SHARE)
        for row in (L2, L1, ROBUST, ELASTIC, WING)
    ),
    change(MIXED, "mixup_heatmap", "Mixup α = 0.75 + heatmap (no wd)", heatmap_weight=2 * NORMALISED_SHARE),
)
"""Rows that the paper lacks, to tell its explanations apart."""

BEST_NO_HEATMAP = Setting(
    "best_no_heatmap",
    "best, no heatmap regularisation",
    loss="l1",
    loss_frame="mm",
    weight_decay=0.0,
    schedule="one_cycle",
    learning_rate=2e-3,
    augmentation=MILD,
)
BEST = change(BEST_NO_HEATMAP, "best", "L1 in mm + heatmap, one cycle (ours)", heatmap_weight=2.0)
NO_DROPOUT = change(BEST, "best_nodropout", "best, no dropout", dropout=0.0)
BEST_EMA = change(
    BEST, "best_ema", "best, constant rate, EMA", schedule="ema", learning_rate=1e-3, ema_decay=0.995
)

BEST_ABLATIONS = (
    BEST_NO_HEATMAP,
    change(BEST, "best_heatmap_0.5", "best, heatmap weight 0.5 for 2", heatmap_weight=0.5),
    change(BEST, "best_heatmap_8", "best, heatmap weight 8 for 2", heatmap_weight=8.0),
    change(BEST, "best_sigma_0.5", "best, heatmap σ 0.5 for 1", heatmap_sigma=0.5),
    change(BEST, "best_sigma_2", "best, heatmap σ 2 for 1", heatmap_sigma=2.0),
    change(BEST, "best_js", "best, Jensen-Shannon", heatmap_divergence="jensen_shannon", heatmap_weight=20.0),
    change(BEST, "best_heatmap_only", "best, heatmap regularisation alone", loss_weight=0.0),
    NO_DROPOUT,
    change(BEST, "best_rate", "best, peak rate x 2", learning_rate=4e-3),
    change(BEST, "best_file_grey", "best, grey values as in the file", grey="file"),
    change(BEST, "best_released_network", "best, released network", network="released"),
    change(NO_DROPOUT, "best_nodropout_long", "best, no dropout, epochs x 3", epoch_share=3.0),
    change(NO_DROPOUT, "best_nodropout_heatmap_8", "best, no dropout, heatmap 8", heatmap_weight=8.0),
    BEST_EMA,
    change(BEST, "best_laplace", "best, Laplace across and along the edge", loss="outline_laplace"),
)
"""What the heatmap regularisation does (its weight, width and form), and what else might help `best`."""

NORMALISED = change(
    BEST,
    "best_normalised",
    "best, ROI as large as the knee asks",
    roi_scale="plateau",
    augmentation=STRANGERS,
)
"""What `predict` uses: nothing about the file need be known but where the knee lies and how large it is."""

SIMULATED_FIRST = change(BEST, "best_simulated", "best after simulated knees", start="simulated")
LONGER = change(
    SIMULATED_FIRST, "best_simulated_long", f"{SIMULATED_FIRST.label}, epochs x 2", epoch_share=2.0
)

OURS = (
    Setting(
        "heatmap",
        "SpatialConfigurationNet (landmarker)",
        network="heatmap",
        weight_decay=0.0,
        schedule="one_cycle",
        learning_rate=5e-4,
        augmentation=MILD,
        epoch_share=0.9,
    ),
    change(BEST, "best_finetune", "best, fine-tuned", start="roi"),
    BEST,
    NORMALISED,
    SIMULATED_FIRST,
    LONGER,
    change(LONGER, "best_simulated_nodropout", "best after simulated, no dropout, long", dropout=0.0),
    change(
        BEST_EMA,
        "best_simulated_ema",
        "best after simulated, EMA, epochs x 3",
        start="simulated",
        epoch_share=3.0,
    ),
    change(
        SIMULATED_FIRST,
        "best_simulated_unseen",
        "best after unseen simulated shapes",
        start="simulated_unseen",
    ),
    Setting("best_tta", "best, TTA of 13 views", method="tta", start="best"),
    Setting(
        "best_simulated_ema_tta",
        "best_simulated_ema, TTA of 13 views",
        method="tta",
        start="best_simulated_ema",
    ),
)
"""A heatmap network from outside, our best recipe and what it starts from."""

ROWS = (*TABLE1, *ABLATIONS, *BEST_ABLATIONS, *OURS)

ROI = change(BEST, "roi", "ROI localisation: the tibial centre", method="roi", grey="file")
"""Section 4.4: one landmark, the tibial centre, in half a radiograph at 1 mm; no row of Table 1."""

SEARCH = change(
    BEST, "search", "search: a knee anywhere", method="search", grey="file", augmentation=ANYWHERE
)
"""All landmarks, coarsely, in a picture of any size with a knee of any size in it: what `predict` begins
with; no row of Table 1."""

PSEUDO = change(BEST, "pseudo", "best on pseudo-labels, epochs x 0.15", epoch_share=0.15)
"""What a student is trained with on crops without landmarks (`students`); no row of Table 1."""

SETTINGS = {row.name: row for row in ROWS}
NAMED = {**SETTINGS, ROI.name: ROI, SEARCH.name: SEARCH, PSEUDO.name: PSEUDO}
"""Every setting that can be asked for by name: the rows, ROI localisation, the search and pseudo-labels."""

CHANGED = {row.name: differing_fields(row, SETTINGS[row.base]) for row in ROWS if row.base}
ONE_CHANGE = {
    name: (SETTINGS[name].base, f"{field} {ours if isinstance(ours, str | float) else ''}".strip())
    for name, changed in CHANGED.items()
    if len(changed) == 1
    for field, (ours, _) in changed.items()
}
"""{row: (the row that it was derived from, what it changes)}, of rows that differ from it in one field."""


def from_scratch(setting: Setting) -> Setting:
    """What a setting that starts from simulated knees is trained with there: its recipe from scratch."""
    plain = replace(setting, start="", epoch_share=1.0)
    return next((row for row in ROWS if not differing_fields(row, plain)), plain)


def find_setting(name: str) -> Setting:
    """The setting of this name, a row, "roi", "search" or "pseudo"; `KneelError` names the known ones."""
    return find(name, NAMED, "setting")


DATASETS = ("A", "B", "val", "test")
STAGES = {"rfrv_clm": 1, "one_stage": 1, "two_stage": 2}
"""The rows of Table 2: voting forests in BoneFinder's place, and the pipeline with one or two stages."""
