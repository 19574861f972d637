"""The suite itself: tests that cannot run say so, and what a file's tests share is made once."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from kneel_lib import paths


@pytest.mark.trains
def test_tests_that_need_the_crops_say_in_one_line_how_many_did_not_run(tmp_path):
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/data/test_data.py"]
    names = "test_the_crops_are or test_the_folds_of_the_crops or test_the_checksums or test_a_sound_cohort"
    environment = {**os.environ, "KNEEL_DATA": str(tmp_path)}
    done = subprocess.run(
        [*command, "-k", names], cwd=paths.ROOT, env=environment, capture_output=True, text=True
    )
    said = [line for line in done.stdout.splitlines() if " skipped: " in line]
    assert done.returncode == 0 and len(said) == 1
    assert said[0].startswith("3 skipped: the real crops are not on this machine: data/README.md says")


@pytest.mark.trains
def test_the_tests_of_a_file_stay_with_one_worker(tmp_path):
    """A pytest that pytest-xdist does not know forgets the groups without a word, and every trained
    fixture is made twice."""
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text("".join(f"def test_{i}(): pass\n" for i in range(4)))
    shutil.copy(paths.ROOT / "tests" / "conftest.py", tmp_path)
    options = ["-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-v", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", "/dev/null", "--rootdir", tmp_path, tmp_path],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(paths.ROOT), str(paths.ROOT / "tests" / "data")]),
        },
        capture_output=True,
        text=True,
    )
    ran = re.findall(r"\[(gw\d)\].*PASSED \S*test_(\w)\.py::", done.stdout)
    assert len(ran) == 8 and len(set(ran)) == 2, done.stdout + done.stderr
