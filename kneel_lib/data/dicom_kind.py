"""What a DICOM header says that a picture is of: whether it is one grey projection radiograph at all, and
reasons to doubt that it shows a knee from the front."""

import re
from pathlib import Path
from typing import Any

from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    XRayRadiofluoroscopicImageStorage,
)

from kneel_lib.data.dicom_files import field, lengths, number, text
from kneel_lib.errors import KneelError

MODALITIES = ("CR", "DX", "RG", "RF")
ANY_MODALITY = ("", "OT", "DR", "XR", "SC")
"""With these the SOP class decides."""

XRAY_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    XRayRadiofluoroscopicImageStorage,
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""A picture of anything: this class, and those whose numbers go on from it, say nothing of its kind."""

LEG_WORDS = (
    *("KNEE", "LEG", "LIMB", "EXTREMIT", "LOWEX", "TIBIA", "FEMUR", "FIBULA", "PATELLA", "THIGH"),
    *(
        "KNIE",
        "UNTERBEIN",
        "SCHIENBEIN",
        "GENOU",
        "JAMBE",
        "GINOCCHIO",
        "GAMBA",
        "RODILLA",
        "PIERNA",
        "JOELHO",
        "PERNA",
    ),
    *("KOLANO", "KOLENO", "POLVI", "KNÄ", "KNÆ", "КОЛЕН", "膝", "무릎"),
)
"""Found anywhere in a body part, its spaces and underlines left out (LOW_EXM is the lower extremity)."""

LEG_CODES = ("T-D9200", "72696002", "49076000")
"""Knee in SNOMED's older and newer codes, knee joint."""

SAYS_NOTHING = ("", "UNKNOWN", "UNK", "OTHER", "NONE", "UNSPECIFIED", "N/A", "NA")

FRONTAL_VIEWS = ("AP", "PA", "A", "P", "ANT", "POST", "ROSENBERG", "SCHUSS")
FRONTAL_WORDS = ("FRONT", "ANTERO", "ANTERIOR", "POSTERO", "POSTERIOR", "FACE", "CORON")
NEUTRAL_WORDS = (
    *("STANDING", "WEIGHT", "BEARING", "WB", "ERECT", "SUPINE", "BILATERAL", "BOTH", "KNEE", "KNEES"),
    *("LEFT", "RIGHT", "L", "R", "VIEW", "PROJECTION"),
)
FRONTAL_CODES = ("R-10206", "R-10214", "399348003", "272479007")
"""Antero-posterior and postero-anterior in SNOMED's older and newer codes."""

OTHER_VIEWS = (
    *("LAT", "OBL", "AXIAL", "SKYLINE", "SUNRISE", "TANGENTIAL", "MERCHANT", "TUNNEL", "NOTCH", "SAGITT"),
    *("INFERO", "SUPERO", "MEDIOLAT", "LATEROMED", "CAUD", "CRAN", "SEIT", "PROFIL"),
)
"""How words begin that say of a view that it is none from the front."""

GROWN_YEARS = 16
"""Growth plates of younger patients are open: no network has seen such knees."""

YEARS = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52, "D": 1 / 365}


def check_kind(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` unless this is one grey projection radiograph with pixels."""
    if "PixelData" in dataset and not number(path, dataset, "BitsAllocated"):
        raise KneelError(
            f"{path} has a damaged header: it does not say how many bits a pixel has (BitsAllocated)"
        )
    if field(path, dataset, "PixelData") is None:
        raise KneelError(f"{path} {without_pixels(path, dataset)}")
    modality, image_class = text(path, dataset, "Modality"), text(path, dataset, "SOPClassUID")
    known = (
        modality in MODALITIES
        or (modality in ANY_MODALITY and is_xray(image_class))
        or (not modality and says_nothing(image_class))
    )
    if not known:
        others = f"its modality is '{modality[:16]}', not one of {', '.join(MODALITIES)}"
        said = others if modality else f"it has no modality, and is a {UID(image_class).name[:64]}"
        raise KneelError(f"{path} is not a projection radiograph: {said}")
    colours = text(path, dataset, "PhotometricInterpretation")
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise KneelError(
            f"{path} is not a grey picture: its photometric interpretation is '{colours[:16]}'; save it as a "
            "grey one, or as a PNG"
        )
    dataset.PhotometricInterpretation = colours  # in capitals, as decoders want it
    check_square(path, dataset)
    frames = frames_of(path, dataset)
    if frames != 1:
        raise KneelError(f"{path} holds {frames} frames: give one radiograph a file")
    dataset.NumberOfFrames = 1


def without_pixels(path: Path | str, dataset: Any) -> str:
    """What is said of a data set in which there are no pixels that a radiograph can have."""
    if any(name in dataset for name in ("FloatPixelData", "DoubleFloatPixelData")):
        return "holds pixels of floats, which no radiograph has"
    if not len(dataset):
        return "holds no pixels, and nothing else: it is truncated or damaged"
    image_class = text(path, dataset, "SOPClassUID")
    if "Rows" in dataset or is_xray(image_class):
        return "holds no pixels, though its header is that of a picture: it is truncated or damaged"
    return f"holds no pixels{f': it is a {UID(image_class).name[:64]}' if image_class else ''}"


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


def is_another(image_class: str) -> bool:
    """Whether a SOP class is one that DICOM knows, and none of those that fit a radiograph."""
    return not (is_xray(image_class) or says_nothing(image_class)) and UID(image_class).name != image_class


def kind_notes(path: Path | str, dataset: Any) -> list[str]:
    """What in the header says that this is no frontal radiograph of an adult's knee."""
    part, view = text(path, dataset, "BodyPartExamined"), text(path, dataset, "ViewPosition")
    region, region_code = meaning(path, dataset, "AnatomicRegionSequence")
    projection, code = meaning(path, dataset, "ViewCodeSequence")
    modality, image_class = text(path, dataset, "Modality"), text(path, dataset, "SOPClassUID")
    age = text(path, dataset, "PatientAge")
    said = {
        "the header does not say that this is a radiograph (no modality)": not modality
        and not is_xray(image_class),
        f"the header says that this is a {UID(image_class).name[:64]}": modality and is_another(image_class),
        f"the header says body part {part}": not is_leg(part),
        f"the header says anatomic region {region}": region_code not in LEG_CODES and not is_leg(region),
        f"view position {view} is not a frontal view": not is_frontal(view),
        f"the header says that its view is {projection or code}": is_other_view(projection)
        or bool(code and not projection and code not in FRONTAL_CODES),
        f"the patient is {age} old: children's knees were never learned": is_child(age),
    }
    return [note for note, holds in said.items() if holds]


def words_of(said: str) -> list[str]:
    """The words of a text in capitals, however they are parted: "A.P." is AP."""
    return [word for word in re.split(r"[^\w]|_", said.replace(".", "")) if word]


def is_frontal(view: str) -> bool:
    """Whether a view position may be of a frontal view: it says so somewhere, or nothing, and no other."""
    words = words_of(view)
    if view in SAYS_NOTHING or is_other_view(view):
        return view in SAYS_NOTHING
    frontal = any(word in FRONTAL_VIEWS or word.startswith(FRONTAL_WORDS) for word in words)
    return frontal or all(word in NEUTRAL_WORDS for word in words)


def is_other_view(said: str) -> bool:
    """Whether a text names a view that is none from the front."""
    return any(word.startswith(OTHER_VIEWS) for word in words_of(said))


def meaning(path: Path | str, dataset: Any, name: str) -> tuple[str, str]:
    """(what the first code of a sequence means, in capitals, the code itself); "" where it says nothing."""
    items = field(path, dataset, name)
    first = items[0] if items else None
    if not hasattr(first, "get"):
        return "", ""
    return text(path, first, "CodeMeaning"), text(path, first, "CodeValue")


def is_leg(part: str) -> bool:
    """Whether a body part may show a knee, or says nothing."""
    if part in SAYS_NOTHING:
        return True
    plain = part.replace(" ", "").replace("_", "")
    return "UPPER" not in part and any(word in plain for word in LEG_WORDS)


def is_child(age: str) -> bool:
    """Whether an age as DICOM writes it, 008Y, is below GROWN_YEARS."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", age)
    return found is not None and int(found[1]) * YEARS[found[2]] < GROWN_YEARS
