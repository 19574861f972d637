"""The pixel spacing that a DICOM header says, and from which of its elements."""

from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.dicom_files import lengths, text
from kneel_lib.data.grey import SPACING_RANGE_MM, checked_spacing, is_square
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
    the magnification, where the header says one; else the first of SPACING_TAGS; else the one given. A tag
    that no radiograph can have is not used, and said.

    Raises `KneelError` for pixels that are not square to 1 % by every tag that could be used, and, if a
    spacing is needed, for none at all.
    """
    said = {tag: lengths(path, dataset, tag) for tag in SPACING_TAGS}
    possible = {tag: pair for tag, pair in said.items() if is_pair(pair) and in_range(pair)}
    factor, notes = magnification(path, dataset)
    notes += tuple(
        f"its {tag} is no spacing of a radiograph's pixels ({written(path, dataset, tag)}), and is not used"
        for tag, pair in said.items()
        if pair and tag not in possible
    )
    usable = {tag: pair for tag, pair in possible.items() if is_square(pair)}
    if possible and not usable and given is None:
        tag, pair = next(iter(possible.items()))
        checked_spacing(path, tag, pair)  # says that they are not square
    notes += tuple(
        f"its {tag} says that pixels are not square, and is not used" for tag in possible if tag not in usable
    )
    calibrated = text(path, dataset, "PixelSpacingCalibrationType") in CALIBRATIONS
    if calibrated and "PixelSpacing" in usable:
        origin = "PixelSpacing (calibrated)"
        return (
            checked_spacing(path, origin, usable["PixelSpacing"]),
            origin,
            notes + miscalibrated(usable, factor),
        )
    notes += contradictions(usable, factor)
    for tag, pair in usable.items():
        spacing = checked_spacing(path, tag, pair)
        if tag == "ImagerPixelSpacing" and factor > 1:
            return spacing / factor, f"{tag} / magnification {factor:g}", notes
        return spacing, tag if factor == 1 else f"{tag}, magnification {factor:g} not used", notes
    if given is not None:
        return checked_spacing(path, "as given", [given, given]), "given", notes
    if needed:
        raise KneelError(no_spacing(path, said))
    return None, "", notes


def written(path: Path | str, dataset: Any, tag: str) -> str:
    """What an element holds, as far as it can be shown on a line."""
    try:
        return text(path, dataset, tag)[:32]
    except KneelError:
        return "damaged"


def in_range(pair: list[float]) -> bool:
    """Whether a radiograph may have such pixels, square or not."""
    return all(SPACING_RANGE_MM[0] <= value <= SPACING_RANGE_MM[1] for value in pair)


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
    factor = (lengths(path, dataset, name) or [1.0])[0]
    if 1 < factor <= GREATEST_MAGNIFICATION:
        return factor, ()
    said = written(path, dataset, name)
    return 1.0, () if factor in (0, 1) else (f"{name} {said} is none of a knee, and is not used",)


PATIENT_PLANE = (0.99, 1.5)
"""How much larger a knee may be at the detector than in the patient, by a calibration."""


def miscalibrated(usable: dict[str, list[float]], factor: float) -> tuple[str, ...]:
    """A note if a calibrated PixelSpacing means a magnification that no knee has, or not the one said."""
    imager = usable.get("ImagerPixelSpacing")
    if not imager:
        return ()
    calibrated = usable["PixelSpacing"][0]
    means = imager[0] / calibrated
    possible = PATIENT_PLANE[0] <= means <= PATIENT_PLANE[1]
    if possible and (factor == 1 or abs(means / factor - 1) <= 0.02):
        return ()
    return (contradict("ImagerPixelSpacing", imager[0], "calibrated PixelSpacing", calibrated),)


def contradictions(usable: dict[str, list[float]], factor: float) -> tuple[str, ...]:
    """A note for each two spacings that differ by over 1 %, if no magnification says why: those of a detector
    or a scanner are that much larger than PixelSpacing."""
    pairs = (
        ("ImagerPixelSpacing", "PixelSpacing", factor),
        ("NominalScannedPixelSpacing", "PixelSpacing", factor),
        ("ImagerPixelSpacing", "NominalScannedPixelSpacing", 1.0),
    )
    told = []
    for one, other, larger in pairs:
        if one in usable and other in usable:
            mine, its = usable[one][0], usable[other][0]
            if min(abs(mine / its - 1), abs(mine / its / larger - 1)) > 0.01:
                told.append(contradict(one, mine, other, its))
    return tuple(told)


def contradict(one: str, mine: float, other: str, its: float) -> str:
    return f"{one} {mine:g} and {other} {its:g} contradict each other"
