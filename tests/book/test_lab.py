"""`make lab`: JupyterLab with this environment's kernel and settings."""

import json
import sys
import urllib.request
from pathlib import Path

import pytest
from browsing import started

pytestmark = pytest.mark.trains(long=True)  # it trains nothing, but starts a server


@pytest.fixture(scope="module")
def lab():
    """(process, address) of a lab that has started."""
    options = "--allow-root --ServerApp.port={port} --IdentityProvider.token=token"
    with started("lab", options, r"(http://127\.0\.0\.1:\d+)/") as server:
        yield server


def asked(address, path, method="GET"):
    """The server's answer."""
    request = urllib.request.Request(
        f"{address}/{path}",
        b"{}" if method == "POST" else None,
        {"Authorization": "token token"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def children(pid):
    """{process: its command line} of all that this process has started, and what they have."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found[child] = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found |= children(child)
    return found


def test_the_only_kernel_is_this_environments(lab):
    process, address = lab
    assert list(asked(address, "api/kernelspecs")["kernelspecs"]) == ["python3"]
    asked(address, "api/kernels", method="POST")
    (kernel,) = (words for words in children(process.pid).values() if "ipykernel_launcher" in words)
    assert kernel[0] == sys.executable


def test_the_notebooks_are_there_and_memory_is_kept_as_in_a_run(lab):
    process, address = lab
    assert asked(address, "api/contents/notebooks/00_start_here.ipynb")["type"] == "notebook"
    for child in children(process.pid):
        assert b"GLIBC_TUNABLES=glibc.malloc.mmap_max=0" in Path(f"/proc/{child}/environ").read_bytes()
