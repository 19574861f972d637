"""How figures get into a notebook: at 200 dpi, radiographs as JPEG, drawings of published notebooks in few
colours: a chapter stays below 500 kB."""

import base64
import io

from IPython.display import Image, display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image as Picture

PHOTO_DPI, PHOTO_QUALITY = 200, 60
SHOWN_DPI = 100
"""A figure is drawn with twice as many pixels as it takes on the page."""
COLOURS = 96
"""As many are kept of a drawing: its own, and those between them that make edges smooth."""


def show_photo(figure: Figure, dpi: int = PHOTO_DPI) -> None:
    """Show a figure of radiographs as JPEG: as PNG their noise would weigh ten times as much."""
    content = io.BytesIO()
    how = {"quality": PHOTO_QUALITY, "optimize": True}
    figure.savefig(content, format="jpeg", dpi=dpi, bbox_inches="tight", pil_kwargs=how)
    plt.close(figure)
    width = Picture.open(content).width
    display(Image(content.getvalue(), format="jpeg", width=round(width * SHOWN_DPI / dpi)))


def fewer_colours(png: str) -> str:
    """A PNG in base64 with a palette of `COLOURS`; the same one where that is no smaller."""
    picture = Picture.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    content = io.BytesIO()
    picture.quantize(COLOURS, dither=Picture.Dither.NONE).save(content, "PNG", optimize=True)
    lighter = base64.b64encode(content.getvalue()).decode()
    return lighter if len(lighter) < len(png) else png
