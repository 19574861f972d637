"""Finding a cohort by name, or by looking which one this machine has."""

from kneel_lib import paths
from kneel_lib.data.crops import load_crops
from kneel_lib.data.simulated import POPULATIONS, load_simulated
from kneel_lib.errors import KneelError

NAMES = ("crops", *POPULATIONS)


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
    return load_simulated(name, simulated_knees)
