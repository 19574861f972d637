"""Link a glossary's terms where a page uses them first."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

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
        if anchor in used:
            return None
        used.add(anchor)
        uri = f"{app.builder.get_relative_uri(page, where)}#{anchor}"
        return nodes.reference("", match[0], refuri=uri, internal=True, classes=["glossary-term"])

    words = pattern(list(found))
    for text in prose(tree):
        link_words(text, words, reference)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", link_terms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
