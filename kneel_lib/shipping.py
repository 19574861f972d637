"""Trained networks as files that travel with the package: safetensors in half precision, with everything needed to build them again."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from kneel_lib import checkpoint, runs
from kneel_lib.errors import KneelError
from kneel_lib.files import write_whole
from kneel_lib.pipeline import Network

FOLDER = Path(__file__).with_name("weights")
KINDS = ("landmarks", "search")


def ship(run, kind, folder=FOLDER):
    """Write a finished run's network as <kind>-<address>.safetensors, about half the size of the run's own weights; returns the path."""
    if kind not in KINDS:
        raise KneelError(f"unknown kind of network '{kind}': choose one of {', '.join(KINDS)}")
    model = run.load_network()
    tensors = {name: value.half().contiguous() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    described = {"kind": kind, "config": run.config, "made": run.manifest["started"], "commit": run.manifest["commit"]}
    path = Path(folder) / f"{kind}-{run.config['cohort']}-{run.config['fold']}-seed{run.config['seed']}-{runs.content_hash(run.config)[:8]}.safetensors"
    write_whole(path, lambda temporary: save_file(tensors, temporary, {"network": json.dumps(described)}))
    return path


def named_networks(kind="", folder=FOLDER):
    """{file name without ending: `Network`} of the shipped networks (of one kind), sorted; `KneelError` for a file that is damaged or is none of ours."""
    return {path.stem: load_network(path) for path in sorted(Path(folder).glob(f"{kind}*-*.safetensors"))}


def load_networks(kind, folder=FOLDER):
    """The shipped `Network`s of a kind, as a list."""
    return list(named_networks(kind, folder).values())


def load_network(path):
    """One shipped `Network`."""
    tensors, metadata = checkpoint.load_tensors(path)
    try:
        config = json.loads(metadata["network"])["config"]
        model = runs.build_network(config)
        model.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise KneelError(f"{path} is no network of this package ({str(error).splitlines()[0]})") from None
    saw_mirrored = config["setting"]["augmentation"].get("flip_p", 0) > 0
    return Network(model.to(memory_format=torch.channels_last).eval(), config["profile"]["size_px"], config["profile"]["spacing_mm"], saw_mirrored=saw_mirrored)
