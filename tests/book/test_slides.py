"""`make slides`: what a slide shows of a text, and the pages in a browser."""

import json
import re

import nbformat
import pytest
from browsing import Visit, chromium, make, served

from kneel_lib import paths

pytestmark = pytest.mark.trains(long=True)  # it trains nothing, but takes half a minute
CHAPTERS = sorted(path.stem for path in paths.NOTEBOOKS.glob("0[0-4]_*.ipynb"))


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    made = make("slides", f"SLIDES={folder}")
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_is_shown_section_by_section_with_its_texts_as_notes(slides, chapter):
    page = (slides / f"{chapter}.html").read_text()
    cells = nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert len(re.findall(r"<section", page)) > len(re.findall(r"^#+ ", prose, flags=re.MULTILINE))
    shown = re.sub(r'<aside class="notes">.*?</aside>', "", page, flags=re.DOTALL)
    for heading in re.findall(r"^## (\d+\.\d+)", prose, flags=re.MULTILINE):
        assert heading in shown
    pictures = sum(
        "image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ())
    )
    assert shown.count("data:image/png") >= pictures
    for link in re.findall(r'<a href="([^"#]+)"', page):
        assert "://" in link or (slides / link).is_file(), link
    assert page.count('<aside class="notes">') >= 5 and len(shown) < len(page)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_cell_has_its_part_in_the_slides(chapter):
    cells = nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells
    without = [
        place for place, cell in enumerate(cells) if not cell.metadata.get("slideshow", {}).get("slide_type")
    ]
    assert not without, f"{chapter}, cells {without}: run python docs/slides.py --tag"


FAULTS = """
() => [
  ...[...document.querySelectorAll("img")]
    .filter(p => p.complete && !p.naturalWidth).map(p => "picture " + p.alt),
  ...[...document.querySelectorAll("mjx-merror")].map(formula => "formula " + formula.innerText),
]
"""


def test_the_slides_open_in_a_browser_and_can_be_walked_through(slides):
    faults = {}
    with chromium() as browser, served(slides) as address:
        for chapter in CHAPTERS:
            with Visit(browser, address, f"{chapter}.html") as visited:
                count = visited.page.evaluate("Reveal.getTotalSlides()")
                for _ in range(count):
                    visited.page.keyboard.press("Space")
                last = visited.page.evaluate("Reveal.isLastSlide()")
                found = visited.faults + visited.page.evaluate(FAULTS)
            if found or count < 10 or not last:
                faults[chapter] = [count, last, found]
    assert not faults, json.dumps(faults, indent=1)
