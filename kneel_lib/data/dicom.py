"""Reading one radiograph from a DICOM file that a stranger made: grey values, spacing, side, and reasons to
doubt what its header says, or one clear error."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    XRayRadiofluoroscopicImageStorage,
)

from kneel_lib.data.dicom_files import field, number, parse, text
from kneel_lib.data.dicom_pixels import check_size, decode
from kneel_lib.data.dicom_spacing import pixel_spacing
from kneel_lib.data.grey import Radiograph, guarded, settled
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
)
FRONTAL_VIEWS = ("", "AP", "PA")


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
    pixels = decode(path, dataset)
    inside = not_padding(path, dataset, pixels)
    grey, inside = settled(path, to_grey(path, dataset, pixels), inside)
    flips, turned = orientation(path, dataset)
    notes = (*kind_notes(path, dataset), *turned, *doubts)
    side = laterality(path, dataset)
    return Radiograph(path, flipped(grey, flips), spacing, side, flipped(inside, flips), spacing_from, notes)


def check_kind(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` unless this is one grey projection radiograph with pixels."""
    if "PixelData" not in dataset:
        raise KneelError(f"{path} holds no pixels")
    modality, image_class = text(path, dataset, "Modality"), text(path, dataset, "SOPClassUID")
    known = modality in MODALITIES if modality else is_xray(image_class) or says_nothing(image_class)
    if not known:
        raise KneelError(
            f"{path} is not a projection radiograph: its modality is '{modality[:16]}', not one of "
            f"{', '.join(MODALITIES)}"
        )
    colours = text(path, dataset, "PhotometricInterpretation")
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise KneelError(f"{path} is not a grey picture: its photometric interpretation is '{colours[:16]}'")
    frames = number(path, dataset, "NumberOfFrames", 1)
    if frames != 1:
        raise KneelError(f"{path} holds {frames} frames: give one radiograph a file")


def is_xray(image_class: str) -> bool:
    """Whether a SOP class is one of projection radiographs."""
    return image_class in XRAY_CLASSES


def says_nothing(image_class: str) -> bool:
    """Whether a SOP class fits a picture of any modality."""
    return image_class in ("", SECONDARY_CAPTURE) or image_class.startswith(SECONDARY_CAPTURE + ".")


def kind_notes(path: Path | str, dataset: Any) -> list[str]:
    """What in the header says that this is no frontal radiograph of a knee."""
    part, view = text(path, dataset, "BodyPartExamined"), text(path, dataset, "ViewPosition")
    known = text(path, dataset, "Modality") or is_xray(text(path, dataset, "SOPClassUID"))
    said = {
        "the header does not say that this is a radiograph (no modality)": not known,
        f"the header says body part {part}": part and not is_leg(part),
        f"view position {view} is not a frontal view": view.split(" ")[0] not in FRONTAL_VIEWS,
    }
    return [note for note, holds in said.items() if holds]


def is_leg(part: str) -> bool:
    """Whether a body part may show a knee."""
    return "UPPER" not in part and any(word in part for word in LEG_WORDS)


def not_padding(path: Path | str, dataset: Any, pixels: np.ndarray) -> np.ndarray | None:
    """(H, W) bool, False where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, marks a pixel as
    padding; None where the header names no such value."""
    if field(path, dataset, "PixelPaddingValue") is None:
        return None
    value = number(path, dataset, "PixelPaddingValue")
    limit = number(path, dataset, "PixelPaddingRangeLimit", value)
    low, high = np.sort(np.array([value, limit]).astype(pixels.dtype))
    return (pixels < low) | (pixels > high)


def to_grey(path: Path | str, dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Stored values to float32 grey values, bone bright: modality LUT, VOI LUT, inversion, each once.

    A VOI LUT (a curve) is applied; a linear window is not: the percentile stretch takes its place, and a
    window that was set for soft tissue would cut off bone.
    """
    grey = guarded(path, "has a damaged modality LUT", lambda: apply_modality_lut(pixels, dataset))
    if field(path, dataset, "VOILUTSequence"):
        grey = guarded(path, "has a damaged VOI LUT", lambda: on_curve(grey, dataset))
    grey = guarded(path, "has damaged grey values", lambda: np.asarray(grey, np.float32))
    return -grey if is_inverted(path, dataset) else grey


def on_curve(grey: np.ndarray, dataset: Any) -> np.ndarray:
    """Grey values after the VOI LUT, which is looked up by whole numbers."""
    return apply_voi_lut(np.rint(grey).astype(np.int32), dataset, prefer_lut=True)


def is_inverted(path: Path | str, dataset: Any) -> bool:
    """Whether bone is dark in the stored values: MONOCHROME1 and PresentationLUTShape INVERSE are two names
    of one inversion, and detector data may say that more of it is more X-rays."""
    names = ("PhotometricInterpretation", "PresentationLUTShape", "PresentationIntentType")
    photometric, shape, intent = (text(path, dataset, name) for name in names)
    raw = intent == "FOR PROCESSING" and number(path, dataset, "PixelIntensityRelationshipSign") == 1
    return photometric == "MONOCHROME1" or shape == "INVERSE" or raw


def orientation(path: Path | str, dataset: Any) -> tuple[tuple[int, ...], list[str]]:
    """(axes along which the picture must be turned round, notes) from PatientOrientation: rows should run to
    the patient's left, columns to the feet."""
    value = field(path, dataset, "PatientOrientation")
    parts = [] if value is None else [str(part).strip().upper() for part in np.atleast_1d(value)]
    along, down = ([part[:1] for part in parts] + ["", ""])[:2]
    if not along + down:
        return (), []
    said = "\\".join(parts)[:16]
    if along not in ("L", "R") or down not in ("F", "H"):
        return (), [f"patient orientation {said} is not a frontal view"]
    axes = (*([0] if down == "H" else []), *([1] if along == "R" else []))
    names = " and ".join(("upside down", "mirrored")[axis] for axis in axes)
    return axes, [f"the file is {names} (patient orientation {said}), and was turned"] if axes else []


def flipped(values: Any, axes: tuple[int, ...]) -> Any:
    """An array turned round along some axes, or None."""
    return np.ascontiguousarray(np.flip(values, axes)) if axes and values is not None else values


def laterality(path: Path | str, dataset: Any) -> str:
    """ "L", "R", "B" or "" from ImageLaterality, else Laterality."""
    for name in ("ImageLaterality", "Laterality"):
        value = text(path, dataset, name)[:1]
        if value in ("L", "R", "B"):
            return value
    return ""
