"""From finished runs to what they have trained: networks and voting forests, ready to predict."""

from typing import TYPE_CHECKING

import torch

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.folds import choose_labels, split_rows, take_knees
from kneel_lib.errors import KneelError
from kneel_lib.experiment.spec import RunSpec
from kneel_lib.experiment.store import WEIGHTS, Run, check_files
from kneel_lib.network import checkpoint, training

if TYPE_CHECKING:
    from kneel_lib.baselines import rfrv_clm


def knees_of(spec: RunSpec, cohort: Cohort, source: Cohort | None) -> tuple[Cohort, Cohort]:
    """(knees to train on, knees to try) of a run. source: of a transfer, what it trains on."""
    tried = take_knees(cohort, spec.profile.knees)
    if spec.kind == "transfer":
        if source is None:
            raise KneelError(f"{spec.address} trains on knees of another cohort, which was not given")
        return take_knees(source, spec.profile.knees), tried
    known, held_out = split_rows(tried, spec.held_out)
    if spec.labels is not None:
        known = choose_labels(known, spec.labels, spec.seed)
    return tried.select(known), tried.select(held_out)


def load_forests(run: Run, cohort: Cohort, source: Cohort | None = None) -> "rfrv_clm.Model":
    """The voting forests of a finished run on a cohort; where they were not kept (recorded runs) the very
    same are grown again on its training knees."""
    from kneel_lib.baselines import rfrv_clm  # compiles for a second: only where forests are wanted
    from kneel_lib.experiment.methods import FORESTS, cut_as, train_forests

    path = run.folder / FORESTS
    if path.is_file():
        return rfrv_clm.load(path)
    trained_on, _ = knees_of(run.spec, cohort, source)
    return train_forests(run.spec, cut_as(run.spec, trained_on))


def load_network(run: Run) -> torch.nn.Module:
    """The trained network of a finished run, ready to predict; `KneelError` where it was not kept."""
    path = run.folder / WEIGHTS
    if not path.is_file():
        raise KneelError(
            f"{run.folder} holds no weights (recorded runs keep predictions only): ask for the run with "
            "weights=True, which trains it here"
        )
    try:
        check_files(run.folder, run.manifest, (WEIGHTS,))
    except ValueError as error:
        raise KneelError(f"{run.folder} is not a whole run ({error}): delete it; it is made again") from None
    model = build_network(run.spec)
    checkpoint.load_weights(model, path)
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def build_network(spec: RunSpec) -> torch.nn.Module:
    """The untrained network that a run of this spec has."""
    outputs = 1 if spec.setting.method == "roi" else landmarks.COUNT
    return training.make_network(spec.setting, spec.profile, outputs)
