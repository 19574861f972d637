"""One thread a process, unless more are asked for."""

import os
import subprocess
import sys

import pytest

SHOWN = "import torch, os, kneel_lib; print(torch.get_num_threads(), os.environ['GOMP_SPINCOUNT'])"


@pytest.mark.parametrize(
    "asked, said",
    [
        ({}, "1 20000"),
        ({"OMP_NUM_THREADS": "2"}, "2 20000"),
        ({"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "7"}, "2 7"),
        ({"OMP_NUM_THREADS": "2,1"}, None),
    ],
)
def test_a_process_computes_with_one_thread_unless_it_is_asked_for_more(asked, said):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")
    }
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], env=environment | asked, capture_output=True, text=True, check=True
    )
    assert said is None or done.stdout.strip() == said
