"""What a run says of the code that made it, and which runs may be recorded."""

import json
import subprocess
import sys

import pytest
from conftest import CLEAN, say

from kneel_lib import paths
from kneel_lib.data.folds import make_folds
from kneel_lib.errors import KneelError
from kneel_lib.experiment import methods, provenance, runs, spec
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.store import record, recorded_runs
from kneel_lib.reporting import selection, tables

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=8)
MEAN = SETTINGS["mean_shape"]


@pytest.fixture
def results(store, tmp_path, monkeypatch):
    """A place for recorded runs, beside an empty working store."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def refused(*names):
    with pytest.raises(KneelError) as caught:
        record(["tiny"])
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_runs_of_a_changed_tree_are_refused_by_name_and_all_others_recorded(cohort, store, results):
    bad, good = (runs.get_run(MEAN, TINY, cohort, fold) for fold in (0, 1))
    say(store)
    say(bad.folder, f"{CLEAN}-dirty")
    refused("tiny mean_shape, fold 0, seed 0: made by code of commit 0123456789ab-dirty")
    assert [run.spec.hash for run in recorded_runs()] == [good.spec.hash]
    say(bad.folder, "unknown")
    refused("fold 0, seed 0: made by code of commit unknown")
    say(bad.folder)
    assert [run.spec.hash for run in record(["tiny"])] == [bad.spec.hash]


@pytest.mark.parametrize(
    "said, why",
    [
        ({"commit": "ba9876543210"}, "several commits (0123456789ab, ba9876543210)"),
        ({"threads": 7}, "several thread counts"),
        ({"precision": "tf32"}, "several precisions"),
        ({"device": "cuda:1"}, "several devices (cpu, cuda)"),
    ],
)
def test_a_row_is_made_in_one_way(cohort, store, results, said, why):
    first, second = (runs.get_run(MEAN, TINY, cohort, fold) for fold in (0, 1))
    other = runs.get_run(MEAN, TINY, cohort, "all")
    say(store)
    say(second.folder, **{"commit": CLEAN, **said})
    say(other.folder, "ba9876543210")
    refused("fold 0, seed 0 | tiny mean_shape, fold 1, seed 0: its row would have", why)
    assert [run.spec.kind for run in recorded_runs()] == ["all"], "a run on all knees is of another row"


def test_a_recorded_row_does_not_grow_by_another_commit(cohort, store, results):
    runs.get_run(MEAN, TINY, cohort, 0)
    say(store)
    assert len(record(["tiny"])) == 1
    new = runs.get_run(MEAN, TINY, cohort, 1)
    say(new.folder, "ba9876543210")
    refused("fold 1, seed 0: its row would have several commits")
    assert len(recorded_runs()) == 1


def test_tables_name_the_commit_of_a_row(cohort, store):
    runs.get_run(MEAN, TINY, cohort, 0)
    runs.get_run(MEAN, TINY, cohort, 1)
    say(store)
    made = [runs.get_run(MEAN, TINY, cohort, fold) for fold in (0, 1)]
    assert tables.summary_table(made)["commit"].tolist() == [CLEAN]
    say(made[0].folder, f"{CLEAN}-dirty")
    made = [runs.get_run(MEAN, TINY, cohort, fold) for fold in (0, 1)]
    assert tables.summary_table(made)["commit"].tolist() == ["several"]
    assert [selection.described(run)["commit"] for run in made] == [f"{CLEAN}-dirty", CLEAN]


@pytest.mark.trains
def test_a_run_in_pieces_says_of_each_what_code_it_began_with(cohort, store, results):
    """The checkpoint of a first piece, made by other code, is gone on from; what is left without one
    counts for nothing."""
    first = {**runs.beginning(), "commit": "ba9876543210"}
    made = []
    for fold, begun in ((0, False), (1, True)):
        planned = spec.plan(SETTINGS["wing"], TINY, cohort, fold)
        known, held_out = (cohort.select(rows) for rows in make_folds(cohort)[fold])
        work = runs.working_folder(planned)
        provenance.begin_piece(work, first, afresh=True)
        if begun:
            methods.train_network(methods.Task(planned, known, held_out, work))
        made.append(runs.make_run(planned, known, held_out, "cpu"))
    whole, pieced = made
    assert "pieces" not in whole.manifest, "there was nothing to go on from"
    assert len(pieced.manifest["pieces"]) == 2 and pieced.manifest["commit"] == "ba9876543210"
    assert provenance.commit_of([pieced.manifest]) == "several"
    assert not (pieced.folder / provenance.PIECES).exists()
    say(whole.folder)
    refused("wing, fold 1, seed 0")


def test_notes_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / provenance.PIECES).write_text("{half")
    with pytest.raises(KneelError, match="pieces.json cannot be read: delete"):
        provenance.begin_piece(tmp_path, {}, afresh=False)


COMMITS = """
import sys; from pathlib import Path
from kneel_lib import paths
paths.ROOT = Path(sys.argv[1])
from kneel_lib.experiment import runs
began = runs.beginning()["commit"]
(paths.ROOT / "file").write_text("changed while the run goes on")
print(began, runs.beginning()["commit"])
"""


def test_the_commit_is_that_of_the_beginning(tmp_path):
    """A real checkout whose file is changed while the process runs: the loaded code is still the commit's."""

    def git(*words):
        named = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
        done = subprocess.run(
            ["git", "-C", tmp_path, *named, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("as committed")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")
    told = subprocess.run(
        [sys.executable, "-c", COMMITS, tmp_path], capture_output=True, text=True, check=True
    ).stdout.split()
    assert told == [git("rev-parse", "--short=12", "HEAD")] * 2
    late = subprocess.run(
        [sys.executable, "-c", COMMITS, tmp_path], capture_output=True, text=True, check=True
    )
    assert all(name.endswith("-dirty") for name in late.stdout.split())


def test_what_a_manifest_says_of_pieces_is_json(tmp_path):
    pieces = provenance.begin_piece(tmp_path, {"started": "a", "commit": "x", "threads": 1}, afresh=True)
    pieces = provenance.begin_piece(tmp_path, {"started": "b", "commit": "x", "threads": 2}, afresh=False)
    manifest = json.loads(json.dumps(provenance.as_manifest(pieces)))
    assert manifest["started"] == "a" and [piece["threads"] for piece in manifest["pieces"]] == [1, 2]
    assert provenance.commit_of([manifest]) == "x"
