"""Link a glossary's terms where a page uses them first."""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from extensions.text import link_words, prose


def pattern(terms: list[str]) -> re.Pattern[str]:
    """Any of the terms as a whole word, the longest first; ordinary words in any case; plurals, too."""
    parts = [
        rf"{re.escape(term)}s?"
        if any(letter.isupper() for letter in term[1:])
        else rf"(?i:{re.escape(term)}s?)"
        for term in sorted(terms, key=len, reverse=True)
    ]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(parts)})(?![\w-])")


def definitions(env: BuildEnvironment) -> dict[str, str]:
    """{a term's anchor: the anchor of the first term with the same definition}."""
    if not hasattr(env, "glossary_definitions"):
        env.glossary_definitions = {}  # type: ignore[attr-defined]
    return env.glossary_definitions  # type: ignore[attr-defined]


def note_definitions(app: Sphinx, tree: nodes.document) -> None:
    """Remember which terms of a glossary are names of one thing."""
    for glossary in tree.findall(addnodes.glossary):
        for entry in glossary.findall(nodes.definition_list_item):
            anchors = [anchor for term in entry.findall(nodes.term) for anchor in term["ids"]]
            definitions(app.env).update(dict.fromkeys(anchors, anchors[0]))


def merge(app: Sphinx, env: BuildEnvironment, pages: set[str], other: BuildEnvironment) -> None:
    """What another reading process has noted."""
    definitions(env).update(definitions(other))


def link_terms(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link the first use of each definition on a page, under whichever of its names."""
    found = {
        name: where
        for (kind, name), where in app.env.domains.standard_domain.objects.items()
        if kind == "term" and where[0] != page
    }
    if not found or page.startswith("docs/api"):
        return
    by_lower = {name.lower(): where for name, where in found.items()}
    used: set[str] = set()

    def reference(match: re.Match[str]) -> nodes.Node | None:
        word = match[0].lower()
        where, anchor = by_lower.get(word) or by_lower[word.removesuffix("s")]
        definition = definitions(app.env)[anchor]
        if definition in used:
            return None
        used.add(definition)
        uri = f"{app.builder.get_relative_uri(page, where)}#{anchor}"
        return nodes.reference("", match[0], refuri=uri, internal=True, classes=["glossary-term"])

    words = pattern(list(found))
    for text in prose(tree):
        link_words(text, words, reference)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", note_definitions)
    app.connect("env-merge-info", merge)
    app.connect("doctree-resolved", link_terms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
