"""Fig. 3 and 4 are drawn from the network that stands there."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Circle, FancyBboxPatch
from PIL import Image

from kneel_lib import landmarks
from kneel_lib.figures import data, diagrams, shown
from kneel_lib.network import hourglass


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def patches(axes, kind):
    return [patch for patch in axes.patches if isinstance(patch, kind)]


@pytest.mark.parametrize("name, joins", [("hmp", 1), ("bottleneck", 0)])
def test_a_block_shows_each_convolution_and_where_its_output_goes(name, joins):
    block = hourglass.BLOCKS[name](96, 96, hourglass.PAPER)
    convolutions = hourglass.describe_block(block)
    (axes,) = diagrams.draw_blocks({"a block": (name, convolutions)}).axes
    assert len(patches(axes, FancyBboxPatch)) == len(convolutions) + joins
    for kernel, inputs, outputs in convolutions:
        assert f"batch norm, ReLU\n{kernel} x {kernel} convolution, {inputs} → {outputs}" in texts(axes)
    assert texts(axes).count("concatenation") == joins and texts(axes).count("+") == 1
    assert texts(axes).count("96 maps") == 2  # what comes in, and what goes out
    to_join = [text for text in texts(axes) if re.fullmatch(r"\d+", text)]
    assert to_join == [str(outputs) for _, _, outputs in convolutions] * joins


@pytest.mark.parametrize("depth", [2, 4, 6])
def test_the_hourglass_has_a_skip_branch_and_a_sum_on_each_level(depth):
    network = hourglass.Hourglass(hourglass.Architecture(width=4, depth=depth))
    stages = hourglass.describe_stages(network, 450)
    (axes,) = diagrams.draw_network(stages).axes
    said = texts(axes)
    assert len(patches(axes, Circle)) == said.count("+") == depth
    assert sum(text.startswith("3 blocks\n") for text in said) == depth  # beside: the skip branches
    assert sum(text.startswith("pool, 3 blocks\n") for text in said) == depth
    assert sum(text.startswith("block, then up\n") for text in said) == depth
    for name, channels, side in stages:
        assert any(f"{channels} @ {side}²" in text for text in said), name


def test_every_landmark_has_its_number_beside_it():
    (axes,) = data.numbered_landmarks(mm_per_px=0.6).axes
    tibia, femur = (collection.get_offsets() for collection in axes.collections)
    points = np.concatenate([tibia, femur])
    numbers = {text.get_text(): text.get_position() for text in axes.texts}
    for number, point in enumerate(points):
        x, y = numbers[str(number)]
        assert x == pytest.approx(point[0])
        assert abs(y - point[1]) == pytest.approx(data.BESIDE_MM / 0.6)
    assert len(points) == landmarks.COUNT and {"lateral", "medial", "10 mm"} <= set(numbers)


def test_a_drawing_becomes_lighter_and_stays_the_same_to_the_eye():
    figure, axes = plt.subplots(figsize=(4, 3))
    axes.plot(np.sin(np.linspace(0, 20, 300)), label="a line")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=200)
    heavy = base64.b64encode(content.getvalue()).decode()
    light = shown.fewer_colours(heavy)
    assert len(light) < 0.7 * len(heavy)
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), float)
        for png in (heavy, light)
    )
    assert before.shape == after.shape and np.abs(before - after).mean() < 1
