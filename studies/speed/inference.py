"""How fast a trained network answers: one knee, a batch of knees, a radiograph, a folder (notebook 10,
`python -m studies.speed`).

Each way to compute is a rung: what one call takes, and how far its landmarks are from the truth. Numbers in
eight bits are worth having only where they cost less than `ALLOWED_MM`.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kneel_lib import metrics
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.rois import Rois, cut_rois
from kneel_lib.network.precision import precision
from kneel_lib.pipeline import onnx_export, paper_pipeline, predict
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.onnx_export import OnnxNetwork
from kneel_lib.pipeline.predictors import Network
from studies.speed.training import timer

ALLOWED_MM = 0.02
BATCH = 64
CALIBRATION_KNEES = 32


@dataclass(frozen=True)
class Rung:
    """A way to compute. network: anything with `predict(rois)`. knees: how many ROIs a call gets."""

    name: str
    network: Network | OnnxNetwork
    knees: int = 1


def with_layout(network: Network, layout: torch.memory_format) -> Network:
    return replace(network, model=deepcopy(network.model).to(memory_format=layout))


def compiled(network: Network) -> Network:
    """The network with its maps compiled by torch."""
    model = deepcopy(network.model)
    model.maps = torch.compile(model.maps, dynamic=False)
    return replace(network, model=model)


def quantise(source: Path, path: Path | str, rois: Rois) -> OnnxNetwork:
    """Write an exported network with its convolutions in eight bits, calibrated on `rois`; returns the
    `OnnxNetwork`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Knees(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(rois.images[:CALIBRATION_KNEES, None, None].astype(np.float32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            knee = next(self.left, None)
            return None if knee is None else {onnx_export.INPUT: knee}

    ready = Path(path).with_suffix(".ready.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(path),
        Knees(),
        per_channel=True,
        op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8,
    )
    ready.unlink()
    return onnx_export.load(path)


def rungs(network: Network, folder: Path | str, calibration: Rois | None, slow: bool = False) -> list[Rung]:
    """The ladder of a pretrained `predictors.Network`: [`Rung`]. folder: for exported files. calibration:
    `Rois` for eight bits, or None. slow: compile too. Without onnx or onnxruntime their rungs are left out.
    """
    try:
        path = onnx_export.export(network, Path(folder) / "landmarks.onnx")
        exported: OnnxNetwork | None = onnx_export.load(path)
    except ImportError:
        exported = None
    network, fast = replace(network, precision="fp32"), precision("cpu")
    last = with_layout(network, torch.channels_last)
    ladder = [
        Rung("one knee: torch, fp32", with_layout(network, torch.contiguous_format)),
        Rung("one knee: + channels_last", last),
    ]
    if fast == "bf16":
        ladder += [Rung("one knee: + bf16", replace(last, precision=fast))]
    if slow:
        ladder += [Rung("one knee: torch.compile, fp32", compiled(last))]
    if exported:
        ladder += [Rung("one knee: onnxruntime, fp32", exported)]
    if exported and calibration is not None:
        ladder += [
            Rung(
                "one knee: onnxruntime, int8",
                quantise(path, Path(folder) / "landmarks-int8.onnx", calibration),
            )
        ]
    ladder += [
        Rung(f"{BATCH} knees at once: torch, fp32", last, BATCH),
        Rung(f"{BATCH} knees at once: torch, {fast}", replace(last, precision=fast), BATCH),
    ]
    if exported:
        ladder += [Rung(f"{BATCH} knees at once: onnxruntime, fp32", exported, BATCH)]
    return list({rung.name: rung for rung in ladder}.values())


def chosen(rois: Rois, rows: np.ndarray | slice) -> Rois:
    """Some of the ROIs, by slice or by numbers."""
    return replace(
        rois,
        images=rois.images[rows],
        landmarks_px=rois.landmarks_px[rows],
        mm_per_px=rois.mm_per_px[rows],
        origin_mm=rois.origin_mm[rows],
    )


def rates(ladder: Sequence[Rung], rois: Rois, rounds: int = 5) -> dict[str, float]:
    """{rung's name: knees a second}: the median over alternating rounds."""
    given = [chosen(rois, np.arange(rung.knees) % len(rois.images)) for rung in ladder]
    seen = [
        [
            rung.knees / timer(lambda: rung.network.predict(batch)).timeit(max(1, 8 // rung.knees)).mean
            for rung, batch in zip(ladder, given)
        ]
        for _ in range(rounds)
    ]
    return {rung.name: statistics.median(values) for rung, values in zip(ladder, zip(*seen))}


def errors_mm(rung: Rung, rois: Rois, cohort: Cohort) -> np.ndarray:
    """Landmark errors in mm, (knees, 16), knee by knee where the rung computes so."""
    parts = [
        rung.network.predict(chosen(rois, slice(first, first + rung.knees)))
        for first in range(0, len(rois.images), rung.knees)
    ]
    return metrics.landmark_errors(rois.to_mm(np.concatenate(parts)), cohort.landmarks_mm)


def rois_for(network: Network, cohort: Cohort) -> Rois:
    """The knees' ROIs as the pretrained landmark network wants them."""
    return cut_rois(cohort, network.size_px, network.spacing_mm, "image", grey="normalised")


def seconds(call: Callable[[], object]) -> float:
    """Median seconds of a call over about ten seconds."""
    return timer(call).blocked_autorange(min_run_time=10).median


def radiograph_recipes(
    path: Path, networks: Sequence[Network], roi_networks: Sequence[Network]
) -> dict[str, Callable[[], list[Knee]]]:
    """{name: a call that reads one bilateral radiograph and locates both knees in the paper's two stages}."""
    fast = precision("cpu")

    def call(precision: str, **views: Any) -> Callable[[], list[Knee]]:
        team, roi_team = (
            [replace(network, precision=precision, **changes) for network in group]
            for group, changes in ((networks, views), (roi_networks, {}))
        )
        return lambda: paper_pipeline.locate(read_radiograph(path), team, roi_team)

    one_view = {"views_mm": ((0.0, 0.0),)}
    return {
        "one view, fp32 (as released)": call("fp32", **one_view),
        f"one view, {fast}": call(fast, **one_view),
        f"four views, {fast} (ours)": call(fast),
    }


def folder_rate(folder: Path | str, output: Path | str) -> float:
    """Files a second of `predict.predict_all` over a folder, overlays and tables included."""
    clock = time.perf_counter()
    failed = predict.predict_all(folder, output)
    return (len(predict.find_files(folder)) - len(failed)) / (time.perf_counter() - clock)
