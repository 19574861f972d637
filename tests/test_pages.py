"""The pages: what they link to is there, and the README's first screen stays one."""

import json
import re

import pytest

from kneel_lib import paths

LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "data/*.md",
        "results/*.md",
        "kneel_lib/**/*.md",
        "course/*.md",
        "notebooks/*",
    )
    for path in paths.ROOT.glob(pattern)
    if path.suffix in (".md", ".ipynb")
)


def text_of(path):
    """A page's markdown, without what stands in fences."""
    if path.suffix == ".md":
        text = path.read_text()
    else:
        cells = json.loads(path.read_text())["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """The names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.*)$", text_of(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_links_inside_the_project_hold(page):
    for link in LINK.findall(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(paths.ROOT) and target.exists(), f"{page.name} links to {link}"
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), f"{page.name}: #{anchor}"


def test_the_first_screen_has_the_picture_the_commands_and_where_to_read():
    screen = "\n".join((paths.ROOT / "README.md").read_text().splitlines()[:46])
    for wanted in ("recorded_cumulative.png", "make run", "make test", "00_start_here", "kneel_lib predict"):
        assert wanted in screen, wanted
