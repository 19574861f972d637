"""Block diagrams, drawn from the numbers of the network that stands there: its residual blocks (Fig. 3) and
the hourglass with its skip branches (Fig. 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from kneel_lib.figures.style import TWO_COLUMNS

DOWN, ACROSS, UP, PLAIN = "#0072B2", "#D55E00", "#009E73", "#666666"
"""Colours: on the way down, skip branches, on the way up, and what is neither."""

Point = tuple[float, float]


def box(axes: Axes, middle: Point, size: Point, text: str, colour: str, fontsize: float = 7.5) -> None:
    """A rounded box of this width and height with a text in it."""
    corner = middle[0] - size[0] / 2, middle[1] - size[1] / 2
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.15", "ec": colour, "fc": colour + "1A"}
    axes.add_patch(FancyBboxPatch(corner, *size, **look))
    axes.text(*middle, text, ha="center", va="center", fontsize=fontsize, linespacing=1.15)


def node(axes: Axes, middle: Point, sign: str = "+", radius: float = 0.28) -> None:
    """A small circle in which two branches meet."""
    axes.add_patch(Circle(middle, radius, fc="white", ec="black", lw=1, zorder=3))
    axes.text(*middle, sign, ha="center", va="center", fontsize=9, zorder=4)


def arrow(axes: Axes, way: Sequence[Point], colour: str = "black") -> None:
    """A line through these points with a head at its end."""
    if len(way) > 2:
        axes.plot(*np.array(way[:-1]).T, color=colour, lw=1, solid_capstyle="butt")
    head = {"arrowstyle": "-|>", "color": colour, "lw": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", way[-1], way[-2], arrowprops=head)


def clear(axes: Axes, width: Point, height: Point, title: str = "") -> None:
    """An empty sheet from and to these coordinates, y upwards, equal in both directions."""
    axes.set(xlim=width, ylim=height, aspect="equal", title=title)
    axes.axis("off")


def draw_blocks(blocks: Mapping[str, tuple[str, Any]]) -> Figure:
    """Fig. 3: residual blocks side by side; {title: (name in `hourglass.BLOCKS`, its convolutions)}, these
    as `hourglass.describe_block` gives them: (kernel, inputs, outputs)."""
    figure, panels = plt.subplots(1, len(blocks), figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.5), squeeze=False)
    for axes, (title, (name, convolutions)) in zip(panels[0], blocks.items()):
        draw_block(axes, convolutions, title, concatenated=name == "hmp")
    return figure


def draw_block(axes: Axes, convolutions: Any, title: str, concatenated: bool) -> None:
    """A residual block from top to bottom: convolutions in a row beside the skip connection.

    concatenated: whether the output of each convolution goes to a concatenation (HMP), or the last one's
    alone to the sum (bottleneck).
    """
    count, middle, side, wide = len(convolutions), 5.0, 9.4, (4.6, 1.15)
    end = -2.0 * count - (0.5 if concatenated else 0)
    clear(axes, (0, 11.6), (end - 2.4, 1.4), title)
    axes.text(middle, 1.0, f"{convolutions[0][1]} maps", ha="center", va="center", fontsize=7.5)
    joined = (middle, end - 0.2 if concatenated else end + 0.35)
    for place, (kernel, inputs, outputs) in enumerate(convolutions):
        y = -2.0 * place - 0.9
        arrow(axes, [(middle, y + (1.55 if place == 0 else 1.43)), (middle, y + wide[1] / 2)])
        text = f"batch norm, ReLU\n{kernel} x {kernel} convolution, {inputs} → {outputs}"
        box(axes, (middle, y), wide, text, DOWN, 6.5)
        if concatenated and place < count - 1:
            out = y - 1.0
            way = [(middle, out), (side, out), (side, joined[1]), (middle + 1.55, joined[1])]
            arrow(axes, [(way[0][0], out), *way[1:]], UP)
            axes.plot(middle, out, "o", color=UP, markersize=3)
            axes.text(side - 0.2, out + 0.12, f"{outputs}", color=UP, ha="right", va="bottom", fontsize=7)
            side += 0.7
    foot = -2.0 * (count - 1) - 0.9 - wide[1] / 2
    if concatenated:
        arrow(axes, [(middle, foot), (middle, joined[1] + 0.35)], UP)
        axes.text(
            middle + 0.15, joined[1] + 0.65, f"{convolutions[-1][2]}", color=UP, fontsize=7, va="center"
        )
        box(axes, joined, (3.1, 0.7), "concatenation", UP, 7)
        foot = joined[1] - 0.35
    total = sum(outputs for _, _, outputs in convolutions) if concatenated else convolutions[-1][2]
    plus = (middle, end - 1.3 if concatenated else foot - 0.8)
    arrow(axes, [(middle, foot), (middle, plus[1] + 0.28)])
    arrow(axes, [(middle, 0.4), (1.2, 0.4), (1.2, plus[1]), (middle - 0.28, plus[1])], ACROSS)
    axes.text(
        1.0, plus[1] / 2, "skip connection", rotation=90, va="center", ha="right", fontsize=7, color=ACROSS
    )
    node(axes, plus)
    arrow(axes, [(middle, plus[1] - 0.28), (middle, plus[1] - 0.75)])
    axes.text(middle + 0.3, plus[1] - 0.6, f"{total} maps", va="center", fontsize=7.5)


def draw_network(stages: Any) -> Figure:
    """Fig. 4 from the model's own numbers: down on the left, up on the right, and on each level a skip branch
    of three blocks between them that is added to what comes up.

    stages: [(name, channels, side)] of `hourglass.describe_stages`: "entry 7x7", "entry", "down 1" to "down
    d", "bottom", "up d" to "up 1", "mixer", "maps".
    """
    known = {name: f"{channels} @ {side}²" for name, channels, side in stages}
    depth = sum(name.startswith("down") for name in known)
    left, middle, plus, right, wide = 1.6, 5.2, 7.5, 9.3, (2.6, 0.92)
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * (0.09 * depth + 0.16)))
    clear(axes, (-2.9, 15.3), (-1.45 * depth - 0.75, 0.75))
    levels = [-1.45 * level for level in range(depth + 1)]
    box(axes, (-1.5, 0), (2.0, wide[1]), f"7 x 7, stride 2\n{known['entry 7x7']}", PLAIN, 6)
    arrow(axes, [(-2.85, 0), (-2.5, 0)])
    arrow(axes, [(-0.5, 0), (left - wide[0] / 2, 0)])
    for level, y in enumerate(levels):
        name = "entry" if level == 0 else f"down {level}"
        text = f"{'block, pool,' if level == 0 else 'pool,'} 3 blocks\n{known[name]}"
        box(axes, (left, y), wide, text, PLAIN if level == 0 else DOWN, 6)
        if level:
            arrow(axes, [(left, levels[level - 1] - wide[1] / 2), (left, y + wide[1] / 2)], DOWN)
            box(axes, (right, y), wide, f"block, then up\n{known[name]}", UP, 6)
            above = levels[level - 1]
            arrow(
                axes,
                [
                    (right + wide[0] / 2, y),
                    (right + 1.6, y),
                    (right + 1.6, y + 0.72),
                    (plus, y + 0.72),
                    (plus, above - 0.28),
                ],
                UP,
            )
        if level < depth:
            box(axes, (middle, y), wide, f"3 blocks\n{known[f'up {level + 1}']}", ACROSS, 6)
            arrow(axes, [(left + wide[0] / 2, y), (middle - wide[0] / 2, y)], ACROSS)
            arrow(axes, [(middle + wide[0] / 2, y), (plus - 0.28, y)], ACROSS)
            node(axes, (plus, y))
        else:
            box(axes, (middle, y), wide, f"block\n{known['bottom']}", DOWN, 6)
            arrow(axes, [(left + wide[0] / 2, y), (middle - wide[0] / 2, y)], DOWN)
            arrow(axes, [(middle + wide[0] / 2, y), (right - wide[0] / 2, y)], DOWN)
        if 0 < level < depth:
            arrow(axes, [(plus + 0.28, y), (right - wide[0] / 2, y)], UP)
    ends = (10.3, f"2 x (dropout,\n1 x 1): {known['mixer']}"), (13.1, f"1 x 1: {known['maps']}\nsoft-argmax")
    arrow(axes, [(plus + 0.28, 0), (ends[0][0] - 1.2, 0)])
    arrow(axes, [(ends[0][0] + 1.2, 0), (ends[1][0] - 1.2, 0)])
    arrow(axes, [(ends[1][0] + 1.2, 0), (ends[1][0] + 1.7, 0)])
    for x, text in ends:
        box(axes, (x, 0), (2.4, wide[1]), text, PLAIN, 6)
    return figure
