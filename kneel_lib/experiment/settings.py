"""A setting as data: one row of a table, what is tried."""

from dataclasses import dataclass, field, fields
from typing import Any

from kneel_lib.network.ranges import RELEASED, Augmentation


@dataclass(frozen=True)
class Setting:
    """One row of Table 1, or an ablation that the paper lacks; a row names only what it changes.

    What is trained
        method: "network", "mean_shape", "aam", "clm", "rfrv_clm", "roi" (ROI localisation), "search" (all
            landmarks in pictures in which the knee is still to be found), "pipeline" (Table 2) or "tta"
            (test-time augmentation: no training, the mean answer of the network of the row `start`).
        features: of AAM and CLM, "igo" or "lbp".
        network: "paper", "released" or "heatmap" (from outside).
        block: "hmp" (hierarchical, multi-scale, parallel) or "bottleneck".
        start: "" is from scratch. "roi": from the ROI network of the same fold and seed, all layers but the
            last, none frozen (section 4.4, "Transfer Learning from Low-cost Annotations"). "simulated": from
            the same recipe trained on all simulated knees, all layers; for real knees alone.
            "simulated_unseen": the same, from knees whose shape model has not seen the fold's held-out
            subjects. With "tta" the name of a row.
    What it sees
        roi_scale: "spacing" (the paper: so many mm) or "plateau" (a ROI that grows with the knee).
        grey: values "normalised" on the ROI (`data.normalisation`), or as the "file" has them (the paper).
    The loss
        loss: "l2", "l1", "robust", "elastic", "wing" or "outline_laplace" (likelihood across and along the
            bones' outlines). loss_frame: of its errors, "normalised" (the ROI side is 1), "pixels" or "mm".
            loss_weight: multiplies it.
        heatmap_weight: of the heatmap regularisation between the softmax map and a gaussian of
            `heatmap_sigma` cells (DSNT, not in the paper). heatmap_divergence: its form, "cross_entropy" or
            "jensen_shannon".
    Regularisation
        mixup_alpha: 0 is off. mixup: "released" (eq. 9 with one share for image and loss, as the code runs
            it), "paper" (as printed: the image takes the larger share of eq. 6, the loss of eq. 9 the share
            as drawn, so that half of the batches are scored against the knee that is hardly seen) or
            "standard".
        weight_decay, dropout: as of the paper.
        cutout: side of the cut square as a share of the ROI side, in half of the images.
        jitter_mm: uniform noise on targets.
        augmentation: the ranges of the random transforms.
    The schedule
        schedule: "constant", "one_cycle" (then learning_rate is its peak) or "ema": constant, and the run
            ends with the exponential moving average (EMA) of the weights.
        ema_decay: of that average, a step; under "constant" it is kept beside the last weights. 0.98 looks
            back over about fifty steps, two epochs of `study`, 0.995 over two hundred.
        picked: keep the epoch with the least error on the held-out fold, as the released code does; an
            ablation that shows how optimistic this is, never used otherwise.
        epoch_share: of the profile's epochs, for a row whose epochs cost more, or one that is trained longer.
    base: the row that this one was derived from (`change`). label and base are for people: no number depends
    on them.
    """

    name: str
    label: str = field(compare=False)
    method: str = "network"
    network: str = "paper"
    block: str = "hmp"
    roi_scale: str = "spacing"
    grey: str = "normalised"
    loss: str = "wing"
    loss_frame: str = "normalised"
    loss_weight: float = 1.0
    heatmap_weight: float = 0.0
    heatmap_sigma: float = 1.0
    heatmap_divergence: str = "cross_entropy"
    mixup_alpha: float = 0.0
    mixup: str = "released"
    weight_decay: float = 1e-4
    dropout: float = 0.25
    cutout: float = 0.0
    jitter_mm: float = 0.0
    schedule: str = "constant"
    learning_rate: float = 1e-3
    ema_decay: float = 0.98
    augmentation: Augmentation = RELEASED
    features: str = ""
    picked: bool = False
    start: str = ""
    epoch_share: float = 1.0
    base: str = field(default="", compare=False)


def differing_fields(first: Setting, second: Setting) -> dict[str, tuple[Any, Any]]:
    """{field: (value in the first, value in the second)} of what two settings do differently, names apart."""
    both = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in fields(Setting) if f.compare}
    return {name: values for name, values in both.items() if name != "name" and values[0] != values[1]}
