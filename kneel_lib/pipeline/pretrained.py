"""Trained networks as files that travel with the package: safetensors in half precision, with everything
needed to build them again."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from kneel_lib.errors import KneelError, find
from kneel_lib.experiment import trained
from kneel_lib.experiment.spec import RunSpec, as_data, from_data
from kneel_lib.experiment.store import Run
from kneel_lib.files import write_whole
from kneel_lib.network import checkpoint
from kneel_lib.pipeline.predictors import Network

FOLDER = Path(__file__).parent.parent / "weights"
KINDS = ("landmarks", "roi", "search")


def write_pretrained(run: Run, kind: str, folder: Path | str = FOLDER) -> Path:
    """Write a finished run's network as <kind>-<address>.safetensors, about half the size of the run's own
    weights; returns the path."""
    find(kind, KINDS, "kind of network")
    model = trained.load_network(run)
    tensors = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    described = {
        "kind": kind,
        "spec": as_data(run.spec),
        "made": run.manifest["started"],
        "commit": run.manifest["commit"],
    }
    path = (
        Path(folder)
        / f"{kind}-{run.spec.cohort}-{run.spec.held_out}-seed{run.spec.seed}-{run.spec.hash[:8]}.safetensors"
    )
    write_whole(path, lambda temporary: save_file(tensors, temporary, {"network": json.dumps(described)}))
    return path


def named_networks(kind: str = "", folder: Path | str = FOLDER) -> dict[str, Network]:
    """{file name without ending: `Network`} of the pretrained networks (of one kind), sorted;
    `KneelError` for a file that is damaged or is none of ours."""
    return {path.stem: network_in(path) for path in sorted(Path(folder).glob(f"{kind}*-*.safetensors"))}


def networks_named(folder: Path = FOLDER) -> str:
    """The networks of a folder in one line, as recorded tables name them."""
    return " ".join(sorted(path.stem for path in folder.glob("*.safetensors")))


def load_networks(kind: str, folder: Path | str = FOLDER) -> list[Network]:
    """The pretrained `Network`s of a kind, as a list."""
    return list(named_networks(kind, folder).values())


def network_in(path: Path) -> Network:
    """One pretrained `Network`."""
    return ready(*read_network(path))


def ready(spec: RunSpec, model: torch.nn.Module) -> Network:
    """The `Network` of what `read_network` gives. It computes in 32-bit floats, as onnxruntime does for whole
    folders, so that an answer depends neither on the processor nor on how many files were asked for."""
    network = model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    size = spec.profile.size_px, spec.profile.spacing_mm
    return Network(network, *size, precision="fp32", grey=spec.setting.grey)


def read_network(path: Path) -> tuple[RunSpec, torch.nn.Module]:
    """What the run was that a file's network comes from, and the network. Raises `KneelError`."""
    tensors, metadata = checkpoint.load_tensors(path)
    try:
        spec = from_data(json.loads(metadata["network"])["spec"])
        model = trained.build_network(spec)
        model.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise KneelError(f"{path} is no network of this package ({str(error).splitlines()[0]})") from None
    return spec, model
