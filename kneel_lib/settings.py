"""Settings and profiles as data: a setting is a row of a table (what is tried), a profile says how big (how much)."""

from dataclasses import dataclass, field, replace

from kneel_lib.augmentation import MILD, Augmentation
from kneel_lib.augmentation import RELEASED as RELEASED_RANGES
from kneel_lib.errors import KneelError


@dataclass(frozen=True)
class Setting:
    """One row of Table 1, or a control that the paper lacks; a row names only what it changes.

    What is trained
        method: "network", "mean_shape", "aam", "clm", "rfrv_clm", "search" (the ROI search) or "looks": no training, the network of the row `start`
            and the mean of its answers to several views (`kneel_lib.looks`).
        features: of AAM and CLM, "igo" or "lbp".
        network: "paper", "released" or "heatmap" (from outside).
        block: "hmp" (hierarchical, multi-scale, parallel) or "bottleneck".
        start: "" is from scratch. "search": from the ROI network of the same fold and seed, all layers but the last, none frozen (section 4.4,
            "Transfer Learning from Low-cost Annotations"). "simulated": from the same recipe trained on all simulated knees (`from_scratch`), all
            layers, none frozen; for real knees alone. "simulated_unseen": the same, from knees whose shape model has not seen the fold's held-out subjects. With method "looks" the name of a row.
    The loss
        loss: "l2", "l1", "robust", "elastic" or "wing". loss_frame: of its errors, "normalised" (the ROI side is 1), "pixels" or "mm".
        loss_weight: multiplies it.
        map_term: weight of the term between the softmax map and a gaussian of `map_sigma` cells (not in the paper). map_divergence: which term,
            "cross_entropy" or "jensen_shannon".
    Regularisation
        mixup_alpha: 0 is off. mixup: "released" (eq. 9 with one share for image and loss, as the code runs it: all rows), "paper" (as printed: the
            image takes the larger share of eq. 6, the loss of eq. 9 the share as drawn, so that half of the batches are scored against the knee
            that is hardly seen) or "standard".
        weight_decay, dropout: as of the paper.
        cutout: side of the cut square as a share of the ROI side, in half of the images. jitter_mm: uniform noise on targets.
        augmentation: the ranges of the random transforms.
    The schedule
        schedule: "constant", "one_cycle" (then learning_rate is its peak) or "averaged": constant, and what the run ends with is the moving average
            of the weights.
        average_decay: of that average, a step; under "constant" it is kept beside the last weights. 0.98 looks back over about fifty steps, an
            epoch of `study`, 0.995 over two hundred.
        picked: keep the epoch with the least error on the held-out fold, as the released code does; a control that shows how optimistic this is,
            never used otherwise.
        epoch_share: of the profile's epochs, for a row whose epochs cost several times as much, or one that is trained longer.
    """

    name: str
    label: str
    method: str = "network"
    network: str = "paper"
    block: str = "hmp"
    loss: str = "wing"
    loss_frame: str = "normalised"
    loss_weight: float = 1.0
    map_term: float = 0.0
    map_sigma: float = 1.0
    mixup_alpha: float = 0.0
    mixup: str = "paper"
    weight_decay: float = 1e-4
    dropout: float = 0.25
    cutout: float = 0.0
    jitter_mm: float = 0.0
    schedule: str = "constant"
    learning_rate: float = 1e-3
    augmentation: Augmentation = field(default=RELEASED_RANGES)
    features: str = ""
    picked: bool = False
    map_divergence: str = "cross_entropy"
    start: str = ""
    epoch_share: float = 1.0
    average_decay: float = 0.98


WING = Setting("wing", "Wing loss", augmentation=MILD)
"""The paper gives no ranges for its augmentation. Those of the released code (rotation by up to 90 degrees, scale 0.4 to 3.3) need far
more epochs than two cores have time for, so the table's rows use mild ones; the row "released_ranges" says what that changes."""

MIXED = replace(WING, mixup_alpha=0.75, mixup="released", weight_decay=0.0)
MAP_SHARE = 0.05
"""Weight of the map term beside a loss on normalised coordinates, relative to one in mm: wing is 5 x L1 there, and an ROI side is 96 mm."""


def mixup_row(alpha, no_decay):
    """A row "Wing + mixup" of Table 1, with weight decay or without."""
    name, label = f"mixup_{alpha}", f"Wing + mixup α = {alpha}"
    if no_decay:
        return replace(WING, name=f"{name}_nowd", label=f"{label} (no wd)", mixup_alpha=alpha, mixup="released", weight_decay=0.0)
    return replace(WING, name=name, label=label, mixup_alpha=alpha, mixup="released")


def cutout_row(percent):
    """A row "cutout" of Table 1."""
    return replace(MIXED, name=f"cutout_{percent}", label=f"Wing + mixup α = 0.75 + cutout {percent}% (no wd)", cutout=percent / 100)


LOSSES = {"l2": "L2", "l1": "L1", "robust": "robust", "elastic": "elastic", "wing": "wing"}
"""{row of Table 1: how a control names its loss}."""

CONTROLS = (
    replace(WING, name="l1_x5", label="Control: 5 x L1", loss="l1", loss_weight=5.0),
    replace(WING, name="l1_nowd", label="Control: L1 (no wd)", loss="l1", weight_decay=0.0),
    replace(WING, name="l2_nowd", label="Control: L2 (no wd)", loss="l2", weight_decay=0.0),
    replace(WING, name="wing_nowd", label="Control: wing (no wd)", weight_decay=0.0),
    replace(WING, name="wing_px", label="Control: wing in pixels", loss_frame="pixels"),
    replace(WING, name="l2_px", label="Control: L2 in pixels", loss="l2", loss_frame="pixels"),
    replace(MIXED, name="mixup_printed", label="Control: mixup α = 0.75 with eq. 6 as printed (no wd)", mixup="paper"),
    replace(MIXED, name="mixup_standard", label="Control: standard mixup α = 0.75 (no wd)", mixup="standard"),
    replace(WING, name="released_network", label="Control: released network", network="released"),
    replace(WING, name="released_ranges", label="Control: released augmentation", augmentation=RELEASED_RANGES),
    replace(WING, name="picked", label="Control: best epoch picked on the reported fold", picked=True),
    replace(WING, name="wing_finetune", label="Control: wing (finetune)", start="search"),
    *(replace(WING, name=f"{loss}_map", label=f"Control: {text} + map term", loss=loss, map_term=MAP_SHARE * 2.0, map_sigma=1.0)
      for loss, text in LOSSES.items()),
    replace(MIXED, name="mixup_map", label="Control: wing + mixup α = 0.75 + map term (no wd)", map_term=MAP_SHARE * 2.0, map_sigma=1.0),
)
"""Rows that the paper lacks, to tell its explanations apart."""

BEST = Setting("best", "L1 in mm + map term, one cycle (ours)", loss="l1", loss_frame="mm", map_term=2.0, map_sigma=1.0, weight_decay=0.0,
               schedule="one_cycle", learning_rate=2e-3, augmentation=MILD)

MAP_CONTROLS = (
    replace(BEST, name="best_no_map", label="Control: best without the map term", map_term=0.0),
    replace(BEST, name="best_map_0.5", label="Control: best, map weight 0.5 for 2", map_term=0.5),
    replace(BEST, name="best_map_8", label="Control: best, map weight 8 for 2", map_term=8.0),
    replace(BEST, name="best_sigma_0.5", label="Control: best, map σ 0.5 for 1", map_sigma=0.5),
    replace(BEST, name="best_sigma_2", label="Control: best, map σ 2 for 1", map_sigma=2.0),
    replace(BEST, name="best_js", label="Control: best, Jensen-Shannon for cross-entropy", map_divergence="jensen_shannon", map_term=20.0),
    replace(BEST, name="best_map_only", label="Control: best, map term alone", loss_weight=0.0),
)
"""What the map term does: its weight, its width, its form."""

BEST_AVERAGED = replace(BEST, name="best_averaged", label="Control: best, constant rate and averaged weights for one cycle", schedule="averaged", learning_rate=1e-3,
                        average_decay=0.995)

BEST_CONTROLS = (
    replace(BEST, name="best_nodropout", label="Control: best, no dropout", dropout=0.0),
    replace(BEST, name="best_rate", label="Control: best, peak rate x 2", learning_rate=4e-3),
    replace(BEST, name="best_released_network", label="Control: best, released network", network="released"),
    replace(BEST, name="best_nodropout_long", label="Control: best, no dropout, three times the epochs", dropout=0.0, epoch_share=3.0),
    replace(BEST, name="best_nodropout_map_8", label="Control: best, no dropout, map weight 8 for 2", dropout=0.0, map_term=8.0),
    BEST_AVERAGED,
)
"""What else might make `best` better."""

ROWS = (
    Setting("mean_shape", "Mean shape", method="mean_shape"),
    *(Setting(f"{method}_{features}", f"{method.upper()} ({features.upper()})", method=method, features=features)
      for method in ("aam", "clm") for features in ("igo", "lbp")),
    Setting("rfrv_clm", "RFRV-CLM (in BoneFinder's place)", method="rfrv_clm"),
    replace(WING, name="l2", label="L2 loss", loss="l2"),
    replace(WING, name="l1", label="L1 loss", loss="l1"),
    replace(WING, name="robust", label="Robust loss", loss="robust"),
    replace(WING, name="elastic", label="Elastic loss", loss="elastic"),
    WING,
    replace(WING, name="wing_bottleneck", label="Wing + regular res. block", block="bottleneck"),
    *(mixup_row(alpha, no_decay) for no_decay in (False, True) for alpha in (0.1, 0.2, 0.5, 0.75)),
    replace(MIXED, name="nodropout", label="Wing + mixup α = 0.75 (no wd, no dropout)", dropout=0.0),
    replace(MIXED, name="jitter", label="Wing + mixup α = 0.75 + jitter (no wd)", jitter_mm=0.3),
    cutout_row(5), cutout_row(10), cutout_row(25),
    replace(cutout_row(10), name="finetune", label="Wing + mixup α = 0.75 + cutout 10% (no wd, finetune)", start="search"),
    *CONTROLS, *MAP_CONTROLS, *BEST_CONTROLS,
    Setting("heatmap", "SpatialConfigurationNet (landmarker)", network="heatmap", weight_decay=0.0, schedule="one_cycle", learning_rate=5e-4,
            augmentation=MILD, epoch_share=0.9),
    replace(BEST, name="best_finetune", label="L1 in mm + map term, one cycle (ours, finetune)", start="search"), BEST,
    replace(BEST, name="best_simulated", label="L1 in mm + map term, one cycle (ours, from simulated knees)", start="simulated"),
    replace(BEST, name="best_simulated_long", label="L1 in mm + map term, one cycle (ours, from simulated knees, twice the epochs)", start="simulated", epoch_share=2.0),
    replace(BEST, name="best_simulated_nodropout", label="L1 in mm + map term, one cycle (ours, from simulated knees, twice the epochs, no dropout)", start="simulated", epoch_share=2.0,
            dropout=0.0),
    replace(BEST_AVERAGED, name="best_simulated_averaged", label="L1 in mm + map term, averaged weights (ours, from simulated knees, three times the epochs)", start="simulated",
            epoch_share=3.0),
    replace(BEST, name="best_simulated_unseen", label="Control: best from simulated knees, shapes without the held-out subjects", start="simulated_unseen"),
    Setting("best_looks", "L1 in mm + map term, one cycle (ours), 13 looks", method="looks", start="best"),
    Setting("best_simulated_averaged_looks", "L1 in mm + map term, averaged weights (ours, from simulated knees, three times the epochs), 13 looks", method="looks",
            start="best_simulated_averaged"),
)

SEARCH = replace(BEST, name="search", label="ROI search: the tibial centre, one cycle", method="search")
"""Section 4.4: one landmark, the tibial centre, in half a radiograph at 1 mm; no row of Table 1."""

SETTINGS = {row.name: row for row in ROWS}
NAMED = {**SETTINGS, SEARCH.name: SEARCH}
"""Every setting that can be asked for by name: the rows, and the ROI search."""


def from_scratch(setting):
    """What a setting that starts from simulated knees is trained with there: the row that is the same recipe from scratch, for the profile's own epochs."""
    plain = replace(setting, start="", epoch_share=1.0)
    return next((row for row in ROWS if replace(row, name=plain.name, label=plain.label) == plain), plain)


ONE_CHANGE = {
    "l1": ("wing", "L1 for wing"), "l2": ("wing", "L2 for wing"), "robust": ("wing", "robust for wing"), "elastic": ("wing", "elastic for wing"),
    "l1_x5": ("wing", "5 x L1 for wing"), "wing_nowd": ("wing", "no weight decay, wing"), "l1_nowd": ("l1", "no weight decay, L1"), "l2_nowd": ("l2", "no weight decay, L2"),
    "wing_px": ("wing", "errors in pixels, wing"), "l2_px": ("l2", "errors in pixels, L2"), "wing_bottleneck": ("wing", "bottleneck block"),
    "released_network": ("wing", "released network"), "released_ranges": ("wing", "released augmentation"), "picked": ("wing", "best epoch picked on the reported fold"),
    "wing_finetune": ("wing", "start from the ROI search, wing"), **{f"{loss}_map": (loss, f"map term, {text}") for loss, text in LOSSES.items()}, "mixup_map": ("mixup_0.75_nowd", "map term, mixup"),
    **{f"mixup_{alpha}": ("wing", f"mixup α = {alpha}") for alpha in (0.1, 0.2, 0.5, 0.75)},
    **{f"mixup_{alpha}_nowd": (f"mixup_{alpha}", f"no weight decay, mixup α = {alpha}") for alpha in (0.1, 0.2, 0.5, 0.75)},
    "mixup_printed": ("mixup_0.75_nowd", "eq. 6 as printed, mixup"), "mixup_standard": ("mixup_0.75_nowd", "standard mixup for the paper's"), "nodropout": ("mixup_0.75_nowd", "no dropout"), "jitter": ("mixup_0.75_nowd", "jitter"),
    **{f"cutout_{percent}": ("mixup_0.75_nowd", f"cutout {percent}%") for percent in (5, 10, 25)}, "finetune": ("cutout_10", "start from the ROI search, mixup and cutout"),
    "best": ("best_no_map", "map term, best"), "best_simulated": ("best", "start from simulated knees, best"), "best_simulated_long": ("best_simulated", "twice the epochs, from simulated knees"),
    "best_simulated_unseen": ("best_simulated", "simulated knees' shapes without the held-out subjects"),
    "best_simulated_nodropout": ("best_simulated_long", "no dropout, from simulated knees"), "best_finetune": ("best", "start from the ROI search, best"),
    **{row.name: ("best", row.label.split(": ", 1)[1]) for row in (*MAP_CONTROLS, *BEST_CONTROLS) if row.name not in ("best_no_map", "best_nodropout_map_8", "best_nodropout_long", "best_averaged")},
    "best_nodropout_map_8": ("best_nodropout", "best without dropout, map weight 8 for 2"), "best_nodropout_long": ("best_nodropout", "best without dropout, three times the epochs"),
}
"""{row: (the row that it differs from in one thing, that thing)}: the effect of one switch at a time."""


UNLIKE_PAIRS = (
    (("study_native", "best_simulated_averaged"), ("native", "best")), (("study_native", "best_simulated_averaged_looks"), ("native", "best")),
    (("study_native", "best_simulated_averaged_looks"), ("study_native", "best_simulated_averaged")), (("study", "best_looks"), ("study", "best")),
    (("study", "best_averaged"), ("study", "best")),
    (("study_native", "best_simulated_long"), ("native", "best")), (("study_native", "best_simulated_nodropout"), ("native", "best")),
    (("long", "best"), ("study", "heatmap")), (("study", "best_nodropout_long"), ("study", "heatmap")), (("study", "best_simulated"), ("study", "heatmap")),
)
"""((profile, row), (profile, row)): pairs that are compared knee by knee though they differ in more than one thing, as one compares two products."""

TOGETHER = {
    "recipes at 0.5 mm a pixel": (("native", "best"), ("native", "best_nodropout"), *(("study_native", f"best_simulated_{kind}") for kind in ("long", "nodropout", "averaged"))),
    "seeds of best at study": (("study", "best"),), "seeds of wing at study": (("study", "wing"),),
}
"""{name: rows, as (profile, row)}: trainings whose answers are compared with one another (`agreement`)."""


@dataclass(frozen=True)
class Profile:
    """How big a run is. The ROI measures `size_px` pixels of `spacing_mm`; width and depth are the network's N and d.

    `study` is the profile of Table 1: its 100 network runs fit into six hours of two cores. `long` is the same size, trained twice as long;
    `study_native` has the schedule of `study` at the pixels that the crops have, for a few rows.

    knees: how many knees of the cohort take part (None: all). folds: how many of the five folds a notebook runs. simulated: how many
    knees are simulated where there are no real ones (None: the paper's 748). tested: how many knees each simulated test set has (None: the paper's 161 and 209).
    """

    name: str
    size_px: int
    spacing_mm: float
    width: int
    depth: int
    epochs: int
    batch: int = 16
    knees: int | None = None
    folds: int = 5
    simulated: int | None = None
    tested: int | None = None


PROFILES = {profile.name: profile for profile in (
    Profile("smoke", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, knees=40, folds=2, simulated=40, tested=40),
    Profile("quick", size_px=96, spacing_mm=1.05, width=16, depth=4, epochs=20, folds=2, simulated=160, tested=60),
    Profile("study", size_px=128, spacing_mm=0.75, width=24, depth=4, epochs=20, batch=8),
    Profile("long", size_px=128, spacing_mm=0.75, width=24, depth=4, epochs=40),
    Profile("study_native", size_px=192, spacing_mm=0.5, width=24, depth=5, epochs=20, batch=8),
    Profile("native", size_px=192, spacing_mm=0.5, width=24, depth=5, epochs=75),
    Profile("paper", size_px=450, spacing_mm=0.3, width=24, depth=6, epochs=100),
)}


SEARCH_PROFILES = {profile.name: profile for profile in (
    Profile("smoke", size_px=64, spacing_mm=4.0, width=4, depth=2, epochs=2, knees=40, folds=2, simulated=40, tested=40),
    Profile("quick", size_px=128, spacing_mm=2.0, width=16, depth=4, epochs=12, folds=2, simulated=160, tested=60),
    Profile("study", size_px=256, spacing_mm=1.0, width=24, depth=4, epochs=10),
)}
"""The same networks for the ROI search, so that their weights can be taken over: 256 mm of half a radiograph, at the paper's 1 mm from `study` on."""


def profile_for(setting, profile):
    """The profile itself, or for the ROI search the search profile that goes with it; the larger ones share that of `study`."""
    return SEARCH_PROFILES.get(profile.name, SEARCH_PROFILES["study"]) if setting.method == "search" else profile


def find_setting(name):
    """The setting of this name, a row or "search"; `KneelError` names the known ones."""
    return find(name, NAMED, "setting")


def find_profile(name):
    """The profile of this name; `KneelError` names the known ones."""
    return find(name, PROFILES, "profile")


def find(name, table, what):
    if name not in table:
        raise KneelError(f"unknown {what} '{name}': choose one of {', '.join(table)}")
    return table[name]
