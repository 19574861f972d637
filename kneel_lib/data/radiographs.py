"""Reading one radiograph from a DICOM file that a stranger made: a grey picture and its pixel spacing, or one
clear error.

Nothing in the file is trusted: its size is checked before its pixels are decoded, and whatever the parser or
a codec trips over becomes a `KneelError` with the file's name.
"""

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from kneel_lib.errors import KneelError

MODALITIES = ("CR", "DX", "RG", "RF")
SPACING_TAGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
"""In this order: the detector's own spacing first, as in the released code."""

GREATEST_FILE_BYTES = 256 * 2**20
GREATEST_PIXELS = 60_000_000
SPACING_RANGE_MM = (0.02, 1.0)
PERCENTILES = (5, 99)
DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Radiograph:
    """One projection radiograph as it lies in its file.

    image: (H, W) uint8, bone bright, stretched between the 5th and 99th percentile. mm_per_px: spacing at the
    detector. side: "L", "R", "B" (both knees) or "" where the file does not say.
    """

    path: Path
    image: np.ndarray
    mm_per_px: float
    side: str = ""


def read_dicom(path: Path | str, mm_per_px: float | None = None) -> Radiograph:
    """The `Radiograph` in a DICOM file. mm_per_px: the pixel spacing to take where the file says none.

    Raises `KneelError` in one line for: a file that is no DICOM or is damaged, no pixels, no or zero spacing,
    pixels that are not square, another modality, colour, several frames, an absurd size, a codec that is not
    installed.
    """
    path = Path(path)
    dataset = parse(path)
    check_kind(path, dataset)
    check_size(path, dataset)
    spacing = pixel_spacing(path, dataset, mm_per_px)
    pixels = decode(path, dataset)
    return Radiograph(path, stretch(to_grey(path, dataset, pixels)), spacing, laterality(path, dataset))


def parse(path: Path | str) -> Any:
    """The file's data set; elements are read only when asked for."""
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise KneelError(f"{path} cannot be read: {error.strerror}") from None
    if size > GREATEST_FILE_BYTES:
        raise KneelError(
            f"{path} has {size >> 20} MiB: "
            f"more than {GREATEST_FILE_BYTES >> 20} MiB is no radiograph of knees"
        )
    dataset = guarded(path, "is not a DICOM file, or a damaged one", lambda: pydicom.dcmread(path))
    syntax = guarded(path, "has a damaged header", lambda: dataset.file_meta.TransferSyntaxUID)
    if syntax == DEFLATED:
        raise KneelError(f"{path} is deflated as a whole: save it uncompressed first")
    return dataset


def guarded(path: Path | str, trouble: str, read: Callable[[], Any]) -> Any:
    """`read()`, with everything that a parser or codec may trip over turned into one `KneelError`.

    Only here is every exception caught: pydicom and the codecs raise whatever the damaged bytes lead them to.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except KneelError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise KneelError(
            f"{path} {trouble} ({reason[0][:160] if reason else type(error).__name__})"
        ) from None


def field(path: Path | str, dataset: Any, name: str, default: Any = None) -> Any:
    """One element's value; a damaged element is a `KneelError`."""
    return guarded(path, f"has a damaged element {name}", lambda: dataset.get(name, default))


def check_kind(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` unless this is one grey projection radiograph with pixels."""
    if "PixelData" not in dataset:
        raise KneelError(f"{path} holds no pixels")
    modality = str(field(path, dataset, "Modality", ""))
    if modality not in MODALITIES:
        raise KneelError(
            f"{path} is not a projection radiograph: its modality is '{modality[:16]}', not one of "
            f"{', '.join(MODALITIES)}"
        )
    colours = str(field(path, dataset, "PhotometricInterpretation", ""))
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise KneelError(f"{path} is not a grey picture: its photometric interpretation is '{colours[:16]}'")
    if number(path, dataset, "NumberOfFrames", 1) != 1:
        raise KneelError(f"{path} holds {dataset.NumberOfFrames} frames: give one radiograph a file")


def number(path: Path | str, dataset: Any, name: str, default: float = 0) -> Any:
    """A whole number from an element; missing or empty is the default."""
    value = field(path, dataset, name)
    return (
        default if value in (None, "") else guarded(path, f"has a damaged element {name}", lambda: int(value))
    )


def check_size(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` if header or compressed stream declare more pixels than a radiograph has."""
    rows, columns = number(path, dataset, "Rows"), number(path, dataset, "Columns")
    sizes = [(rows, columns), *guarded(path, "has damaged pixel data", lambda: stream_sizes(dataset))]
    for height, width in sizes:
        if not 0 < height * width <= GREATEST_PIXELS or min(height, width) < 64:
            raise KneelError(
                f"{path} says that it has {width} x {height} pixels: that is no radiograph of knees"
            )
    if len(set(sizes)) > 1:
        raise KneelError(
            f"{path} is damaged: its header says {columns} x {rows} pixels, its compressed data "
            f"{sizes[1][1]} x {sizes[1][0]}"
        )


def stream_sizes(dataset: Any) -> list[tuple[int, int]]:
    """[(height, width)] that a JPEG 2000 stream declares for itself; empty for other encodings."""
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return []
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return []
    right, bottom, left, top = struct.unpack(">4I", stream[start + 8 : start + 24])
    return [(bottom - top, right - left)]


def pixel_spacing(path: Path | str, dataset: Any, given: float | None = None) -> float:
    """Spacing in mm from the first tag that has one, else the one given; both axes must agree to 1 %."""
    found = []
    for tag in SPACING_TAGS:
        value = field(path, dataset, tag)
        pair = guarded(
            path,
            f"has a damaged element {tag}",
            lambda: [] if value in (None, "") else [float(part) for part in np.atleast_1d(value)],
        )
        if not pair:
            continue
        found.append(f"{tag} {pair}")
        if len(pair) == 2 and all(np.isfinite(pair)) and min(pair) > 0:
            return checked_spacing(path, tag, pair)
    if given is not None:
        return checked_spacing(path, "as given", [given, given])
    said = f"it has only {'; '.join(found)}" if found else f"it has none of {', '.join(SPACING_TAGS)}"
    raise KneelError(
        f"{path} has no usable pixel spacing ({said}): without it pixels cannot be turned into mm; "
        "give the spacing yourself (--spacing)"
    )


def checked_spacing(path: Path | str, tag: str, pair: Any) -> float:
    """The one spacing of square pixels of a sensible size."""
    low, high = SPACING_RANGE_MM
    if abs(pair[0] - pair[1]) > 0.01 * max(pair):
        raise KneelError(f"{path} has pixels that are not square: {tag} is {pair[0]} x {pair[1]} mm")
    if not low <= pair[0] <= high:
        raise KneelError(f"{path} has a pixel spacing of {pair[0]} mm ({tag}): expected {low} to {high} mm")
    return sum(pair) / 2


def decode(path: Path | str, dataset: Any) -> np.ndarray:
    """The stored pixel values, (H, W)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not guarded(
        path, "has an unknown codec", lambda: pydicom.pixels.get_decoder(syntax).is_available
    ):
        raise KneelError(
            f"{path} is compressed with {syntax.name}, for which no codec is installed: "
            "save it uncompressed, or install pylibjpeg"
        )
    pixels = guarded(path, "is truncated or has damaged pixel data", lambda: dataset.pixel_array)
    if pixels.ndim != 2:
        raise KneelError(f"{path} holds pixels of shape {pixels.shape}: expected one grey picture")
    return pixels


def to_grey(path: Path | str, dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Stored values to float grey values, bone bright: modality LUT, VOI LUT, MONOCHROME1 inverted.

    A VOI LUT (a curve) is applied; a linear window is not: the percentile stretch that follows takes its
    place, and a window that was set for soft tissue would cut off bone.
    """
    grey = guarded(path, "has a damaged modality LUT", lambda: apply_modality_lut(pixels, dataset))
    if "VOILUTSequence" in dataset:
        grey = guarded(path, "has a damaged VOI LUT", lambda: apply_voi_lut(grey, dataset, prefer_lut=True))
    grey = np.asarray(grey, np.float32)
    return -grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def stretch(grey: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> np.ndarray:
    """Grey values to uint8, linear between the percentiles (the authors' 5th and 99th);
    a flat picture becomes black."""
    low, high = np.percentile(grey, percentiles)
    return (np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255).round().astype(np.uint8)


def laterality(path: Path | str, dataset: Any) -> str:
    """ "L", "R", "B" or "" from ImageLaterality, else Laterality."""
    for name in ("ImageLaterality", "Laterality"):
        value = str(field(path, dataset, name) or "").strip().upper()[:1]
        if value in ("L", "R", "B"):
            return value
    return ""


PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def read_radiograph(path: Path | str, mm_per_px: float | None = None) -> Radiograph:
    """The `Radiograph` in a file. mm_per_px: the pixel spacing of a picture, which cannot say it itself, or
    of a DICOM file that does not.

    Raises `KneelError` for a file that is neither, for a picture without a spacing, and for all that
    `read_dicom` refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        return read_dicom(path, mm_per_px)
    if mm_per_px is None:
        raise KneelError(
            f"{path} is a picture and does not say how large its pixels are: "
            "give the pixel spacing in mm (--spacing)"
        )
    low, high = SPACING_RANGE_MM
    if not low <= mm_per_px <= high:
        raise KneelError(
            f"a pixel spacing of {mm_per_px} mm is none of a radiograph: expected {low} to {high} mm"
        )
    return Radiograph(path, stretch(read_grey(path)), float(mm_per_px))


def read_grey(path: Path | str) -> np.ndarray:
    """The grey values of a picture file, (H, W) float32; colours are averaged as Pillow does."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > GREATEST_PIXELS or min(picture.size) < 64:
                raise KneelError(
                    f"{path} has {picture.width} x {picture.height} pixels: that is no radiograph of knees"
                )
            grey = picture if picture.mode.startswith(("I", "F")) else picture.convert("L")
            return np.asarray(grey, np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise KneelError(f"{path} is not a readable image ({error})") from None
