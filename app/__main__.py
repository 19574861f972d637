"""`python -m app [VOILA'S OPTIONS]`: serve page.ipynb to this machine's browser, by Voila."""

import os
import sys
from typing import Any

from traitlets.config import Config
from voila.app import Voila

from kneel_lib import paths

ROOM = paths.ROOT / "app"
SETTINGS: dict[str, dict[str, Any]] = {
    "Voila": {
        "ip": "127.0.0.1",
        "auto_token": True,  # who shares this machine does not know the address
        "mathjax_url": "/",  # the page has no formula: nothing is fetched to typeset one
        "tornado_settings": {"allow_remote_access": False},  # nor does a page that calls itself 127.0.0.1
    },
    "VoilaConfiguration": {
        "template": "kneel",
        "theme": "light",
        "extension_allowlist": [
            "anywidget",
            "@jupyter-widgets/jupyterlab-manager",
            "@voila-dashboards/widgets-manager8",
        ],
        "file_allowlist": [],
    },
    "ZMQChannelsWebsocketConnection": {"limit_rate": False},  # a file to save is many bytes at once
}


def main(arguments: list[str]) -> None:
    """Serve the page until it is stopped."""
    os.environ["JUPYTER_PATH"] = search_path(ROOM / "share", os.environ.get("JUPYTER_PATH"))
    os.environ["PYTHONPATH"] = search_path(paths.ROOT, os.environ.get("PYTHONPATH"))  # for the kernel
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment and no other
    Voila.launch_instance([str(ROOM / "page.ipynb"), *arguments], config=Config(SETTINGS))


def search_path(folder: object, known: str | None) -> str:
    """A folder before those that are known."""
    return os.pathsep.join([str(folder), *([known] if known else [])])


if __name__ == "__main__":
    main(sys.argv[1:])
