"""Reading what a TIFF holds beside plain bytes: numbers of other kinds and in other orders, which Pillow does
not know, or misreads without a word (a sign, big-endian differences, colours in planes)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib.data.grey import check_pixels
from kneel_lib.errors import KneelError

WHITE_IS_ZERO, IN_PLANES = 0, 2
UNPACKED_BY_PILLOW = (np.uint16, np.float32)
"""Numbers that Pillow reads rightly where they are packed in a way that only it unpacks, such as LZW."""

ORIENTATION, ACROSS, DOWN = "Orientation", "XResolution", "YResolution"
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""What Pillow weighs red, green and blue by."""

UPRIGHT: dict[int, Any] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: values.swapaxes(0, 1)[:, ::-1],
    7: lambda values: values.swapaxes(0, 1)[::-1, ::-1],
    8: lambda values: values.swapaxes(0, 1)[::-1],
}
"""{orientation in the header: how the stored rows and columns are turned upright}."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a TIFF. values: (H, W, samples), upright, of the file's own type. has_alpha: whether the
    last sample is transparency. resolution: pixels a unit across and down as stored, 0 where unsaid."""

    values: np.ndarray
    white_is_zero: bool
    has_alpha: bool
    resolution: tuple[float, float]

    @property
    def grey(self) -> np.ndarray:
        """(H, W) float32, bright as the file means it; colours are averaged by LUMINANCE."""
        with np.errstate(over="ignore"):
            values = self.values.astype(np.float32)
        colours = values[..., :-1] if self.has_alpha else values
        grey = colours @ LUMINANCE if colours.shape[2] == 3 else colours[..., 0]
        return -grey if self.white_is_zero else grey

    @property
    def inside(self) -> np.ndarray | None:
        """(H, W) bool, False where a pixel is transparent; None where there is no transparency."""
        return self.values[..., -1] > 0 if self.has_alpha else None

    @property
    def coloured(self) -> bool:
        """Whether more than one pixel in a hundred differs between its channels by a tenth of the range."""
        if self.values.shape[2] < 3:
            return False
        colours = self.values[..., :3].astype(np.float32)
        spread = np.ptp(colours, axis=2)
        return bool(np.percentile(spread, 99) > 0.1 * max(float(np.ptp(colours)), 1e-6))


def numbers(path: Path | str) -> Numbers | None:
    """The numbers of a TIFF; None where Pillow reads them as they are: unsigned bytes, single bits, and what
    only Pillow unpacks.

    Raises `KneelError` for several pages, an absurd size, and numbers that neither can read.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.pages) != 1:
            raise KneelError(f"{path} holds several pages: give one radiograph a file")
        page: Any = file.pages.first
        check_pixels(path, page.imagewidth, page.imagelength)
        if page.dtype is None or page.bitspersample in (1, 8) and page.dtype.kind in "ub":
            return None
        if page.samplesperpixel not in (1, 2, 3, 4):
            raise ValueError(f"{page.samplesperpixel} samples a pixel of {page.dtype}")
        try:
            values = np.asarray(page.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if page.dtype in UNPACKED_BY_PILLOW and page.samplesperpixel == 1:
                return None
            raise KneelError(
                f"{path} holds numbers of {page.dtype} packed by {page.compression.name}, which nothing here "
                "unpacks: save it uncompressed"
            ) from None
        return laid_out(page, values)


def laid_out(page: Any, values: np.ndarray) -> Numbers:
    """The `Numbers` of a page whose values were decoded."""
    if page.planarconfig == IN_PLANES and page.samplesperpixel > 1:
        values = np.moveaxis(values.reshape(-1, page.imagelength, page.imagewidth), 0, -1)
    values = values.reshape(page.imagelength, page.imagewidth, -1)
    turn = UPRIGHT.get(tag(page, ORIENTATION, 1), lambda stored: stored)
    resolution = tuple(ratio(tag(page, name, 0)) for name in (ACROSS, DOWN))
    return Numbers(
        np.ascontiguousarray(turn(values)),
        page.photometric == WHITE_IS_ZERO,
        page.samplesperpixel in (2, 4),
        (resolution[0], resolution[1]),
    )


def tag(page: Any, name: str, default: Any) -> Any:
    """The value of a tag, or the default."""
    found = page.tags.get(name)
    return default if found is None else found.value


def ratio(value: Any) -> float:
    """A resolution as a number; 0 where it is none."""
    try:
        above, below = value if isinstance(value, tuple) else (value, 1)
        return float(above) / float(below)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
