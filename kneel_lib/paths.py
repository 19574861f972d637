"""Where things are: the project's folders, and the two that a user may move by an environment variable."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"


def downloads() -> Path:
    """The folder of downloaded data: KNEEL_DATA, else data/downloads, else a shared/data folder beside the
    project.

    The last one is for several checkouts that share one copy. If none is there, data/downloads is named.
    """
    if os.environ.get("KNEEL_DATA"):
        return Path(os.environ["KNEEL_DATA"]).expanduser().resolve()
    places = (DATA / "downloads", ROOT.parent / "shared" / "data")
    return next((place for place in places if (place / "oai_crops").is_dir()), places[0])


def runs() -> Path:
    """The working store of runs: KNEEL_RUNS, else runs/ in the project (not committed)."""
    return Path(os.environ.get("KNEEL_RUNS") or ROOT / "runs").expanduser().resolve()


def output(cohort: str, profile: str) -> Path:
    """Where a run of the notebooks puts what it builds: KNEEL_OUTPUT, else output/<cohort>-<profile>/ in the
    project."""
    return (
        Path(os.environ.get("KNEEL_OUTPUT") or ROOT / "output").expanduser().resolve() / f"{cohort}-{profile}"
    )


def cache() -> Path:
    """Files that are made from a seed and can be made again: KNEEL_CACHE, else build/ in the project (not
    committed)."""
    return Path(os.environ.get("KNEEL_CACHE") or ROOT / "build").expanduser().resolve()


def shown(path: Path | str) -> Path:
    """How a path is printed: relative to the project where it lies inside it, so that published outputs name
    no machine."""
    path = Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
