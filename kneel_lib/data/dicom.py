"""Reading one radiograph from a DICOM file that a stranger made: grey values, spacing, side, and reasons to
doubt what its header says, or one clear error."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    XRayRadiofluoroscopicImageStorage,
)

from kneel_lib.data.dicom_curves import on_curve, on_scale
from kneel_lib.data.dicom_files import field, number, parse, text
from kneel_lib.data.dicom_pixels import check_size, decode
from kneel_lib.data.dicom_spacing import lengths, pixel_spacing
from kneel_lib.data.grey import Radiograph, settled
from kneel_lib.errors import KneelError

MODALITIES = ("CR", "DX", "RG", "RF")
XRAY_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    XRayRadiofluoroscopicImageStorage,
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""A picture of anything: this class, and those whose numbers go on from it, say nothing of its kind."""

LEG_WORDS = (
    "KNEE",
    "LEG",
    "LIMB",
    "EXTREMIT",
    "TIBIA",
    "FEMUR",
    "FIBULA",
    "PATELLA",
    "THIGH",
    "KNIE",
    "GENOU",
    "GINOCCHIO",
    "RODILLA",
    "JOELHO",
    "KOLANO",
)
FRONTAL_VIEWS = ("", "AP", "PA", "A", "P")
FRONTAL_WORDS = ("FRONT", "ANTERO", "ANTERIOR", "POSTERO", "POSTERIOR", "FACE")
OTHER_VIEWS = ("LAT", "OBL", "AXIAL", "SKYLINE", "SUNRISE", "TANGENTIAL", "MERCHANT")
"""How words begin that say of a view that it is none from the front."""

GREATEST_STORED = 2**16


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
    spacing, spacing_from, doubts = pixel_spacing(path, dataset, mm_per_px, spacing_needed)
    pixels, damaged = decode(path, dataset)
    inside, unpadded = not_padding(path, dataset, pixels)
    grey, inside = settled(path, to_grey(path, dataset, pixels), inside)
    flips, turned, unusual = orientation(path, dataset)
    side, contradicted = laterality(path, dataset)
    notes = (*kind_notes(path, dataset), *unusual, *doubts, *damaged, *unpadded, *contradicted)
    grey, inside = flipped(grey, flips), flipped(inside, flips)
    return Radiograph(path, grey, spacing, side, inside, spacing_from, notes, turned)


def check_kind(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` unless this is one grey projection radiograph with pixels."""
    if "PixelData" not in dataset:
        floats = any(name in dataset for name in ("FloatPixelData", "DoubleFloatPixelData"))
        held = "pixels of floats, which no radiograph has" if floats else "no pixels"
        raise KneelError(f"{path} holds {held}")
    modality, image_class = text(path, dataset, "Modality"), text(path, dataset, "SOPClassUID")
    known = modality in MODALITIES if modality else is_xray(image_class) or says_nothing(image_class)
    if not known:
        others = f"its modality is '{modality[:16]}', not one of {', '.join(MODALITIES)}"
        said = others if modality else f"it has no modality, and is a {UID(image_class).name[:64]}"
        raise KneelError(f"{path} is not a projection radiograph: {said}")
    colours = text(path, dataset, "PhotometricInterpretation")
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise KneelError(f"{path} is not a grey picture: its photometric interpretation is '{colours[:16]}'")
    dataset.PhotometricInterpretation = colours  # in capitals, as decoders want it
    check_square(path, dataset)
    frames = frames_of(path, dataset)
    if frames != 1:
        raise KneelError(f"{path} holds {frames} frames: give one radiograph a file")
    dataset.NumberOfFrames = 1


def frames_of(path: Path | str, dataset: Any) -> int:
    """How many frames the header says; 1 where it says none, 0, or nothing that is a number: how many bytes
    there are is held against the size."""
    try:
        return number(path, dataset, "NumberOfFrames", 1) or 1
    except KneelError:
        return 1


def check_square(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` for pixels that PixelAspectRatio says are not square."""
    ratio = lengths(path, dataset, "PixelAspectRatio")
    if len(ratio) == 2 and min(ratio) > 0 and abs(ratio[0] / ratio[1] - 1) > 0.01:
        raise KneelError(
            f"{path} has pixels that are not square: PixelAspectRatio is {ratio[0]:g} to {ratio[1]:g}"
        )


def is_xray(image_class: str) -> bool:
    """Whether a SOP class is one of projection radiographs."""
    return image_class in XRAY_CLASSES


def says_nothing(image_class: str) -> bool:
    """Whether a SOP class fits a picture of any modality."""
    return image_class in ("", SECONDARY_CAPTURE) or image_class.startswith(SECONDARY_CAPTURE + ".")


def kind_notes(path: Path | str, dataset: Any) -> list[str]:
    """What in the header says that this is no frontal radiograph of a knee."""
    part, view = text(path, dataset, "BodyPartExamined"), text(path, dataset, "ViewPosition")
    region, projection = (
        meaning(path, dataset, name) for name in ("AnatomicRegionSequence", "ViewCodeSequence")
    )
    known = text(path, dataset, "Modality") or is_xray(text(path, dataset, "SOPClassUID"))
    said = {
        "the header does not say that this is a radiograph (no modality)": not known,
        f"the header says body part {part}": part and not is_leg(part),
        f"the header says anatomic region {region}": region and not is_leg(region),
        f"view position {view} is not a frontal view": not is_frontal(view),
        f"the header says that its view is {projection}": any(word in projection for word in OTHER_VIEWS),
    }
    return [note for note, holds in said.items() if holds]


def is_frontal(view: str) -> bool:
    """Whether a view position may be of a frontal view: AP or PA first, and no other view behind it."""
    first, *more = view.replace("-", " ").replace("/", " ").split() or [""]
    frontal = first in FRONTAL_VIEWS or first.startswith(FRONTAL_WORDS)
    return frontal and not any(word.startswith(OTHER_VIEWS) for word in more)


def meaning(path: Path | str, dataset: Any, name: str) -> str:
    """What the first code of a sequence means, in capitals; "" where it says nothing."""
    items = field(path, dataset, name)
    return text(path, items[0], "CodeMeaning") if items else ""


def is_leg(part: str) -> bool:
    """Whether a body part may show a knee."""
    return "UPPER" not in part and any(word in part for word in LEG_WORDS)


def not_padding(
    path: Path | str, dataset: Any, pixels: np.ndarray
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """((H, W) bool, False where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, marks a pixel
    as padding, reasons to doubt it); None where the header names no such value."""
    if field(path, dataset, "PixelPaddingValue") is None:
        return None, ()
    try:
        value = number(path, dataset, "PixelPaddingValue")
        limit = number(path, dataset, "PixelPaddingRangeLimit", value)
    except KneelError:
        return None, ("its PixelPaddingValue is no number, and is not used",)
    if max(abs(value), abs(limit)) > GREATEST_STORED:
        return None, ("its PixelPaddingValue is none that a pixel can have, and is not used",)
    low, high = np.sort(np.array([value, limit]).astype(pixels.dtype))
    return (pixels < low) | (pixels > high), ()


def to_grey(path: Path | str, dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Stored values to float32 grey values, bone bright: modality LUT, VOI LUT, inversion, each once.

    A VOI LUT (a curve) is applied; a linear window is not: the percentile stretch takes its place, and a
    window that was set for soft tissue would cut off bone.
    """
    grey = on_curve(path, dataset, on_scale(path, dataset, pixels))
    return -grey if is_inverted(path, dataset) else grey


def is_inverted(path: Path | str, dataset: Any) -> bool:
    """Whether bone is dark in the stored values: MONOCHROME1 and PresentationLUTShape INVERSE are two names
    of one inversion, and detector data may say that more of it is more X-rays."""
    names = ("PhotometricInterpretation", "PresentationLUTShape", "PresentationIntentType")
    photometric, shape, intent = (text(path, dataset, name) for name in names)
    raw = intent == "FOR PROCESSING" and number(path, dataset, "PixelIntensityRelationshipSign") == 1
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


def laterality(path: Path | str, dataset: Any) -> tuple[str, tuple[str, ...]]:
    """("L", "R", "B" or "" from ImageLaterality, else Laterality, reasons to doubt it)."""
    said = [text(path, dataset, name)[:1] for name in ("ImageLaterality", "Laterality")]
    sides = [side for side in said if side in ("L", "R", "B")]
    if len(set(sides)) == 2 and "B" not in sides:
        return sides[0], (f"ImageLaterality {sides[0]} and Laterality {sides[1]} contradict each other",)
    return (sides[0] if sides else ""), ()
