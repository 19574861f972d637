"""The knobs' pictures show what their value says, and a slider is built only where somebody can turn it."""

import json

import nbformat
import numpy as np
import papermill
import pytest
from matplotlib import pyplot as plt
from nbclient import NotebookClient

from kneel_lib.figures import knobs
from kneel_lib.simulation import shape_model

MODEL = shape_model.load()[2]
RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (2, 24, 24), dtype=np.uint8)
MISSES = RANDOM.normal(0, 3, (400, 2))
KNOBS = {
    "sigma": knobs.sigma_knob(),
    "lambda": knobs.mixup_knob(*PICTURES, 1.0),
    "mode": knobs.mode_knob(MODEL.mean, MODEL.deviations[0] * MODEL.modes[0]),
    "radius": knobs.radius_knob(np.linalg.norm(MISSES, axis=1), MISSES),
    "beam": knobs.beam_knob(),
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(knob, value):
    axes = plt.subplots()[1]
    knob.draw(axes, value)
    return axes


@pytest.mark.parametrize("name", KNOBS)
def test_a_row_has_a_panel_for_each_still_value_and_they_differ(name):
    knob = KNOBS[name]
    figure = knobs.still_row(knob)
    assert len(figure.axes) == len(knob.stills)
    titles = [axes.get_title() for axes in figure.axes]
    assert len(set(titles)) == len(titles)
    assert all(knob.low <= value <= knob.high for value in knob.stills)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_the_gaussian_has_the_width_and_the_place_that_are_said(sigma):
    target = drawn(KNOBS["sigma"], sigma).images[0].get_array()
    assert target.sum() == pytest.approx(1, abs=1e-5)
    cells = np.arange(knobs.MAP_CELLS)
    mean = target.sum(axis=0) @ cells
    assert mean == pytest.approx(knobs.TRUE_CELL[0], abs=0.15)
    assert np.sqrt(target.sum(axis=0) @ (cells - mean) ** 2) == pytest.approx(sigma, rel=0.05)


def test_a_blend_is_made_of_its_shares():
    for share in (0.0, 0.25, 1.0):
        shown = drawn(KNOBS["lambda"], share).images[0].get_array()
        np.testing.assert_allclose(shown, share * PICTURES[0].astype(float) + (1 - share) * PICTURES[1])


def test_a_shape_moves_along_its_mode_and_the_mean_stays():
    for deviations in (-2.0, 0.0, 1.5):
        lines = drawn(KNOBS["mode"], deviations).lines
        shape = np.concatenate([line.get_xydata() for line in lines if line.get_linestyle() == "-"])
        mean = np.concatenate([line.get_xydata() for line in lines if line.get_linestyle() == ":"])
        np.testing.assert_allclose(mean, MODEL.mean)
        np.testing.assert_allclose(shape - mean, deviations * MODEL.deviations[0] * MODEL.modes[0])


def test_the_circle_divides_what_is_correct_from_what_is_not():
    for radius in (1.0, 4.0):
        axes = drawn(KNOBS["radius"], radius)
        inside, outside = (collection.get_offsets() for collection in axes.collections)
        assert len(inside) + len(outside) == len(MISSES)
        assert np.linalg.norm(inside, axis=1).max() <= radius < np.linalg.norm(outside, axis=1).min()
        assert axes.patches[0].radius == radius
        assert axes.get_title().startswith(f"{100 * len(inside) / len(MISSES):.0f} %")


def test_a_tilted_beam_changes_the_plateau_and_leaves_the_femur():
    flat, tilted = (np.asarray(drawn(KNOBS["beam"], mm).images[0].get_array()) for mm in (0.0, 8.0))
    changed = np.abs(flat - tilted) > 0.02
    rows = np.flatnonzero(changed.any(axis=1))
    assert len(rows) and rows.min() > 0.4 * len(flat)


CELL = """
from kneel_lib.figures import knobs
figure = knobs.show_knob(knobs.sigma_knob())
"""


def test_under_papermill_the_still_pictures_are_stored_and_no_widget(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), progress_bar=False, kernel_name="python3"
    )
    made = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    kinds = [kind for output in made.cells[0].outputs for kind in output.get("data", {})]
    assert "image/png" in kinds
    assert "widgets" not in made.metadata and "widget" not in json.dumps(kinds)


def test_where_somebody_sits_at_the_notebook_there_is_a_slider():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    client = NotebookClient(notebook, kernel_name="python3", timeout=120)
    with client.setup_kernel():
        client.kc.allow_stdin = True  # as a front end says with somebody before it
        client.execute_cell(notebook.cells[0], 0)
    kinds = [kind for output in notebook.cells[0].outputs for kind in output.get("data", {})]
    assert "application/vnd.jupyter.widget-view+json" in kinds
