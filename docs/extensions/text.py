"""Find words in a page's running text, and put links in their place."""

import re
from collections.abc import Callable, Iterator

from docutils import nodes
from sphinx import addnodes

NOT_PROSE = (
    nodes.reference,
    nodes.emphasis,
    nodes.literal,
    nodes.literal_block,
    nodes.title,
    nodes.rubric,
    nodes.raw,
    nodes.math,
    nodes.math_block,
    nodes.citation,
    addnodes.toctree,
    addnodes.compact_paragraph,
    addnodes.download_reference,
    addnodes.pending_xref,
    addnodes.desc,
    addnodes.glossary,
)


def prose(tree: nodes.Node) -> Iterator[nodes.Text]:
    """The pieces of running text: what stands in headings, code, formulas, links and italics is left out."""
    for text in list(tree.findall(nodes.Text)):
        node = text.parent
        while node is not None and not isinstance(node, NOT_PROSE):
            node = node.parent
        if node is None:
            yield text


def link_words(
    text: nodes.Text, words: re.Pattern[str], link: Callable[[re.Match[str]], nodes.Node | None]
) -> None:
    """Replace each match in a piece of text by what `link` makes of it; None leaves it as it is."""
    pieces: list[nodes.Node] = []
    plain, end = text.astext(), 0
    for match in words.finditer(plain):
        node = link(match)
        if node is not None:
            pieces += [nodes.Text(plain[end : match.start()]), node]
            end = match.end()
    if pieces:
        text.parent.replace(text, [*pieces, nodes.Text(plain[end:])])
