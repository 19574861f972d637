"""Profiles as data: how big a run is."""

from dataclasses import dataclass, replace

from kneel_lib.errors import find
from kneel_lib.experiment.settings import Setting


@dataclass(frozen=True)
class Profile:
    """How big a run is. The ROI measures `size_px` pixels of `spacing_mm`; width and depth are the network's
    N and d.

    `study` is the profile of Table 1; its length was chosen so that the curve of `wing` would be flat, which
    it is not yet (results/epochs.csv). `long` is the same size, trained for fewer epochs; `study_native` has
    the schedule of `study` at the pixels that the crops have.

    knees: how many knees of the cohort take part (None: all). folds: how many of the five folds a notebook
    runs. simulated: how many knees are simulated where there are no real ones (None: the paper's 748).
    tested: how many knees each simulated test set has (None: the paper's 161 and 209).
    """

    name: str
    size_px: int
    spacing_mm: float
    width: int
    depth: int
    epochs: int
    batch: int = 16
    knees: int | None = None
    folds: int = 5
    simulated: int | None = None
    tested: int | None = None


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            size_px=64,
            spacing_mm=1.6,
            width=4,
            depth=2,
            epochs=2,
            knees=40,
            folds=2,
            simulated=40,
            tested=12,
        ),
        Profile(
            "quick",
            size_px=96,
            spacing_mm=1.05,
            width=16,
            depth=4,
            epochs=20,
            folds=2,
            simulated=160,
            tested=60,
        ),
        Profile("study", size_px=128, spacing_mm=0.75, width=24, depth=4, epochs=60),
        Profile("long", size_px=128, spacing_mm=0.75, width=24, depth=4, epochs=40),
        Profile("study_native", size_px=192, spacing_mm=0.5, width=24, depth=5, epochs=60),
        Profile("native", size_px=192, spacing_mm=0.5, width=24, depth=5, epochs=75),
        Profile("paper", size_px=450, spacing_mm=0.3, width=24, depth=6, epochs=100),
    )
}


ROI_PROFILES = {
    "smoke": replace(PROFILES["smoke"], spacing_mm=4.0),
    "quick": replace(PROFILES["quick"], size_px=128, spacing_mm=2.0, epochs=12),
    "study": replace(PROFILES["study"], size_px=256, spacing_mm=1.0, epochs=10, batch=16),
}
"""The same networks for ROI localisation, so that their weights can be taken over: 256 mm of half a
radiograph, at the paper's 1 mm from `study` on."""


SEARCH_PROFILES = {
    "smoke": replace(PROFILES["smoke"], spacing_mm=2.0),
    "study": replace(PROFILES["study"], spacing_mm=1.0, width=16, epochs=30, batch=16),
}
"""Of the search: its pictures have 128 pixels of one unit each, however large the knee in them is."""

SPECIAL = {"roi": ROI_PROFILES, "search": SEARCH_PROFILES}


def profile_for(setting: Setting, profile: Profile) -> Profile:
    """The profile itself, or for ROI localisation and the search their own; others share that of `study`."""
    special = SPECIAL.get(setting.method)
    return special.get(profile.name, special["study"]) if special else profile


def find_profile(name: str) -> Profile:
    """The profile of this name; `KneelError` names the known ones."""
    return find(name, PROFILES, "profile")
