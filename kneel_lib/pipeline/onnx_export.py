"""The trained networks as ONNX files, for programs without torch:
grey ROIs in, landmarks in ROI pixels out, nothing left to do around them."""

import json
import logging
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kneel_lib import paths
from kneel_lib.data.rois import Rois
from kneel_lib.errors import KneelError
from kneel_lib.files import contents_hash, write_whole
from kneel_lib.network import training
from kneel_lib.network.hourglass import map_deviation
from kneel_lib.pipeline.predictors import VIEWS_MM, Network
from kneel_lib.pipeline.pretrained import network_in

INPUT, OUTPUTS = "rois", ["landmarks_px", "deviation_px"]


class Whole(torch.nn.Module):
    """Grey values 0 to 255 of normalised ROIs, (n, 1, S, S) float32, to landmarks (n, M, 2) and the deviation
    of their maps (n, M), both in ROI pixels: standardising, network and soft-argmax in one."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.model, self.size_px = network.model, network.size_px

    def forward(self, rois: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.model.maps(training.standardise(rois / 255))
        deviation = map_deviation(maps, self.model.architecture.beta)
        return self.model.coordinates(maps) * self.size_px, deviation * self.size_px


def export(network: Network, path: Path | str) -> Path:
    """Write a `predictors.Network` as one ONNX file, with its ROI's size and spacing in its metadata;
    any number of ROIs at once. Returns the path."""
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which is not needed
    example = torch.zeros(2, 1, network.size_px, network.size_px)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about itself
        program: Any = torch.onnx.export(
            Whole(network).eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=OUTPUTS,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        )
    model = program.model_proto
    onnx.helper.set_model_props(
        model,
        {
            "roi": json.dumps(
                {"size_px": network.size_px, "spacing_mm": network.spacing_mm, "grey": network.grey}
            )
        },
    )
    write_whole(Path(path), lambda temporary: onnx.save(model, temporary))
    return Path(path)


def cached(path: Path) -> Path:
    """Where the ONNX file of a pretrained network is kept; other weights, and other code or another torch to
    write it with, have another place."""
    return paths.cache() / "onnx" / f"{path.stem}-{contents_hash(path)}-{writers_hash()}.onnx"


@cache
def writers_hash() -> str:
    """What an ONNX file depends on but for the weights."""
    room = Path(__file__).parent
    code = contents_hash(room.parent / "network", room / "predictors.py", Path(__file__))
    return f"{code}-torch{torch.__version__.split('+')[0]}"


def can_run(folder: Path, write: bool) -> bool:
    """Whether every pretrained network of a folder can run in onnxruntime: it is installed, and their ONNX
    files are there, or are written now. write: whether that is worth it, which takes most of a minute."""
    if not find_spec("onnxruntime"):
        return False
    missing = [path for path in sorted(folder.glob("*.safetensors")) if not cached(path).is_file()]
    if missing and not (write and find_spec("onnx") and find_spec("onnxscript")):
        return False
    for path in missing:
        export(network_in(path), cached(path))
    return True


def load_all(kind: str, folder: Path, threads: int = 0) -> list["OnnxNetwork"]:
    """The exported networks of a kind, after `can_run`."""
    return [load(cached(path), threads) for path in sorted(folder.glob(f"{kind}*-*.safetensors"))]


@dataclass(frozen=True)
class OnnxNetwork:
    """An exported network in onnxruntime, in a `predictors.Network`'s place; its maps are not to be had."""

    session: Any
    size_px: int
    spacing_mm: float
    views_mm: tuple = VIEWS_MM
    grey: str = "normalised"

    def answer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `predictors.Network.answer`."""
        points, deviation = self.session.run(OUTPUTS, {INPUT: images[:, None].astype(np.float32)})
        return points, deviation

    def predict(self, rois: Rois) -> np.ndarray:
        """Landmarks of `Rois` without a margin in ROI pixels, (n, M, 2)."""
        return self.answer(rois.images)[0]


def load(path: Path | str, threads: int = 0) -> OnnxNetwork:
    """The `OnnxNetwork` of an exported file; `KneelError` if it is none.
    threads: how many to compute with, 0 for all."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NoSuchFile,
    )

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        roi = json.loads(session.get_modelmeta().custom_metadata_map["roi"])
        return OnnxNetwork(session, roi["size_px"], roi["spacing_mm"], grey=roi["grey"])
    except (KeyError, ValueError, Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise KneelError(
            f"{path} is no exported network of this package ({str(error).splitlines()[0]})"
        ) from None
