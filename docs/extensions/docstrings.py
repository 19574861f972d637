"""Docstrings of this library as reStructuredText: paragraphs, lists (by hyphen or indentation), `names`.

Nothing else in them is markup, so a star or an underscore is one, and no docstring can end the build.
"""

import re
from typing import Any

from sphinx.application import Sphinx

BETWEEN_BACKTICKS = re.compile(r"(`[^`]+`)")
FIELD = re.compile(r"\w[\w, ]*: ")


def escaped(text: str) -> str:
    """A paragraph with its names as code and everything else as it stands."""
    parts = BETWEEN_BACKTICKS.split(text)
    parts[::2] = [re.sub(r"([*|_\\`])", r"\\\1", part) for part in parts[::2]]
    parts[2::2] = [rf"\ {part}" if part[:1].isalnum() else part for part in parts[2::2]]
    return "".join(parts)


def items(block: list[str]) -> list[tuple[int, bool, str]]:
    """(indentation, whether it is an item of a list, text) of a block's parts, lines that go on joined.

    A line begins a part if it has a hyphen, if it stands less deep than the part before, if it is a field
    ("name: ...") as deep as that, or if it is the first field under a heading.
    """
    listed = any(line.startswith((" ", "- ")) for line in block)
    parts: list[tuple[int, bool, str]] = []
    for line in block:
        text = line.lstrip()
        depth = len(line) - len(text)
        hyphen = text.startswith("- ")
        inside, is_item, before = parts[-1] if parts else (0, False, "")
        field = FIELD.match(text) is not None
        begins = depth < inside or (field and depth == inside and listed)
        begins = begins or (field and depth > inside and not FIELD.match(before))
        goes_on = parts and not hyphen and not begins
        if goes_on:
            parts[-1] = (inside, is_item, f"{before} {text}")
        else:
            fields = listed and not any(other.startswith("- ") for other in block)
            parts.append((depth, hyphen or fields, text.removeprefix("- ")))
    return parts


def restructured(lines: list[str]) -> list[str]:
    """A docstring's lines as those of reStructuredText."""
    result: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        for depth, is_item, text in items(block.splitlines()):
            result += [f"{' ' * depth}{'- ' if is_item else ''}{escaped(text)}", ""]
    return result


def rewrite(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", rewrite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
