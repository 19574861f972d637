"""Tests that cannot run say so."""

import os
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
