"""The library's pages: one for each room, made of its docstrings.

A page of docs/api/ has the line `<!-- modules of kneel_lib.data -->`, and gets a section for each module of
that package; `<!-- overview of kneel_lib.data -->` stands for a table of them.
"""

import importlib
import pkgutil
import re
from typing import Any

from sphinx.application import Sphinx

MARK = re.compile(r"<!-- (modules|overview) of (kneel_lib[\w.]*) -->")


def modules(package: str) -> list[str]:
    """Full names of the modules in a package, without its packages and its command line's entry."""
    path = importlib.import_module(package).__path__
    return [
        f"{package}.{found.name}"
        for found in pkgutil.iter_modules(path)
        if not found.ispkg and found.name != "__main__"
    ]


def expand(match: re.Match[str]) -> str:
    """The text that stands for a mark."""
    kind, package = match.groups()
    if kind == "overview":
        names = "\n".join(f"   {name}" for name in modules(package))
        return f"```{{eval-rst}}\n.. autosummary::\n\n{names}\n```"
    return "\n\n".join(
        f"## {name.rpartition('.')[2]}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```"
        for name in modules(package)
    )


def read_page(app: Sphinx, page: str, source: list[str]) -> None:
    if page.startswith("docs/api"):
        source[0] = MARK.sub(expand, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
