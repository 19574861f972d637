"""The simulated knees of the labs: few, so that they are drawn in half a minute; most come in pairs."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from kneel_lib.data.cohort import Cohort
from kneel_lib.simulation.population import POPULATIONS, load_population, make_files

POPULATION = replace(POPULATIONS["simulated"], grades=(8, 8, 8, 8, 8), both_knees=18)
"""Forty knees, eight a Kellgren-Lawrence grade, of 22 subjects."""


def course_cohort() -> Cohort:
    """The forty knees: pictures of 180 mm at 0.3 mm a pixel, all right-oriented, with their landmarks.

    Drawn at the first call on a machine and kept in `paths.cache()` for all later ones, of all labs.
    """
    return load_population(POPULATION)


def radiograph_paths() -> list[Path]:
    """The DICOM files that the knees were cut from: one a subject, both legs in it."""
    folder = make_files(POPULATION)
    contents = pd.read_csv(folder / "contents.csv")
    return [folder / place / "001" for place in contents["Folder"]]
