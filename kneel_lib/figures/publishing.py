"""What may be shown: pictures of real knees are drawn only where `pictures_allowed()`;
in the notebooks that the project publishes they are left out."""

import os
from collections.abc import Callable
from typing import Any

from kneel_lib.data.cohort import Cohort
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.simulation.population import POPULATIONS

WITHOUT_PICTURES = "KNEEL_WITHOUT_PICTURES"


def pictures_allowed(cohort: Cohort | str) -> bool:
    """False for real knees (a cohort, or the name of one) where KNEEL_WITHOUT_PICTURES is set:
    the published notebooks show none."""
    name = cohort if isinstance(cohort, str) else cohort.name
    return (
        name in POPULATIONS
        or name.removesuffix("_halves") in POPULATIONS
        or not os.environ.get(WITHOUT_PICTURES)
    )


def with_pictures(cohort: Cohort | str, draw: Callable[..., Any], *arguments: Any) -> Any:
    """`draw(*arguments)`, a figure that shows pixels;
    or None, and a line that says so, where they may not be shown."""
    if pictures_allowed(cohort):
        if os.environ.get(WITHOUT_PICTURES):
            print("The knees in this picture are simulated.")
        return draw(*arguments)
    print("A picture of real knees stands here when you run this notebook; the published copy leaves it out.")
    return None


def stand_in(cohort: Cohort) -> Cohort:
    """The cohort itself where its pixels may be shown, else ten simulated knees:
    for pictures of what is done to an image, whosever it is."""
    return cohort if pictures_allowed(cohort) else load_cohort("simulated", 10)
