"""Files that tables name, and temporary files that killed processes left."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from kneel_lib import paths, report
from kneel_lib.data import oai, via
from kneel_lib.errors import KneelError
from kneel_lib.experiment import store
from kneel_lib.files import contents_hash, inside, sweep

OUTSIDE = ["/etc/hostname", "../secret", "a/../../secret", "link/secret", "secret link", "a\0b", "../data2/a"]


@pytest.fixture
def folder(tmp_path):
    """A folder with links that lead out of it, beside a secret."""
    (tmp_path / "secret").write_text("nobody's business")
    data = tmp_path / "data"
    (data / "a").mkdir(parents=True)
    (data / "link").symlink_to(tmp_path)
    (data / "secret link").symlink_to(tmp_path / "secret")
    (data / "here").symlink_to("a")
    (tmp_path / "data2").mkdir()
    return data


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_its_folder_is_refused(name, folder):
    with pytest.raises(KneelError, match="via.csv names .* which leads out of .*data: name files below it"):
        inside(folder, name, "via.csv")


@pytest.mark.parametrize("name", ["a/knee.png", "a/../knee.png", "here/knee.png", "..knee.png", "a b"])
def test_a_name_that_stays_is_taken_also_where_the_folder_is_a_link(name, folder, tmp_path):
    (tmp_path / "other name").symlink_to(folder)
    for place in (folder, tmp_path / "other name"):
        assert inside(place, name, "via.csv") == place / name


@pytest.mark.parametrize("name", ["../data2/b", "/etc", "link", 12])
def test_the_folders_of_a_release_lie_in_it(name, folder):
    described = {"Folder": [name], "ParticipantID": [1], "SeriesDescription": [oai.SERIES]}
    pd.DataFrame(described).to_csv(folder / "contents.csv", index=False)
    points = {"tibia": ",".join(["1"] * 18), "femur": ",".join(["1"] * 14), "center": "1,1"}
    pd.DataFrame([{"subject_id": 1, "side": "R", "kl": 0, **points}]).to_csv(folder / "a.csv", index=False)
    if name == 12:
        groups, _ = oai.annotated_radiographs(folder, folder / "a.csv")
        assert [path for path, _ in groups] == [folder / "12" / "001"]
        return
    with pytest.raises(KneelError, match="contents.csv names .*001', which leads out of"):
        oai.annotated_radiographs(folder, folder / "a.csv")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "secret link"])
def test_the_pictures_of_annotations_lie_in_their_folder(name, folder):
    knee = "R", 0, 1, np.arange(32.0).reshape(16, 2)
    via.write_via(folder / "via.csv", via.via_rows(name, 1, [knee]))
    with pytest.raises(KneelError, match="via.csv names .*, which leads out of"):
        via.load_via(folder, folder / "via.csv", jobs=1)


def leave(path):
    """Let a process be killed in the middle of writing a file; returns the temporary one that it leaves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = (
        "import os, sys; from kneel_lib.files import write_whole\n"
        "write_whole(sys.argv[1], lambda path: (path.write_text('half'), os.kill(os.getpid(), 9)))"
    )
    subprocess.run([sys.executable, "-c", code, path])
    (left,) = path.parent.glob("*.tmp")
    return left


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    left = leave(tmp_path / "a" / "table.csv")
    others = [
        left.with_name("notes.tmp"),
        left.with_name(f"{left.name.split('.')[0]}.00000000.{left.name.split('.')[2]}.tmp"),
        left.with_name(".".join([*left.name.split(".")[:2], str(os.getpid()), "tmp"])),
    ]
    for path in others:
        path.write_text("another's")
    sweep(tmp_path, below=False)
    assert left.exists()
    sweep(tmp_path)
    assert not left.exists() and all(path.exists() for path in others)


def test_report_and_record_begin_with_what_killed_ones_left(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    places = ("README.md", "results/table1.csv", "figures/rows.pdf", "notebooks/paper_vs_code.md")
    left = [leave(tmp_path / place) for place in places]
    with pytest.raises(KneelError, match="no recorded runs"):
        report.build_report(tmp_path)
    assert not any(path.exists() for path in left)
    left = leave(tmp_path / "results" / "runs" / "crops" / "long" / "wing.parquet")
    assert store.record(["long"], store=tmp_path / "none") == [] and not left.exists()


def test_what_cannot_be_read_has_no_hash_and_one_sentence(tmp_path):
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(KneelError, match="gone.safetensors cannot be read: No such file"):
        contents_hash(tmp_path / "gone.safetensors")
