"""Finding a cohort by name, or by looking which one this machine has."""

from kneel_lib import paths
from kneel_lib.data.cache import remember
from kneel_lib.data.crops import load_crops
from kneel_lib.data.folds import FOLDS
from kneel_lib.data.search import load_halves, scatter
from kneel_lib.data.simulated import POPULATIONS, load_population, load_simulated, make_files, take, unseen_population
from kneel_lib.errors import KneelError

SEARCHED = {"crops_scattered": "crops", **{f"{name}_halves": name for name in POPULATIONS}}
"""Cohorts for the ROI search (`data.search`), and the cohort that each is made of."""

NAMES = ("crops", *POPULATIONS, *SEARCHED)


def search_name(name):
    """The name of the cohort in which the knees of this one are still to be found."""
    return f"{name}_halves" if name in POPULATIONS else f"{name}_scattered"


def search_cohort(cohort, simulated_knees=None):
    """The same knees, in the same order, in pictures in which they are still to be found (`data.search`).

    Halves of the simulated radiographs; other cohorts have single-knee pictures, which are laid out off-centre. simulated_knees: as many as `cohort` was drawn with.
    """
    if cohort.name in POPULATIONS:
        return load_cohort(search_name(cohort.name), simulated_knees)
    return scatter(cohort)


def unseen_cohort(cohort, fold, simulated_knees=None):
    """The simulated knees whose shapes hold nothing of the subjects that this fold, 0 to 4, of the crops holds out; `KneelError` for other folds and cohorts.

    cohort: the real knees that are to be split into folds: all crops, since the shape models are of their folds.
    """
    if fold not in range(FOLDS) or cohort.name != "crops" or cohort.fingerprint != load_cohort("crops").fingerprint:
        raise KneelError(f"simulated knees without the shapes of held-out subjects are there for the folds 0 to {FOLDS - 1} of all crops alone, not for fold {fold} of {len(cohort)} "
                         f"knees of {cohort.name}: choose a profile that uses all knees, or the setting that starts from \"simulated\"")
    return load_population(unseen_population(fold), simulated_knees)


def choose_cohort(name="auto"):
    """The name itself, or for "auto" the real crops where they are, else the simulated cohort; says which and why."""
    if name not in ("auto", *NAMES):
        raise KneelError(f"unknown cohort '{name}': choose auto or one of {', '.join(NAMES)}")
    if name != "auto":
        return name
    if (paths.downloads() / "oai_crops").is_dir():
        return "crops"
    print(f"no real knees under {paths.downloads()}: this is the simulated cohort. data/README.md says where to get real ones "
          "(free, 25 MB, no account)", flush=True)
    return "simulated"


def load_cohort(name="auto", simulated_knees=None):
    """The cohort of this name. simulated_knees: how many are drawn where it is a simulated one (None: the paper's number).

    Raises `KneelError` for an unknown name and for real crops that are missing, incomplete or damaged.
    """
    name = choose_cohort(name)
    if name == "crops":
        if not (paths.downloads() / "oai_crops").is_dir():
            raise KneelError(f"no real knees on this machine: there is no folder {paths.downloads() / 'oai_crops'}; data/README.md says where to "
                             "get the crops and the landmarks (free, 25 MB, no account), then put them there or set KNEEL_DATA")
        return load_crops()
    if name == "crops_scattered":
        return scatter(load_cohort("crops"))
    if name in SEARCHED:
        folder = make_files(take(POPULATIONS[SEARCHED[name]], simulated_knees))
        return remember(folder, name, lambda: load_halves(folder, folder / "annotations.csv", SEARCHED[name]))
    return load_simulated(name, simulated_knees)
