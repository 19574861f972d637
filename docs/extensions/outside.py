"""Links to what the book has not: a page elsewhere is downloaded, a folder named without a link."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r"(?<!!)\[([^\]\n\"]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def settle(app: Sphinx, page: str, source: list[str]) -> None:
    """Before a page is parsed (a notebook as its JSON text)."""
    folder = Path(app.env.doc2path(page)).parent

    def settled(match: re.Match[str]) -> str:
        words, target, _ = match.groups()
        path = folder / target
        if path.is_dir():
            return words
        if path.is_file() and path.suffix in (".md", ".ipynb"):
            if app.env.path2doc(path.resolve()) not in app.env.found_docs:
                return f"[{words}](path:{target})"
        return match[0]

    source[0] = LINK.sub(settled, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", settle)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
