"""The book as a reader opens it: what `make book` writes, without and with a browser."""

import json
import posixpath
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from browsing import Visit, chromium, make, served

from kneel_lib import notebook_runner, paths

pytestmark = pytest.mark.trains(long=True)  # it trains nothing, but takes a minute or two
REPOSITORY = "https://github.com/example/kneel"
CHAPTERS = [path.stem for path in notebook_runner.notebook_paths()]


class Page(HTMLParser):
    """A page's anchors, and what it links to."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.classes = set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.update(filter(None, (found.get("id"), found.get("name"))))
        self.classes += (found.get("class") or "").split()
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the book."""
    folder = tmp_path_factory.mktemp("book") / "book"
    made = make("book", f"BOOK={folder}", KNEEL_REPOSITORY=REPOSITORY, KNEEL_BRANCH="main")
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(book):
    """{path in the book: page}, of those that a reader comes to."""
    return {
        str(path.relative_to(book)): Page(path)
        for path in sorted(book.rglob("*.html"))
        if "_static" not in path.parts
    }


def texts(pages):
    """Those of the pages that are made of a notebook or of a page of the repository."""
    return [
        name for name in pages if name.startswith(("docs/", "notebooks/", "results/", "data/", "kneel_lib/"))
    ]


def test_it_has_a_page_for_every_chapter_and_for_what_is_beside_them(pages):
    assert {f"notebooks/{chapter}.html" for chapter in CHAPTERS} <= pages.keys()
    for name in (
        "index",
        "docs/index",
        "docs/glossary",
        "docs/references",
        "docs/limits",
        "docs/commands",
        "results/README",
        "data/README",
        "kneel_lib/README",
        "notebooks/paper_vs_code",
        "search",
    ):
        assert f"{name}.html" in pages
    assert len(texts(pages)) >= 13


def test_links_inside_the_book_hold(book, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
            target = name if not parts.path else target
            if not (book / target).is_file():
                broken.append(f"{name}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                broken.append(f"{name}: {link} (no such anchor)")
    assert not broken, "\n".join(broken)


def test_nothing_was_executed_and_each_chapter_can_be_downloaded_as_it_is_stored(book, pages):
    for chapter in CHAPTERS:
        kept = book / "_sources" / "notebooks" / f"{chapter}.ipynb"
        assert kept.read_bytes() == (paths.NOTEBOOKS / f"{chapter}.ipynb").read_bytes()
        assert f"../_sources/notebooks/{chapter}.ipynb" in pages[f"notebooks/{chapter}.html"].links
    assert "../_sources/docs/glossary.md" in pages["docs/glossary.html"].links


def test_each_chapter_opens_on_binder_and_on_colab(pages):
    owner_and_name = REPOSITORY.removeprefix("https://github.com/")
    for chapter in CHAPTERS:
        links = pages[f"notebooks/{chapter}.html"].links
        file = f"notebooks/{chapter}.ipynb"
        assert f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{file}" in links
        (binder,) = (link for link in links if link.startswith("https://mybinder.org/"))
        assert binder == f"https://mybinder.org/v2/gh/{owner_and_name}/main?urlpath=lab/tree/{file}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_sections_are_numbered_one_after_the_other_and_equations_by_the_chapter(chapter):
    cells = json.loads((paths.NOTEBOOKS / f"{chapter}.ipynb").read_text())["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    number = int(chapter[:2])
    sections = re.findall(r"^## (\d+\.\d+) ", text, flags=re.MULTILINE)
    assert sections == [f"{number}.{place}" for place in range(1, len(sections) + 1)] and len(sections) >= 5
    blocks = re.findall(r"\$\$(.+?)\$\$", text, flags=re.DOTALL)
    tags = re.findall(r"\\tag\{(.+?)\}", text)
    assert tags == [f"{number}.{place}" for place in range(1, len(blocks) + 1)], (
        "a formula without its number"
    )


def test_the_text_cites_every_equation(pages):
    cited = {link.partition("#")[2] for page in pages.values() for link in page.links if "#equation-" in link}
    there = {name for page in pages.values() for name in page.ids if name.startswith("equation-")}
    assert there and there == cited


def test_glossary_and_bibliography_are_linked(book, pages):
    keys = set(
        re.findall(r"^@\w+\{(\w+),", (paths.ROOT / "docs" / "references.bib").read_text(), flags=re.MULTILINE)
    )
    assert {f"cite-{key}" for key in keys} <= pages["docs/references.html"].ids and len(keys) >= 25
    for chapter in CHAPTERS:
        page = pages[f"notebooks/{chapter}.html"]
        terms = [link for link in page.links if "glossary.html#term-" in link]
        assert len(terms) >= 5 and len(terms) == len(set(terms)), "a term is linked where it first occurs"
    citing = [name for name, page in pages.items() if any("#cite-" in link for link in page.links)]
    assert len(set(citing) & {f"notebooks/{chapter}.html" for chapter in CHAPTERS}) >= 8


def test_every_module_of_the_library_has_its_place(pages):
    anchors = {name for page in pages.values() for name in page.ids if name.startswith("module-")}
    modules = {
        ".".join(path.relative_to(paths.ROOT).with_suffix("").parts)
        for path in (paths.ROOT / "kneel_lib").rglob("*.py")
        if not path.stem.startswith("__")
    }
    assert {f"module-{name}" for name in modules} == anchors


FAULTS = """
() => {
  const faults = [];
  for (const picture of document.querySelectorAll("img"))
    if (!picture.complete || !picture.naturalWidth) faults.push("broken picture: " + picture.src);
  const formulas = document.querySelectorAll(".math").length;
  const drawn = document.querySelectorAll(".math mjx-container").length;
  if (drawn < formulas) faults.push(`${formulas - drawn} of ${formulas} formulas are not drawn`);
  for (const formula of document.querySelectorAll("mjx-merror, mjx-container [data-mjx-error]"))
    faults.push("formula: " + formula.innerText);
  for (const code of document.querySelectorAll("div.highlight pre"))
    if (code.scrollWidth > code.clientWidth) faults.push("too wide: " + code.innerText.slice(0, 80));
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) faults.push("the page is wider than the window");
  return faults;
}
"""


def test_every_page_opens_in_a_browser(book, pages, browser):
    """No error on the console, nothing from elsewhere, formulas drawn, pictures there, code within its
    box."""
    faults = {}
    with served(book) as address:
        for name in pages.keys() - {"index.html"}:  # which only leads to the first page
            with Visit(browser, address, name) as visited:
                if found := visited.faults + visited.page.evaluate(FAULTS):
                    faults[name] = found
    assert not faults, json.dumps(faults, indent=1)


def test_the_search_finds_the_wing_loss(book, browser):
    with served(book) as address, Visit(browser, address, "search.html?q=wing+loss") as visited:
        visited.page.wait_for_selector("#search-results ul.search li")
        found = visited.page.eval_on_selector_all(
            "#search-results a", "links => links.map(link => link.getAttribute('href'))"
        )
    assert any("04_losses" in link for link in found), found


def test_the_first_page_is_light(book, browser):
    """With all that it loads, as files; a server that packs them sends a third."""
    sizes = {}
    with served(book) as address, browser.new_context() as fresh:
        page = fresh.new_page()
        page.on("response", lambda answer: sizes.update({answer.url: int(answer.headers["content-length"])}))
        page.goto(address + "index.html")
        page.wait_for_url("**/docs/index.html", wait_until="networkidle")
    assert 50_000 < sum(sizes.values()) < 1_000_000, sizes
