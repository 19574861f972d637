"""Reading one radiograph from a picture file: PNG, JPEG, TIFF, BMP or WebP of any mode, turned as every
viewer shows it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kneel_lib.data import tiff
from kneel_lib.data.grey import Radiograph, check_pixels, checked_spacing, guarded, quiet, settled
from kneel_lib.data.jpeg import damage, damage_notes
from kneel_lib.errors import KneelError

SIGNATURES = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": (b"BM",),
    "WEBP": (b"RIFF",),
}
"""{what Pillow calls it: how such a file begins}."""

COLOURED = 24
"""From this difference between channels on, of 255, a pixel is coloured; one in a hundred may be."""

COLOUR_NOTE = "coloured picture: its grey values may not be a radiograph's"
PHOTOMETRIC_TAG, ACROSS_TAG, DOWN_TAG = 262, 282, 283
LOOKED_AT_PX = 2000


def picture_format(head: bytes) -> str:
    """The name in SIGNATURES of a file that begins like this, or ""."""
    names = [name for name, starts in SIGNATURES.items() if head.startswith(starts)]
    if not names or (names == ["WEBP"] and head[8:12] != b"WEBP") or (names == ["BMP"] and any(head[6:10])):
        return ""
    return names[0]


def read_picture(
    path: Path | str, mm_per_px: float | None = None, *, spacing_needed: bool = True
) -> Radiograph:
    """The `Radiograph` in a picture file. mm_per_px: its pixel spacing, which it cannot say itself.

    Raises `KneelError` for a spacing that is needed and not given or absurd, an absurd size, several pages,
    and what Pillow cannot read.
    """
    path = Path(path)
    if mm_per_px is None and spacing_needed:
        raise KneelError(
            f"{path} is a picture and does not say how large its pixels are: "
            "give the pixel spacing in mm (--spacing)"
        )
    spacing = None if mm_per_px is None else checked_spacing(path, "as given", [mm_per_px, mm_per_px])
    with quiet():
        grey, inside, notes = guarded(path, "is not a readable picture", lambda: picture_values(path))
    grey, inside = settled(path, grey, inside)
    return Radiograph(path, grey, spacing, "", inside, "" if spacing is None else "given", notes)


def picture_values(path: Path) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """(grey, inside, notes) as in `Radiograph`."""
    with open(path, "rb") as file:
        held = tiff.numbers(path) if picture_format(file.read(12)) == "TIFF" else None
        if held is not None:
            notes = square_notes([held.resolution]) + ((COLOUR_NOTE,) if held.coloured else ())
            return held.grey, held.inside, notes
        file.seek(0)
        with open_picture(path, file) as picture:
            return pillow_values(path, picture)


def pillow_values(path: Path, picture: Any) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """(grey, inside, notes) of an open picture."""
    check_pixels(path, *picture.size)
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise KneelError(f"{path} holds several pages: give one radiograph a file")
    white_is_zero, notes = is_white_zero(picture), square_notes(resolutions(picture))
    upright = ImageOps.exif_transpose(picture)
    if picture.format in ("JPEG", "MPO"):
        notes += damage_notes(damage(path.read_bytes()))
    grey, inside = grey_values(upright), opaque(upright)
    if picture.format == "BMP" and inside is not None and not inside.any():
        inside = None  # Windows leaves the fourth byte at 0 and means nothing by it
    if is_coloured(upright, inside):
        notes += (COLOUR_NOTE,)
    return -grey if white_is_zero else grey, inside, notes


def open_picture(path: Path, file: BinaryIO) -> Image.Image:
    """The picture in an open file, undecoded: from a path Pillow would map a TIFF into memory, and forget
    that it lies on its side."""
    try:
        return Image.open(file, formats=tuple(SIGNATURES))
    except UnidentifiedImageError:
        raise KneelError(
            f"{path} is not a readable picture (damaged, or of a form that Pillow does not know, such as "
            "12-bit JPEG): save it as an 8-bit PNG"
        ) from None


def is_deep(picture: Any) -> bool:
    """Whether a picture has one channel of more than 8 bits."""
    return picture.mode.startswith(("I", "F"))


def is_white_zero(picture: Any) -> bool:
    """Whether a TIFF stores white as 0 in a mode that Pillow does not turn round itself."""
    tags = getattr(picture, "tag_v2", {})
    return is_deep(picture) and tags.get(PHOTOMETRIC_TAG) == tiff.WHITE_IS_ZERO


def resolutions(picture: Any) -> list[tuple[float, float]]:
    """Every (across, down) by which a picture says how its pixels are shaped, with a unit or without."""
    tags = getattr(picture, "tag_v2", {})
    said = [picture.info.get(name) for name in ("dpi", "aspect", "jfif_density")]
    said += [(tags.get(ACROSS_TAG), tags.get(DOWN_TAG))]
    return [(float(pair[0]), float(pair[1])) for pair in said if pair and None not in pair]


def square_notes(said: Iterable[tuple[float, float]]) -> tuple[str, ...]:
    """A reason to doubt a picture that says of its own pixels that they are not square."""
    for across, down in said:
        if min(across, down) > 0 and abs(across / down - 1) > 0.01:
            return (f"its resolution of {across:g} x {down:g} says that its pixels are not square",)
    return ()


def grey_values(picture: Any) -> np.ndarray:
    """(H, W) float32; colours are averaged as Pillow does."""
    if picture.mode == "LAB":
        picture = picture.getchannel("L")
    return np.asarray(picture if is_deep(picture) else picture.convert("L"), np.float32)


def opaque(picture: Any) -> np.ndarray | None:
    """(H, W) bool, False where a picture is transparent; None where it has no transparency."""
    if not picture.has_transparency_data:
        return None
    if is_deep(picture):
        return np.asarray(picture) != picture.info["transparency"]
    return np.asarray(picture.convert("RGBA").getchannel("A")) > 0


def is_coloured(picture: Any, inside: np.ndarray | None) -> bool:
    """Whether more than one pixel in a hundred differs clearly between its channels; of a large picture one
    pixel in some is looked at."""
    if is_deep(picture) or picture.mode in ("1", "L", "LA", "La"):
        return False
    step = max(max(picture.size) // LOOKED_AT_PX, 1)
    small = picture.resize((picture.width // step, picture.height // step), Image.Resampling.NEAREST)
    if picture.mode == "LAB":
        colours = np.asarray(small, np.int16)[..., 1:]  # grey is 0 of numbers with a sign, 128 of others
        spread = np.minimum(np.minimum(colours, 256 - colours), np.abs(colours - 128)).max(axis=2)
    else:
        channels = np.asarray(small.convert("RGB"))
        spread = channels.max(axis=2) - channels.min(axis=2)
    seen = None if inside is None else inside[::step, ::step][: spread.shape[0], : spread.shape[1]]
    counted = spread if seen is None or not seen.any() else spread[seen]
    return bool(np.percentile(counted, 99) > COLOURED)
