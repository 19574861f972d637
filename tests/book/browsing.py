"""The book as `make book` builds it, a server on this machine for its pages, and a real browser."""

import functools
import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from kneel_lib import paths


def command(target, *arguments):
    """`make TARGET` with the environment that runs the tests, which has what the target needs."""
    ready = [word for name in ("", "-book", "-app") for word in ("-o", f".venv/.ready{name}")]
    return ["make", "--no-print-directory", *ready, f"BIN={Path(sys.executable).parent}", target, *arguments]


def make(target, *arguments, **environment):
    """What became of `make TARGET`."""
    return subprocess.run(
        command(target, *arguments),
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@contextmanager
def started(target, options, told):
    """(process, address) of the server that `make TARGET` starts on a free port and on this machine alone,
    once it listens. options: of the server, with {port}. told: what of its log is the address, group 1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        command(target, f"ARGUMENTS=--no-browser {options.format(port=port)}"),
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
            if match := re.search(told, line):
                break
        else:
            raise AssertionError("".join(said))
        assert match[1] == f"http://127.0.0.1:{port}"
        while not listens("127.0.0.1", port):  # the address is told a moment before
            assert process.poll() is None
        yield process, match[1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def listens(host, port):
    """Whether a server listens there."""
    with socket.socket() as tried:
        return tried.connect_ex((host, port)) == 0


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """A test has no log of what was asked for."""


@contextmanager
def served(folder):
    """The address of a server for this folder."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium():
    """Debian's Chromium, without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium on this machine: no page was opened (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that has been opened, and what went wrong while it was."""

    def __init__(self, browser, address, path):
        self.faults = []
        self.page = browser.new_page(viewport={"width": 1300, "height": 900})
        self.page.on(
            "console", lambda message: message.type == "error" and self.note("console", message.text)
        )
        self.page.on("pageerror", lambda error: self.note("error", error))
        self.page.on("requestfailed", lambda request: self.note("not loaded", request.url))
        self.page.on("response", self.look)
        self.page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:", "blob:"))
                or self.note("from another host", request.url)
            ),
        )
        self.page.goto(address + path, wait_until="load")
        self.page.evaluate(
            """async () => {
              await window.MathJax?.startup?.promise;
              for (const picture of document.images) picture.loading = "eager";
              await Promise.allSettled([...document.images].map(picture => picture.decode()));
            }"""
        )

    def note(self, kind, what):
        self.faults.append(f"{kind}: {what}")

    def look(self, response):
        if response.status >= 400:
            self.note(str(response.status), response.url)

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self.page.close()
