"""Finding a cohort by name, or by looking which one this machine has."""

from kneel_lib import paths
from kneel_lib.data.cache import remember
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import TABLES, load_crops
from kneel_lib.data.folds import FOLDS
from kneel_lib.data.roi_fields import load_halves, scatter
from kneel_lib.errors import KneelError, find
from kneel_lib.simulation import search_fields
from kneel_lib.simulation.population import (
    POPULATIONS,
    load_population,
    load_simulated,
    make_files,
    take,
    unseen_population,
)

ROI_COHORTS = {
    **{f"{name}_scattered": name for name in TABLES},
    **{f"{name}_halves": name for name in POPULATIONS},
}
"""Cohorts for ROI localisation (`data.roi_fields`), and the cohort that each is made of."""

NAMES = (*TABLES, *POPULATIONS, *ROI_COHORTS, search_fields.NAME)

LEGS = 160
"""Of how many simulated knees the search's pictures show the legs."""


def roi_cohort_name(name: str) -> str:
    """The name of the cohort in which the knees of this one are still to be found."""
    return f"{name}_halves" if name in POPULATIONS else f"{name}_scattered"


def roi_cohort(cohort: Cohort, simulated_knees: int | None = None) -> Cohort:
    """The same knees, in the same order, in pictures in which they are still to be found (`data.roi_fields`).

    Halves of the simulated radiographs; other cohorts have single-knee pictures, which are laid out
    off-centre. simulated_knees: as many as `cohort` was drawn with.
    """
    if cohort.name in POPULATIONS:
        return load_cohort(roi_cohort_name(cohort.name), simulated_knees)
    return scatter(cohort)


def unseen_cohort(cohort: Cohort, fold: int | str, simulated_knees: int | None = None) -> Cohort:
    """The simulated knees whose shapes hold nothing of the subjects that this fold, 0 to 4, of the crops
    holds out.

    `KneelError` for other folds and cohorts. cohort: the real knees that are to be split into folds: all
    crops, since the shape models are of their folds.
    """
    if (
        fold not in range(FOLDS)
        or cohort.name not in TABLES
        or cohort.fingerprint != load_cohort(cohort.name).fingerprint
    ):
        raise KneelError(
            "simulated knees without the shapes of held-out subjects are there for the folds "
            f"0 to {FOLDS - 1} of all crops alone, not for fold {fold} of {len(cohort)} knees of "
            f"{cohort.name}: choose a profile that uses all knees, "
            'or the setting that starts from "simulated"'
        )
    return load_population(unseen_population(fold), simulated_knees)


def choose_cohort(name: str = "auto") -> str:
    """The name itself, or for "auto" the real crops where they are, else the simulated cohort; says why."""
    if find(name, ("auto", *NAMES), "cohort") != "auto":
        return name
    if (paths.downloads() / "oai_crops").is_dir():
        return "crops"
    print(
        f"no real knees under {paths.downloads()}: this is the simulated cohort. data/README.md says "
        "where to get real ones (free, 25 MB, no account)",
        flush=True,
    )
    return "simulated"


def load_cohort(name: str = "auto", simulated_knees: int | None = None) -> Cohort:
    """The cohort of this name. simulated_knees: how many are drawn where it is a simulated one (None: the
    paper's number).

    Raises `KneelError` for an unknown name and for real crops that are missing, incomplete or damaged.
    """
    name = choose_cohort(name)
    if name in TABLES:
        if not (paths.downloads() / "oai_crops").is_dir():
            raise KneelError(
                f"no real knees on this machine: there is no folder {paths.downloads() / 'oai_crops'}; "
                "data/README.md says where to get the crops and the landmarks (free, 25 MB, no account), "
                "then put them there or set KNEEL_DATA"
            )
        return load_crops(name=name)
    if ROI_COHORTS.get(name) in TABLES:
        return scatter(load_cohort(ROI_COHORTS[name]))
    if name == search_fields.NAME:
        real = load_cohort("crops") if (paths.downloads() / "oai_crops").is_dir() else None
        return search_fields.search_fields(load_cohort("simulated_halves", simulated_knees or LEGS), real)
    if name in ROI_COHORTS:
        folder = make_files(take(POPULATIONS[ROI_COHORTS[name]], simulated_knees))
        return remember(
            folder, name, lambda: load_halves(folder, folder / "annotations.csv", ROI_COHORTS[name])
        )
    return load_simulated(name, simulated_knees)
