"""The re-run certificate of two light notebooks, for real, at profile smoke."""

import json

import pandas as pd
import pytest

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.notebook_runner import declared_parameters, notebook_paths
from studies.certify.__main__ import main
from studies.certify.executions import anew, certify, recorded_parameters


@pytest.mark.trains(long=True)
def test_notebooks_executed_again_give_their_recorded_tables_and_a_changed_number_is_named(tmp_path, capfd):
    reference, chosen = tmp_path / "certified", ["--notebook", "12", "13", "--at-once", "1"]
    place = ["--reference", str(reference)]
    assert main(["--record", "--profile", "smoke", *place, *chosen]) == 0
    made = json.loads((reference / "13_measurements" / "run.json").read_text())
    assert made["parameters"] == {"profile": "smoke", "cohort": "simulated"}
    assert made["commit"] and made["processor"] is not None and made["threads"] >= 1

    tables = {path.relative_to(reference).as_posix() for path in reference.rglob("*.csv")}
    assert {"13_measurements/figures/jsw_choice.csv", "12_whose_truth/figures/nearer.csv"} <= tables
    changed = reference / "12_whose_truth" / "figures" / "nearer.csv"
    table = pd.read_csv(changed)
    column = table.select_dtypes("number").loc[1].dropna().index[0]
    table[column] = table[column].astype(float)
    table.loc[1, column] += 10
    table.to_csv(changed, index=False)
    (reference / "13_measurements" / "figures" / "gone.csv").write_text("a\n1\n")

    assert main([*place, *chosen]) == 1
    printed = capfd.readouterr().out
    assert f"12_whose_truth, figures/nearer.csv, row 1, {column}: " in printed
    assert "13_measurements, figures/gone.csv: not written now" in printed
    assert f"{len(tables) - 1} of {len(tables) + 1} tables equal within tolerance" in printed
    assert "2 of 2 notebooks ran to their end" in printed
    certificate = pd.read_csv(reference / "certificate.csv")
    unequal = certificate[~certificate["equal"]]
    assert set(unequal["table"]) == {"figures/nearer.csv", "figures/gone.csv"}
    assert (certificate["values"] == certificate["identical"] + certificate["beyond"]).all()


def test_the_recorded_certificate_is_of_every_notebook_and_the_page_says_what_is_in_it():
    reference = paths.RESULTS / "certified"
    assert set(recorded_parameters(None, reference)) == set(notebook_paths())
    certificate = pd.read_csv(reference / "certificate.csv")
    tables = {path.relative_to(reference).as_posix() for path in reference.glob("*/*/*.csv")}
    assert set(certificate["notebook"] + "/" + certificate["table"]) == tables
    page = (paths.ROOT / "docs" / "certificate.md").read_text()
    assert f"{certificate['equal'].sum()} of {len(certificate)} tables are equal within tolerance" in page
    same, values = certificate["identical"].sum(), certificate["values"].sum()
    assert f"{same:,} of {values:,} values are the same to the last digit" in page


def test_nothing_recorded_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(KneelError, match="nothing is recorded in .*make certify RECORD=1"):
        certify(None, tmp_path)
    with pytest.raises(KneelError, match="nothing is recorded of 03_hourglass.ipynb"):
        certify(["03"], tmp_path)


def test_a_record_with_a_parameter_that_is_gone_is_refused(tmp_path):
    folder = tmp_path / "03_hourglass"
    folder.mkdir()
    (folder / "run.json").write_text('{"parameters": {"profile": "smoke", "depth": 3}}')
    with pytest.raises(KneelError, match="no parameter 'depth'"):
        recorded_parameters(["03"], tmp_path)


def test_executions_find_no_finished_run_no_cache_and_no_real_data(tmp_path):
    parameters = {path: declared_parameters(path) for path in notebook_paths(["03", "04"])}
    for execution in anew(parameters, tmp_path):
        for name in ("RUNS", "CACHE", "DATA", "OUTPUT"):
            assert execution.environment[f"KNEEL_{name}"].startswith(str(tmp_path))
    assert len({execution.environment["KNEEL_OUTPUT"] for execution in anew(parameters, tmp_path)}) == 2
