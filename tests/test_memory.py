import os
import subprocess
import sys

import pytest

from kneel_lib import memory

FAULTS = """
import resource
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(*[nn.Conv2d(8, 8, 3, padding=1) for _ in range(4)])
def faults_of_steps(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        model(torch.ones(4, 8, 256, 256)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults_of_steps(3)
print(faults_of_steps(5))
"""


def test_what_the_environment_says_already_stands():
    kept = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
    assert memory.with_kept("") == memory.with_kept(kept) == kept
    assert memory.with_kept("glibc.malloc.check=1") == f"glibc.malloc.check=1:{kept}"
    assert memory.with_kept("glibc.malloc.mmap_max=9") == "glibc.malloc.mmap_max=9:glibc.malloc.trim_threshold=1099511627776"
    assert memory.without(f"glibc.malloc.check=1:{kept}") == "glibc.malloc.check=1"


@pytest.mark.skipif(sys.platform != "linux" or not os.confstr("CS_GNU_LIBC_VERSION"), reason="only glibc on Linux reads the variable")
def test_new_processes_fault_in_what_they_freed_once_only():
    def faults(kept):
        with memory.for_new_processes(kept):
            return int(subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout)
    before = os.environ.get(memory.VARIABLE)
    assert faults(True) < 0.1 * faults(False)
    assert os.environ.get(memory.VARIABLE) == before


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is set elsewhere")
def test_the_command_line_starts_anew_once(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import os, sys\nfrom kneel_lib import memory\nprint('here', flush=True)\nmemory.start_again()\nprint(os.environ[memory.VARIABLE], *sys.argv[1:])\n")
    clean = {name: value for name, value in os.environ.items() if name != memory.VARIABLE}
    shown = subprocess.run([sys.executable, program, "two words"], env=clean, capture_output=True, text=True, check=True).stdout.split("\n")
    assert shown == ["here", "here", f"{memory.with_kept('')} two words", ""]
