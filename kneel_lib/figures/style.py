"""What all figures share: 88 or 180 mm wide, tibia and femur by colour, truth and prediction by shape, a 10
mm bar on every picture.

A figure is saved as PDF and PNG beside the csv that it draws.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython import get_ipython
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

from kneel_lib import landmarks
from kneel_lib.files import write_whole

STYLE = Path(__file__).with_name("kneel.mplstyle")
ONE_COLUMN, TWO_COLUMNS = 88 / 25.4, 180 / 25.4
TIBIA_COLOUR, FEMUR_COLOUR, PAPER_COLOUR = "#D55E00", "#56B4E9", "#000000"
BONES = {"tibia": (landmarks.TIBIA, TIBIA_COLOUR), "femur": (landmarks.FEMUR, FEMUR_COLOUR)}

INTERVAL = {"estimator": "median", "errorbar": ("pi", 100)}
"""How seaborn draws a table of `ends_too`: of three rows the middle, and from the least to the greatest."""
POINTS = INTERVAL | {"linestyle": "none", "capsize": 0.2, "markersize": 3.5, "err_kws": {"linewidth": 1.2}}


def use_style() -> None:
    """Take the project's matplotlib style for all figures from here on, and show tables whole; a notebook
    draws at 200 dpi, twice what is shown."""
    plt.style.use(STYLE)
    if get_ipython():
        set_matplotlib_formats("retina")
    pd.set_option("display.max_rows", 100, "display.max_columns", 50, "display.max_colwidth", 100)


def save_figure(
    figure: Figure,
    name: str,
    folder: Path | str,
    table: pd.DataFrame | None = None,
    endings: Sequence[str] = ("pdf", "png"),
) -> Path:
    """Save as `folder`/`name`.pdf and .png, and the table that it draws as .csv; returns the PNG's path.

    endings: "png" alone for a figure of photographs, which is no smaller or sharper as a PDF. What is drawn
    has few colours: its PNG gets a palette, which makes it a third as large.
    """
    folder = Path(folder)
    for ending in endings:
        palette = ending == "png" and len(endings) > 1
        write_whole(folder / f"{name}.{ending}", lambda temporary: draw(figure, temporary, ending, palette))
    if table is not None:
        write_whole(
            folder / f"{name}.csv",
            lambda temporary: table.to_csv(temporary, index=False, float_format="%.4g"),
        )
    return folder / f"{name}.png"


def draw(figure: Figure, path: Path, ending: str, palette: bool) -> None:
    """Write a figure to a file as this kind. palette: of 256 colours, for a PNG."""
    figure.savefig(path, format=ending, metadata={"CreationDate": None} if ending == "pdf" else None)
    if palette:
        with Image.open(path) as picture:
            few = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            few.save(path, "PNG", optimize=True, dpi=picture.info.get("dpi", (72, 72)))


def ends_too(table: pd.DataFrame, middle: str) -> pd.DataFrame:
    """A table of intervals around the column `middle`, three times: with `low` and `high` in `middle` too."""
    return pd.concat(
        [table.assign(**{middle: table[name]}) for name in ("low", middle, "high")], ignore_index=True
    )


def legend_beside(axes: Axes) -> None:
    """The legend on the right of the axes, where no curve is."""
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def show_knee(
    axes: Axes,
    image: np.ndarray,
    mm_per_px: float,
    truth_px: np.ndarray | None = None,
    predicted_px: np.ndarray | None = None,
    title: str = "",
    numbers: bool = False,
) -> None:
    """One picture with landmarks (truth: circles, prediction: crosses) and a 10 mm bar;
    points in pixels of the picture."""
    axes.imshow(image, vmin=0, vmax=255)
    for points, marker, size in ((truth_px, "o", 9), (predicted_px, "x", 14)):
        if points is not None:
            for bone, colour in BONES.values():
                x, y = points[list(bone)].T
                axes.scatter(x, y, s=size, c=colour, marker=marker, linewidths=0.9)
    if numbers and truth_px is not None:
        for number, (x, y) in enumerate(truth_px):
            below = y + (9 if number in landmarks.TIBIA else -5)
            axes.text(x, below, str(number), color="white", fontsize=6.5, ha="center")
    scale_bar(axes, image.shape, mm_per_px)
    bare(axes, title)
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))


def bare(axes: Axes, title: str = "") -> None:
    """A panel that holds a picture: its title alone, without ticks and grid."""
    axes.set(title=title, xticks=[], yticks=[])
    axes.grid(False)


def scale_bar(
    axes: Axes,
    shape: tuple[float, ...],
    mm_per_px: float,
    colour: str = "white",
    corner: tuple[float, float] = (0, 0),
) -> None:
    """A 10 mm bar in the lower right corner; corner: (x, y) of the upper left one."""
    length, x, y = 10 / mm_per_px, corner[0] + 0.95 * shape[1], corner[1] + 0.95 * shape[0]
    axes.plot([x - length, x], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.text(x, y - 0.02 * shape[0], "10 mm", color=colour, fontsize=6.5, ha="right", va="bottom")


def pictures_in_row(
    pictures: Sequence[np.ndarray],
    spacing_mm: float,
    titles: Sequence[str],
    points: Sequence[np.ndarray] | None = None,
) -> Figure:
    """Square pictures (k, S, S) in 0 to 1 side by side with their titles, and landmarks (k, 16, 2) where
    given."""
    size = TWO_COLUMNS, 1.08 * TWO_COLUMNS / len(pictures)
    figure, panels = plt.subplots(1, len(pictures), figsize=size, layout="constrained")
    for number, (axes, picture, title) in enumerate(zip(np.atleast_1d(panels), pictures, titles)):
        known = None if points is None else points[number]
        show_knee(axes, 255 * np.asarray(picture), spacing_mm, known, title=title)
    return figure
