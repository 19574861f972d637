"""From crops and published landmarks to the registration table: rounds, gauge, network check;
what is finished is kept and not repeated."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from kneel_lib import paths
from kneel_lib.data.crops import TABLES
from kneel_lib.errors import KneelError
from kneel_lib.experiment.profiles import Profile
from kneel_lib.files import load_arrays, write_arrays, write_text
from kneel_lib.progress import Progress
from studies.registration import congealing, network_check
from studies.registration.congealing import Placement, Round
from studies.registration.simulated_crops import Crops

RECIPE = 2
"""Raise this when the code changes where knees are placed: older rounds are then not found any more."""
FIELDS = ("mm_per_px", "centres_px", "scores", "inverted")


def kept_in(
    crops: Crops, makers: np.ndarray | None = None, rounds: tuple[Round, ...] = congealing.ROUNDS
) -> Path:
    """The folder under the cache for what is found out about these crops."""
    digest = hashlib.sha256(
        repr((RECIPE, rounds, None if makers is None else list(map(int, makers)))).encode()
        + crops.offsets_mm.tobytes()
    )
    for image in crops.images:
        digest.update(np.ascontiguousarray(image).tobytes())
    return paths.cache() / "registration" / f"{crops.name}-{digest.hexdigest()[:12]}"


def place_by_templates(
    crops: Crops,
    makers: np.ndarray | None = None,
    jobs: int = 1,
    rounds: tuple[Round, ...] = congealing.ROUNDS,
    after_round: Callable[[int, Placement], object] = lambda number, placement: None,
) -> Placement:
    """The `Placement` of the crops after all rounds, in no gauge yet;
    goes on after the last round that was kept."""
    folder = kept_in(crops, makers, rounds)
    placement, done = None, 0
    while done < len(rounds) and (found := load_placement(folder / f"round-{done + 1}.npz")) is not None:
        placement, done = found, done + 1
        after_round(done, placement)
    progress = Progress(f"registering {crops.name}", len(rounds), done, unit="round")

    def keep(number: int, found: Placement, templates: np.ndarray) -> None:
        save_placement(found, folder / f"round-{done + number}.npz")
        after_round(done + number, found)
        progress.advance(done + number)

    if done < len(rounds):
        placement = congealing.register(
            crops.images, crops.offsets_mm, rounds[done:], makers, jobs, placement, keep
        )
    progress.close()
    return placement  # type: ignore[return-value]  # there is a round


def place_by_network(
    crops: Crops, placement: Placement, profile: Profile = network_check.CHECK, device: str = "cpu"
) -> Placement:
    """The network check's `Placement` of the crops."""
    points = network_points(crops, placement, profile, device)
    return network_check.fit_placement(points, crops.offsets_mm, placement.inverted)


def network_points(
    crops: Crops, placement: Placement, profile: Profile = network_check.CHECK, device: str = "cpu"
) -> np.ndarray:
    """(n, 16, 2) pixels of the crops: the checking network's answers; each half's are kept."""
    said = hashlib.sha256(
        repr((RECIPE, profile)).encode() + placement.mm_per_px.tobytes() + placement.centres_px.tobytes()
    ).hexdigest()[:12]
    points = np.empty((len(crops.images), *crops.offsets_mm.shape[1:]))
    for number, (known, unseen) in enumerate(network_check.halves(crops)):
        path = kept_in(crops) / f"half-{number}-{said}.npz"
        kept = load_arrays(path, ["points"])
        if kept is None:
            progress = Progress(f"network check, half {number + 1} of 2", profile.epochs)
            found = network_check.predict_half(
                crops,
                placement,
                known,
                unseen,
                number,
                profile,
                device,
                lambda state, bar=progress: bar.advance(state.epoch),  # type: ignore[misc]  # has a default
            )
            progress.close()
            kept = {"points": found}
            write_arrays(path, **kept)  # type: ignore[arg-type]  # holds no `save`
        points[unseen] = kept["points"]
    return points


def make_table(
    crops: Crops,
    check: bool = True,
    jobs: int = 1,
    profile: Profile = network_check.CHECK,
    rounds: tuple[Round, ...] = congealing.ROUNDS,
    device: str = "cpu",
) -> tuple[pd.DataFrame, Placement, np.ndarray]:
    """(table in the form of `data/oai_crops_registration.csv`, the `Placement` that it holds, which knees the
    network has replaced).

    Without the check, check_mm is empty and nothing is replaced.
    """
    placement = place_by_templates(crops, jobs=jobs, rounds=rounds)
    check_mm, replaced = np.full(len(crops.images), np.nan), np.zeros(len(crops.images), bool)
    if check:
        placement, check_mm, replaced = network_check.combine(
            placement, place_by_network(crops, placement, profile, device), crops.offsets_mm
        )
    placement = congealing.regauge(
        placement, *congealing.edge_gauge(crops.images, crops.offsets_mm, placement, jobs=jobs)
    )
    return as_table(crops, placement, check_mm), placement, replaced


def as_table(crops: Crops, placement: Placement, check_mm: np.ndarray) -> pd.DataFrame:
    """A `Placement` in the form of `data/oai_crops_registration.csv`."""
    return crops.knees[["subject_id", "side", "kl", "split"]].assign(
        mm_per_px=placement.mm_per_px.round(5),
        x4_px=placement.centres_px[:, 0].round(3),
        y4_px=placement.centres_px[:, 1].round(3),
        inverted=placement.inverted.astype(int),
        score=placement.scores.round(3),
        check_mm=check_mm.round(2),
    )


def write_registration(table: pd.DataFrame, path: Path | str) -> Path:
    """The table as csv, whole or not at all;
    `KneelError` if it would go over one that recorded runs stand on."""
    if Path(path).resolve() in {(paths.DATA / name).resolve() for name in TABLES.values()}:
        raise KneelError(f"{path} is a table that recorded runs stand on: write beside it and compare first")
    write_text(path, table.to_csv(index=False))
    return Path(path)


def save_placement(placement: Placement, path: Path) -> None:
    write_arrays(path, **{name: getattr(placement, name) for name in FIELDS})


def load_placement(path: Path) -> Placement | None:
    """The kept placement, or None if it is not there or damaged."""
    arrays = load_arrays(path, FIELDS)
    return arrays and Placement(**arrays)  # type: ignore[return-value]  # never empty
