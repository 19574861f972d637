"""Reading one radiograph from a DICOM file that a stranger made: grey values, spacing, side, and reasons to
doubt what its header says, or one clear error."""

from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.dicom_curves import on_curve, on_scale
from kneel_lib.data.dicom_files import field, parse, text
from kneel_lib.data.dicom_kind import check_kind, kind_notes, words_of
from kneel_lib.data.dicom_padding import not_padding
from kneel_lib.data.dicom_pixels import check_size, complete_words, decode
from kneel_lib.data.dicom_spacing import pixel_spacing
from kneel_lib.data.grey import Radiograph, settled


def read_dicom(
    path: Path | str, mm_per_px: float | None = None, *, spacing_needed: bool = True
) -> Radiograph:
    """The `Radiograph` in a DICOM file. mm_per_px: the pixel spacing to take where the file says none;
    spacing_needed: whether a file without one is refused, or has None.

    Raises `KneelError` in one line for: a file that is no DICOM or is damaged, no pixels, no or zero spacing,
    pixels that are not square, another modality, colour, several frames, an absurd size, a codec that is not
    installed.
    """
    path = Path(path)
    dataset = parse(path)
    check_kind(path, dataset)
    check_size(path, dataset)
    complete_words(path, dataset)
    spacing, spacing_from, doubts = pixel_spacing(path, dataset, mm_per_px, spacing_needed)
    pixels, damaged = decode(path, dataset)
    inside, unpadded = not_padding(path, dataset, pixels)
    grey, uncurved = to_grey(path, dataset, pixels)
    grey, inside = settled(path, grey, inside)
    flips, turned, unusual = orientation(path, dataset)
    side, contradicted = laterality(path, dataset)
    notes = (*kind_notes(path, dataset), *unusual, *doubts, *damaged, *unpadded, *uncurved, *contradicted)
    grey, inside = flipped(grey, flips), flipped(inside, flips)
    return Radiograph(path, grey, spacing, side, inside, spacing_from, notes, turned)


def to_grey(path: Path | str, dataset: Any, pixels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(stored values as float32 grey values, bone bright: modality LUT, VOI LUT, inversion, each once; what
    the header says wrongly of them).

    A VOI LUT (a curve) is applied; a linear window is not: the percentile stretch takes its place, and a
    window that was set for soft tissue would cut off bone.
    """
    scaled, unscaled = on_scale(path, dataset, pixels)
    grey, uncurved = on_curve(path, dataset, scaled)
    return -grey if is_inverted(path, dataset) else grey, (*unscaled, *uncurved)


def is_inverted(path: Path | str, dataset: Any) -> bool:
    """Whether bone is dark in the stored values: MONOCHROME1 and PresentationLUTShape INVERSE are two names
    of one inversion, and detector data may say that more of it is more X-rays."""
    names = ("PhotometricInterpretation", "PresentationLUTShape", "PresentationIntentType")
    photometric, shape, intent = (text(path, dataset, name) for name in names)
    raw = intent == "FOR PROCESSING" and text(path, dataset, "PixelIntensityRelationshipSign") == "1"
    return photometric == "MONOCHROME1" or shape == "INVERSE" or raw


def orientation(path: Path | str, dataset: Any) -> tuple[tuple[int, ...], str, tuple[str, ...]]:
    """(axes along which the picture must be turned round, that in words, reasons to doubt the file) from
    PatientOrientation: rows should run to the patient's left, columns to the feet. Where the picture
    contradicts it, shape and side of what is found say so."""
    value = field(path, dataset, "PatientOrientation")
    parts = [] if value is None else [str(part).strip().upper() for part in np.atleast_1d(value)]
    along, down = ([part[:1] for part in parts] + ["", ""])[:2]
    if not along + down:
        return (), "", ()
    said = "\\".join(parts)[:16]
    if along not in ("L", "R") or down not in ("F", "H"):
        return (), "", (f"patient orientation {said} is not a frontal view",)
    axes = (*([0] if down == "H" else []), *([1] if along == "R" else []))
    names = " and ".join(("upside down", "mirrored")[axis] for axis in axes)
    return axes, f"the file is {names} (patient orientation {said}), and was turned" if axes else "", ()


def flipped(values: Any, axes: tuple[int, ...]) -> Any:
    """An array turned round along some axes, or None."""
    return np.ascontiguousarray(np.flip(values, axes)) if axes and values is not None else values


SIDES = {
    **dict.fromkeys(("R", "RT", "RIGHT", "RECHTS", "DROITE", "DROIT", "DESTRA", "DERECHA", "DIREITA"), "R"),
    **dict.fromkeys(("L", "LT", "LEFT", "LINKS", "GAUCHE", "SINISTRA", "IZQUIERDA", "ESQUERDA"), "L"),
    **dict.fromkeys(("B", "BOTH", "BILAT", "BILATERAL", "LR", "RL"), "B"),
}
"""What headers write for a side; whatever else they hold says nothing."""


def laterality(path: Path | str, dataset: Any) -> tuple[str, tuple[str, ...]]:
    """("L", "R", "B" or "" from ImageLaterality, else Laterality, reasons to doubt it)."""
    said = [side_said(text(path, dataset, name)) for name in ("ImageLaterality", "Laterality")]
    sides = [side for side in said if side]
    if len(set(sides)) == 2 and "B" not in sides:
        return sides[0], (f"ImageLaterality {sides[0]} and Laterality {sides[1]} contradict each other",)
    return (sides[0] if sides else ""), ()


def side_said(written: str) -> str:
    """ "L", "R" or "B" for what an element holds, "B" also where it names both; else ""."""
    sides = {SIDES[word] for word in words_of(written) if word in SIDES}
    return "B" if len(sides) > 1 else next(iter(sides), "")
