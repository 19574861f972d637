"""`make lab`: JupyterLab with this environment's kernel and settings."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from browsing import command

from kneel_lib import paths

pytestmark = pytest.mark.trains(long=True)  # it trains nothing, but starts a server


@pytest.fixture(scope="module")
def lab():
    """(process, address) of a lab that has started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"--no-browser --allow-root --ServerApp.port={port} --IdentityProvider.token=token"
    process = subprocess.Popen(
        command("lab", f"ARGUMENTS={options}"),
        cwd=paths.ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if match := re.search(r"(http://127\.0\.0\.1:\d+)/", line):
                break
        else:
            raise AssertionError("".join(said))
        while not answers(match[1]) and process.poll() is None:
            continue  # the address is told a moment before the server listens
        yield process, match[1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def answers(address):
    """Whether a server listens there."""
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as tried:
        return tried.connect_ex((host, int(port))) == 0


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
