"""Fig. 7 puts the truth and both answers where they lie, told apart by shape."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.experiment.predictions import COORDINATES
from kneel_lib.figures import pipeline
from kneel_lib.pipeline.test_sets import Case
from kneel_lib.simulation import phantom, population

STEP = 0.4


@pytest.fixture(scope="module")
def case():
    random, machine = np.random.default_rng(3), phantom.Machine(mm_per_px=STEP)
    maps, points_mm = population.draw_leg(1, random, machine)
    picture = phantom.develop(phantom.detect(maps, machine, random), machine)
    image = (255 * picture).astype(np.uint8)
    knees = pd.DataFrame({"subject_id": [7], "side": ["R"], "kl": [1], "mm_per_px": [STEP]})
    return Case(Radiograph(Path("leg.png"), image, STEP), knees, points_mm[None])


def predictions(case, off_mm):
    points = case.truth_mm[0] + off_mm
    errors = np.full((landmarks.COUNT, 1), np.linalg.norm(off_mm))
    row = np.concatenate([points, errors], axis=1).ravel()
    return pd.DataFrame([[7, "R", 1, *row]], columns=["subject_id", "side", "kl", *COORDINATES])


def test_three_shapes_each_at_its_place_and_a_legend(case):
    network, forest = predictions(case, np.array([2.0, 0.0])), predictions(case, np.array([0.0, 3.0]))
    chosen = pipeline.chosen_examples(network)
    assert [what for _, what, _ in chosen] == ["best", "median", "worst"]
    figure = pipeline.show_examples(chosen, {(7, "R"): (case, 0)}, forest)
    axes = figure.axes[0]
    assert axes.get_title() == "KL 0 and 1, best: 2.00 mm"
    places = [collection.get_offsets() for collection in axes.collections]
    truth, crosses, triangles = (np.concatenate(places[start : start + 2]) for start in (0, 2, 4))
    scale = pipeline.EXAMPLE_MM / pipeline.EXAMPLE_PX
    np.testing.assert_allclose((crosses - truth) * scale, np.tile([2.0, 0.0], (16, 1)), atol=1e-6)
    np.testing.assert_allclose((triangles - truth) * scale, np.tile([0.0, 3.0], (16, 1)), atol=1e-6)
    centre = truth[landmarks.CENTRE]
    height, width = axes.images[0].get_array().shape
    np.testing.assert_allclose(centre, (width / 2, height / 2), atol=1)
    assert height / width == pytest.approx(pipeline.EXAMPLE_HEIGHT, abs=0.01)
    low, high = sorted(axes.get_ylim())
    assert ((truth[:, 1] > low) & (truth[:, 1] < high)).all()
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["truth", "hourglass, two stages", "RFRV-CLM"]
    plt.close(figure)
