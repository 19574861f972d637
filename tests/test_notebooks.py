import json
import re
import subprocess
import sys

import nbformat
import pytest

from kneel_lib import notebook_runner, paths

NOTEBOOKS = notebook_runner.notebook_paths()


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, nbformat.read(request.param, as_version=4)


def test_outputs_were_made_by_the_code_that_stands_there(notebook):
    path, content = notebook
    assert content.metadata.get(notebook_runner.HASH_KEY) == notebook_runner.code_hash(content), (
        f"{path.name} has changed since its outputs were made: run `make notebooks`"
    )


def test_published_notebooks_are_small_and_without_errors(notebook):
    path, content = notebook
    assert path.stat().st_size <= 500_000
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code)
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_published_notebooks_do_not_say_where_the_project_lay(notebook):
    _, content = notebook
    said = json.dumps([cell.get("outputs", []) for cell in content.cells])
    assert not re.findall(r"PosixPath\('/[^']*'\)", said)


def test_published_notebooks_hold_no_pictures_of_real_knees(notebook):
    _, content = notebook
    for cell in content.cells:
        if cell.cell_type == "code" and "with_pictures(" in cell.source:
            printed = "".join(output.get("text", "") for output in cell.outputs)
            if not cell.outputs:
                continue  # not run yet: nothing is shown
            drawn = [
                output
                for output in cell.outputs
                if any(kind.startswith("image/") for kind in output.get("data", {}))
            ]
            assert (
                "The knees in this picture are simulated." in printed
                if drawn
                else "the published copy leaves it out" in printed
            )


def test_notebooks_have_the_house_form(notebook):
    _, content = notebook
    code = [cell.source for cell in content.cells if cell.cell_type == "code"]
    prose = [cell.source for cell in content.cells if cell.cell_type == "markdown"]
    assert (
        10 <= len(code) <= 25
        and sum(len(source.splitlines()) for source in code) <= 250
        and max(len(s.splitlines()) for s in code) <= 30
    )
    assert sum(len(text.split()) for text in prose) >= 700
    assert any(text.startswith("## What we found") for text in prose) and prose[-1].startswith("## Exercises")
    parameters = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1 and not any("sys.path" in source for source in code)


@pytest.mark.trains(long=True)
@pytest.mark.parametrize(
    "cohort",
    [
        pytest.param("crops", marks=[pytest.mark.xdist_group("crops"), pytest.mark.slow]),
        pytest.param("simulated", marks=pytest.mark.xdist_group("simulated")),
    ],
)
def test_the_whole_study_runs_at_profile_smoke(cohort, request, tmp_path, monkeypatch):
    """Through papermill, from another working directory; the ones with most runs a second time, from the
    finished runs, which stay as they are."""
    if cohort == "crops":
        request.getfixturevalue("crops")
    for name, folder in {"RUNS": "runs", "OUTPUT": "output", "CACHE": "cache"}.items():
        monkeypatch.setenv(f"KNEEL_{name}", str(tmp_path / folder))
    monkeypatch.setenv("KNEEL_DATA", str(paths.downloads() if cohort == "crops" else tmp_path / "nothing"))
    made = []
    for chosen in (["--parameter", "models=2", "counts=[25, 100]"], ["--notebook", "02", "07", "09"]):
        process = subprocess.run(
            [sys.executable, "-m", "kneel_lib", "run", "--profile", "smoke", *chosen],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        made.append(
            {path: path.read_text() for path in (tmp_path / "runs").glob("*/smoke/*/*/manifest.json")}
        )
    assert len(made[0]) >= 30 and made[0] == made[1]
    output = tmp_path / "output" / f"{cohort}-smoke"
    for file in (
        "tables/table1.csv",
        "tables/table1.md",
        "tables/table1.tex",
        "figures/cumulative.pdf",
        "figures/cumulative.csv",
        "figures/average_knee.png",
        "figures/fog_to_bone.png",
        "tables/roi_localisation.csv",
        "notebooks/09_report.ipynb",
        "../{}-models2/tables/table2.tex",
        "../{}-models2/figures/pipeline.png",
        "../{}-counts_25+100/tables/roi_localisation.csv",
    ):
        assert (output / file.format(output.name)).stat().st_size > 0
    assert f"{cohort}, smoke" in (output / "tables" / "table1.csv").read_text().splitlines()[0]
