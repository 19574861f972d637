"""Citations: a link to an entry of `references.bib` becomes a citation of the book's bibliography.

`([Feng and others, 2018](../docs/references.bib#feng2018))` reads as an ordinary link in Jupyter;
the book writes "[Feng et al., 2018]" and links to the entry. Without the outer brackets it writes "Feng
et al. [2018]". Two in one pair of brackets are parted by a comma. One in backticks stays as it is.
"""

import re
from typing import Any

from sphinx.application import Sphinx

LINK = r"\[[^\]\n\"]*\]\((?:\.\./)*(?:docs/)?references\.bib#(\w+)\)"
IN_BRACKETS = re.compile(rf"(?<!`)\({LINK}(?:, {LINK})?\)")
IN_THE_TEXT = re.compile(rf"(?<!`)(?<!`\(){LINK}")


def cite(app: Sphinx, page: str, source: list[str]) -> None:
    """Before a page is parsed (a notebook as its JSON text)."""
    text = IN_BRACKETS.sub(lambda match: f"{{cite:p}}`{','.join(filter(None, match.groups()))}`", source[0])
    source[0] = IN_THE_TEXT.sub(r"{cite:t}`\1`", text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", cite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
