"""The pixel spacing that a DICOM header says, and from which of its elements."""

from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.dicom_files import numbers, text
from kneel_lib.data.grey import checked_spacing
from kneel_lib.errors import KneelError

SPACING_TAGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
"""In this order: the detector's own spacing first, as in the released code."""

CALIBRATIONS = ("GEOMETRY", "FIDUCIAL")
"""Values of PixelSpacingCalibrationType that put PixelSpacing into the patient's plane."""

GREATEST_MAGNIFICATION = 2.0
"""Of a knee no machine says more: a factor beyond is no factor."""

Spacing = tuple[float | None, str, tuple[str, ...]]


def pixel_spacing(path: Path | str, dataset: Any, given: float | None = None, needed: bool = True) -> Spacing:
    """(mm a pixel, what said so, reasons to doubt it): calibrated PixelSpacing; else ImagerPixelSpacing by
    the magnification, where the header says one; else the first of SPACING_TAGS; else the one given.

    Raises `KneelError` for pixels that are not square to 1 %, a spacing beyond 0.02 to 1.0 mm, and, if it is
    needed, for none at all.
    """
    said = {tag: numbers(path, dataset, tag) for tag in SPACING_TAGS}
    usable = {tag: pair for tag, pair in said.items() if is_pair(pair)}
    factor, notes = magnification(path, dataset)
    calibrated = text(path, dataset, "PixelSpacingCalibrationType") in CALIBRATIONS
    if calibrated and "PixelSpacing" in usable:
        origin = "PixelSpacing (calibrated)"
        return checked_spacing(path, origin, usable["PixelSpacing"]), origin, notes
    notes += contradiction(usable, factor)
    for tag, pair in usable.items():
        spacing = checked_spacing(path, tag, pair)
        if tag == "ImagerPixelSpacing" and factor > 1:
            return spacing / factor, f"{tag} / magnification {factor:g}", notes
        return spacing, tag, notes
    if given is not None:
        return checked_spacing(path, "as given", [given, given]), "given", notes
    if needed:
        raise KneelError(no_spacing(path, said))
    return None, "", notes


def is_pair(pair: list[float]) -> bool:
    """Whether an element holds two spacings above zero."""
    return len(pair) == 2 and bool(np.isfinite(pair).all()) and min(pair) > 0


def no_spacing(path: Path | str, said: dict[str, list[float]]) -> str:
    """What is said of a file without a spacing."""
    found = "; ".join(f"{tag} {pair}" for tag, pair in said.items() if pair)
    has = f"it has only {found}" if found else f"it has none of {', '.join(SPACING_TAGS)}"
    return (
        f"{path} has no usable pixel spacing ({has}): without it pixels cannot be turned into mm; "
        "give the spacing yourself (--spacing)"
    )


def magnification(path: Path | str, dataset: Any) -> tuple[float, tuple[str, ...]]:
    """(how much larger a knee is at the detector than in the patient, reasons to doubt it); 1 if unsaid."""
    name = "EstimatedRadiographicMagnificationFactor"
    factor = (numbers(path, dataset, name) or [1.0])[0]
    if 1 < factor <= GREATEST_MAGNIFICATION:
        return factor, ()
    return 1.0, () if 0 <= factor <= 1 else (f"{name} {factor:g} is none of a knee, and is not used",)


def contradiction(usable: dict[str, list[float]], factor: float) -> tuple[str, ...]:
    """A note if the detector's spacing and PixelSpacing differ by over 1 % and no magnification says why."""
    imager, other = usable.get("ImagerPixelSpacing"), usable.get("PixelSpacing")
    if not imager or not other:
        return ()
    ratio = imager[0] / other[0]
    if min(abs(ratio - 1), abs(ratio / factor - 1)) <= 0.01:
        return ()
    return (f"ImagerPixelSpacing {imager[0]:g} and PixelSpacing {other[0]:g} contradict each other",)
