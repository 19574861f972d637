"""Numbered sections and equations: "section 4.6" and "equation 3.1" in the text become links.

Headings carry their numbers themselves (`## 4.6 ...`), equations by LaTeX's `\\tag{3.1}`, so that they read
the same in Jupyter. The paper's own are written "the paper's section 4.1", and its equations have no dot.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from extensions.text import link_words, prose

HEADING = re.compile(r"(\d+\.\d+) ")
TAG = re.compile(r"\\tag\{(\d+\.\d+)\}")
PASSAGE = re.compile(
    r"(?<!paper['’]s )\b(section|equation)s? \d+\.\d+(?:(?:,| and| to) \d+\.\d+)*(?! of the paper)",
    re.IGNORECASE,
)
NUMBER = re.compile(r"\d+\.\d+")

log = logging.getLogger(__name__)
Places = dict[tuple[str, str], tuple[str, str]]


def places(env: BuildEnvironment) -> Places:
    """{("section" or "equation", its number): (page, anchor)} of all pages read."""
    if not hasattr(env, "numbered_places"):
        env.numbered_places = {}  # type: ignore[attr-defined]
    return env.numbered_places  # type: ignore[attr-defined]


def note_numbers(app: Sphinx, tree: nodes.document) -> None:
    """Remember where each numbered section and equation of a page stands; two of one number are a warning."""
    found = []
    for section in tree.findall(nodes.section):
        if match := HEADING.match(section[0].astext()):
            found.append(("section", match[1], section))
    for block in tree.findall(nodes.math_block):
        for number in TAG.findall(block.astext()):
            block["ids"].append(f"equation-{number.replace('.', '-')}")
            # else Sphinx would put one with a line break into an environment that takes no tag
            block["no-wrap"], block[:] = True, [nodes.Text(rf"\[{block.astext()}\]")]
            found.append(("equation", number, block))
    for kind, number, node in found:
        if (kind, number) in places(app.env):
            log.warning("there are two %ss %s", kind, number, location=node)
        places(app.env)[kind, number] = (app.env.docname, node["ids"][-1 if kind == "equation" else 0])


def forget_page(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    """Before a page is read anew."""
    for key in [key for key, (where, _) in places(env).items() if where == page]:
        del places(env)[key]


def link_numbers(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link what the page's text names by number; a number that nothing has is a warning."""

    def reference(kind: str, number: str) -> nodes.Node:
        where = places(app.env).get((kind, number))
        if where is None:
            log.warning("the text names %s %s, which is not there", kind, number, location=page)
            return nodes.Text(number)
        uri = f"{app.builder.get_relative_uri(page, where[0])}#{where[1]}"
        return nodes.reference("", number, refuri=uri, internal=True, classes=["numbered"])

    def passage(match: re.Match[str]) -> nodes.Node:
        text = nodes.Text(match[0])
        whole = nodes.inline("", "", text)
        link_words(text, NUMBER, lambda number: reference(match[1].lower(), number[0]))
        return whole

    if page.startswith("docs/api"):  # docstrings speak of the paper's sections
        return
    for text in prose(tree):
        link_words(text, PASSAGE, passage)


def merge(app: Sphinx, env: BuildEnvironment, pages: set[str], other: BuildEnvironment) -> None:
    """What another reading process has noted."""
    places(env).update({key: where for key, where in places(other).items() if where[0] in pages})


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("env-purge-doc", forget_page)
    app.connect("doctree-read", note_numbers)
    app.connect("env-merge-info", merge)
    app.connect("doctree-resolved", link_numbers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
