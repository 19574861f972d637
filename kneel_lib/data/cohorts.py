"""Finding a cohort by name, or by looking which one this machine has."""

from kneel_lib import paths
from kneel_lib.data.crops import load_crops
from kneel_lib.errors import KneelError

COHORTS = {"crops": load_crops}


def load_cohort(name="auto"):
    """The cohort of this name; "auto" takes the real crops where they are. `KneelError` says where to get them if not."""
    if name == "auto":
        if not (paths.downloads() / "oai_crops").is_dir():
            raise KneelError(f"no knees on this machine: there is no folder {paths.downloads() / 'oai_crops'}; data/README.md says where to get "
                             "the crops and the landmarks (free, 25 MB, no account), then put them there or set KNEEL_DATA")
        name = "crops"
    if name not in COHORTS:
        raise KneelError(f"unknown cohort '{name}': choose auto or one of {', '.join(COHORTS)}")
    return COHORTS[name]()
