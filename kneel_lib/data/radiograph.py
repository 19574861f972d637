"""Reading a radiograph from any file that a user brings: DICOM by its content, else a picture whose spacing is given."""

from pathlib import Path

import numpy as np
from PIL import Image

from kneel_lib.data.dicom import GREATEST_PIXELS, SPACING_RANGE_MM, Radiograph, read_dicom, stretch
from kneel_lib.errors import KneelError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def read_radiograph(path, mm_per_px=None):
    """The `Radiograph` in a file. mm_per_px: the pixel spacing of a picture, which cannot say it itself, or of a DICOM file that does not.

    Raises `KneelError` for a file that is neither, for a picture without a spacing, and for all that `read_dicom` refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        return read_dicom(path, mm_per_px)
    if mm_per_px is None:
        raise KneelError(f"{path} is a picture and does not say how large its pixels are: give the pixel spacing in mm (--spacing)")
    low, high = SPACING_RANGE_MM
    if not low <= mm_per_px <= high:
        raise KneelError(f"a pixel spacing of {mm_per_px} mm is none of a radiograph: expected {low} to {high} mm")
    return Radiograph(path, stretch(read_grey(path)), float(mm_per_px))


def read_grey(path):
    """The grey values of a picture file, (H, W) float32; colours are averaged as Pillow does."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > GREATEST_PIXELS or min(picture.size) < 64:
                raise KneelError(f"{path} has {picture.width} x {picture.height} pixels: that is no radiograph of knees")
            grey = picture if picture.mode.startswith(("I", "F")) else picture.convert("L")
            return np.asarray(grey, np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise KneelError(f"{path} is not a readable image ({error})") from None
