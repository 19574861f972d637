"""What the book makes of plain words: links to sections, equations, definitions and references; and what
it refuses."""

import importlib
import re
import subprocess
import sys

import pytest

from kneel_lib import paths

pytestmark = pytest.mark.trains  # it trains nothing, but each small book takes seconds

CONF = """
import sys
sys.path.insert(0, {docs!r})
extensions = ["myst_parser", "sphinx.ext.mathjax"]
extensions += ["extensions.numbers", "extensions.glossary_links", "extensions.outside"]
exclude_patterns = ["labs"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "basic"
"""
GLOSSARY = """
# Words

:::{glossary}
region of interest
ROI
  A square of the picture.

soft-argmax
  A mean position.
:::
"""


@pytest.fixture
def docs(monkeypatch):
    """The folder of the book's own code, as Sphinx finds it."""
    monkeypatch.syspath_prepend(str(paths.ROOT / "docs"))
    return lambda name: importlib.import_module(name)


def small_book(folder, index, **pages):
    """(what the build said, {page: its text as HTML}) of a book of these pages."""
    pages = {"index": f"{index}\n\n```{{toctree}}\n:glob:\n\n*\n```\n", **pages}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    (folder / "conf.py").write_text(CONF.format(docs=str(paths.ROOT / "docs")))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(folder), str(folder / "html")]
    said = subprocess.run(command, capture_output=True, text=True)
    return said, {name: (folder / "html" / f"{name}.html").read_text() for name in pages}


def test_sections_and_equations_that_the_text_names_become_links(tmp_path):
    index = """# 01 · Title

## 1.1 First

$$a = b \\\\ c \\tag{1.1}$$

## 1.2 Second

As sections 1.1 and 1.2 say, equation 1.1 holds. The paper's section 4.3 says more. `section 1.1` is code.
"""
    said, made = small_book(tmp_path, index, other="# Other\n\nSee section 1.2.\n")
    assert said.returncode == 0, said.stderr
    links = re.findall(r'<a class="numbered[^"]*" href="([^"]+)">([\d.]+)</a>', made["index"])
    assert links == [("#first", "1.1"), ("#second", "1.2"), ("#equation-1-1", "1.1")]
    assert 'id="equation-1-1"' in made["index"] and r"\begin{split}" not in made["index"]
    assert 'href="index.html#second">1.2</a>' in made["other"]


def test_a_page_outside_of_the_book_is_downloaded_and_a_folder_is_words(tmp_path):
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "one.md").write_text("# One\n")
    said, made = small_book(
        tmp_path, "# Title\n\n[The labs](labs), [one](labs/one.md), [two](two.md).\n", two="# Two\n"
    )
    assert said.returncode == 0, said.stderr
    assert "<p>The labs, " in made["index"] and 'href="two.html"' in made["index"]
    assert re.search(
        r'<a class="[^"]*download[^"]*" download="" href="_downloads/\w+/one.md">', made["index"]
    )


@pytest.mark.parametrize("named", ["section 7.7", "equation 7.7"])
def test_a_number_that_nothing_has_ends_the_build(tmp_path, named):
    said, _ = small_book(tmp_path, f"# Title\n\n## 1.1 First\n\nAs {named} says.\n")
    assert said.returncode != 0 and f"the text names {named}, which is not there" in said.stderr


def test_two_sections_of_one_number_end_the_build(tmp_path):
    said, _ = small_book(tmp_path, "# Title\n\n## 1.1 First\n\n## 1.1 Second\n\nText.\n")
    assert said.returncode != 0 and "there are two sections 1.1" in said.stderr


def test_a_term_is_linked_where_a_page_uses_it_first_under_any_of_its_names(tmp_path):
    index = """# Of ROIs

`ROI` and *ROI* are no text. The Region of interest is one, the ROI another, ROIs too. Two soft-argmaxs. EROI.
"""
    said, made = small_book(tmp_path, index, glossary=GLOSSARY)
    assert said.returncode == 0, said.stderr
    links = re.findall(r'<a class="glossary-term[^"]*" href="([^"]+)">([^<]+)</a>', made["index"])
    assert links == [
        ("glossary.html#term-region-of-interest", "Region of interest"),
        ("glossary.html#term-soft-argmax", "soft-argmaxs"),
    ]
    assert "glossary-term" not in made["glossary"]


def test_links_to_the_references_become_citations(docs):
    source = [
        '"(see [A and B, 2018](../docs/references.bib#a2018)) '
        '([C, 2013](references.bib#c), [2015](references.bib#d))"'
    ]
    docs("extensions.citations").cite(None, "page", source)
    assert source == ['"(see {cite:t}`a2018`) {cite:p}`c,d`"']
    example = ["`([C, 2013](references.bib#c))`, `[C, 2013](references.bib#c)`"]
    docs("extensions.citations").cite(None, "page", example)
    assert "cite" not in example[0]
    notebook = ['[\n "text ([A, 2018](../docs/references.bib#a2018))\\n"\n]']
    docs("extensions.citations").cite(None, "page", notebook)
    assert notebook == ['[\n "text {cite:p}`a2018`\\n"\n]']


def test_docstrings_become_paragraphs_and_lists_and_keep_what_looks_like_markup(docs):
    lines = """A row; `names` and **stars.

What is seen
    one: the first, which
        goes on.
    two: the second_.
base: of `rows`s.

Before a list:
- first, which
  goes on
- second""".splitlines()
    assert docs("extensions.docstrings").restructured(lines) == [
        "A row; `names` and \\*\\*stars.",
        "",
        "- What is seen",
        "",
        "    - one: the first, which goes on.",
        "",
        "    - two: the second\\_.",
        "",
        "- base: of `rows`\\ s.",
        "",
        "Before a list:",
        "",
        "- first, which goes on",
        "",
        "- second",
        "",
    ]


def test_a_slide_shows_the_point_and_what_is_not_prose(docs):
    text = (
        "## 1.1 Title\n\nFirst sentence. "
        + "Second one is long. " * 30
        + "\n\n$$a$$\n\nMore prose.\n\n- a list"
    )
    point = docs("slides").point(text)
    assert point.startswith("## 1.1 Title\n\nFirst sentence. Second") and len(point) < 330
    assert "$$a$$" in point and "- a list" in point and "More prose" not in point
