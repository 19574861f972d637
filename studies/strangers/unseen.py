"""Which networks a knee may be asked of: those that have not seen it."""

from pathlib import Path

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.folds import split_rows
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.predict import Networks
from kneel_lib.pipeline.pretrained import FOLDER, load_networks, read_network, ready


def search_folder(folder: Path) -> Path:
    """Where the search networks are taken from: the folder, or the package where it has none."""
    return folder if list(folder.glob("search-*.safetensors")) else FOLDER


def networks_asked(folder: Path) -> str:
    """The landmark networks of the folder and the search networks beside them in one line."""
    files = [*folder.glob("landmarks-*.safetensors"), *search_folder(folder).glob("search-*.safetensors")]
    return " ".join(sorted(path.stem for path in files))


def networks_unseen(folder: Path, cohort: Cohort) -> list[Networks]:
    """The (landmark networks, search networks) that each knee of a cohort may be asked of: of the folder's
    landmark networks those that held it out, which may be none.

    What the search networks have seen is not looked at. Raises `KneelError` for a network of other knees,
    labels or pictures, and where no knee was held out.
    """
    search = load_networks("search", search_folder(folder))
    found: list[Networks] = [([], search) for _ in range(len(cohort))]
    for path in sorted(folder.glob("landmarks-*.safetensors")):
        spec, model = read_network(path)
        if (spec.cohort, spec.fingerprint) != (cohort.name, cohort.fingerprint):
            raise KneelError(
                f"{path} was trained on other knees, labels or pictures ({spec.cohort}) than those of "
                f"{cohort.name} here: train it again"
            )
        network = ready(spec, model)
        for row in split_rows(cohort, spec.held_out)[1]:
            found[row] = ([*found[row][0], network], search)
    if not any(landmark for landmark, _ in found):
        raise KneelError(f"{folder} has no landmark network that held out a knee of {cohort.name}")
    return found
