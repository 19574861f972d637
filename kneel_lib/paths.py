"""Where things are: the project's folders, and the two that a user may move by an environment variable."""

import os
from pathlib import Path

from kneel_lib.errors import KneelError

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"


def chosen(variable: str, default: Path) -> Path:
    """The folder that an environment variable names, else the default; `KneelError` if it can be none."""
    given = os.environ.get(variable) or str(default)
    try:
        folder = Path(given).expanduser().resolve()
        folder.is_dir()  # asks the system, to which a name may be too long
        return folder
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, links in a circle
        raise KneelError(
            f"{variable} is '{given[:200]}', which can be no folder ({str(error)[:200]}): "
            "set it to another one"
        ) from None


def downloads() -> Path:
    """The folder of downloaded data: KNEEL_DATA, else data/downloads, else a shared/data folder beside the
    project.

    The last one is for several checkouts that share one copy. If none is there, data/downloads is named.
    """
    if os.environ.get("KNEEL_DATA"):
        return chosen("KNEEL_DATA", DATA)
    places = (DATA / "downloads", ROOT.parent / "shared" / "data")
    return next((place for place in places if (place / "oai_crops").is_dir()), places[0])


def runs() -> Path:
    """The working store of runs: KNEEL_RUNS, else runs/ in the project (not committed)."""
    return chosen("KNEEL_RUNS", ROOT / "runs")


def output(cohort: str, profile: str, *parts: str) -> Path:
    """Where a run of the notebooks puts what it builds: KNEEL_OUTPUT, else output/, and in it
    <cohort>-<profile>/; `parts` (unusual parameters) go on in its name."""
    return chosen("KNEEL_OUTPUT", ROOT / "output") / output_name(cohort, profile, *parts)


def output_name(cohort: str, profile: str, *parts: str) -> str:
    """The name of such a folder."""
    return "-".join((cohort, profile, *parts))


def cache() -> Path:
    """Files that are made from a seed and can be made again: KNEEL_CACHE, else build/ in the project (not
    committed)."""
    return chosen("KNEEL_CACHE", ROOT / "build")


def shown(path: Path | str) -> Path:
    """How a path is printed: relative to the project where it lies inside it, so that published outputs name
    no machine."""
    path = Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
