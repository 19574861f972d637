"""The first chapters as slides: `python docs/slides.py FOLDER` (`make slides`), by nbconvert and reveal.js.

A slide shows a section's heading, the first sentences of a text, its equations, tables and lists, code and
what it printed or drew. The texts are the speaker's notes (key S). What part a cell plays is its tag
(`slideshow.slide_type`, JupyterLab's property inspector); a cell without one gets that of `slide_type`, and
`python docs/slides.py --tag` writes these into the notebooks. Nothing is executed, nothing fetched.
"""

import argparse
import importlib.util
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets.config import Config

DOCS = Path(__file__).parent
CHAPTERS = "0[0-4]_*.ipynb"
HEADING = re.compile(r"^(?=#+ )", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.?!])\s")
ROOM = 260  # letters of a text that a slide has room for, beside its first sentence
LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"(!\[[^\]\n]*\])\(\.\./([^)\s]+)\)")
STANDS_ON_SLIDE = ("$$", "|", "- ", "* ", "1. ", "![")


def slide_type(cell: NotebookNode, before: NotebookNode | None = None) -> str:
    """The part that a cell plays: its own tag, or "slide" for a section, "subslide" for a text or for code
    right after a section, "-" for code after a text, and "skip" for code that shows nothing."""
    tag = cell.metadata.get("slideshow", {}).get("slide_type")
    if tag:
        return str(tag)
    if cell.cell_type == "markdown":
        return "slide" if re.search(r"^#+ ", cell.source, re.MULTILINE) else "subslide"
    if not cell.get("outputs"):
        return "skip"
    return "-" if before is not None and slide_type(before) == "subslide" else "subslide"


def point(text: str) -> str:
    """What a slide shows of a text: its heading, its first sentence or sentences, and what is not prose."""
    shown, prose = [], ""
    for block in text.strip().split("\n\n"):
        if block.startswith(("#", *STANDS_ON_SLIDE)):
            shown.append(block)
        elif not prose:
            prose, *more = SENTENCE.split(block)
            while more and len(prose) + len(more[0]) < ROOM:
                prose += " " + more.pop(0)
            shown.append(prose)
    return "\n\n".join(shown)


def with_links(text: str) -> str:
    """A text whose links lead from slides to slides, and whose pictures lie beside them (`copy_pictures`);
    what has no slides is named without a link."""

    def link(match: re.Match[str]) -> str:
        words, target = match.groups()
        if fnmatch(target, CHAPTERS):
            return f"[{words}]({Path(target).stem}.html)"
        return match[0] if "://" in target else words

    return LINK.sub(link, PICTURE.sub(r"\1(\2)", text))


def presented(notebook: NotebookNode) -> NotebookNode:
    """The notebook as a talk: every text split at its headings into a point and the speaker's notes."""
    cells: list[NotebookNode] = []
    before = None
    for cell in notebook.cells:
        part, before = slide_type(cell, before), cell
        if cell.cell_type != "markdown" or part in ("skip", "notes"):
            cell.metadata["slideshow"] = {"slide_type": part}
            cells.append(cell)
            continue
        for text in filter(str.strip, HEADING.split(with_links(cell.source))):
            shown = "slide" if text.startswith("#") else part if part != "slide" else "subslide"
            for kind, source in ((shown, point(text)), ("notes", text)):
                cells.append(new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}}))
    return NotebookNode(notebook, cells=cells)


def copy_pictures(notebook: NotebookNode, folder: Path) -> None:
    """Put the repository's pictures that the texts show beside the slides."""
    for cell in notebook.cells:
        for match in PICTURE.finditer(cell.source if cell.cell_type == "markdown" else ""):
            place = folder / match[2]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DOCS.parent / match[2], place)


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed: python -m pip install -r requirements-book.txt")
    return Path(spec.origin).parent


def write_slides(folder: Path) -> None:
    """A page of slides for each chapter, with the scripts and fonts that they load beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, place in (
        (package_folder("sphinx_revealjs") / "_static" / "revealjs" / "dist", "reveal/dist"),
        (
            package_folder("sphinx_revealjs") / "_static" / "revealjs" / "plugin" / "notes",
            "reveal/plugin/notes",
        ),
        (package_folder("sphinx-mathjax-offline") / "static" / "mathjax", "mathjax"),
    ):
        shutil.copytree(source, folder / place, dirs_exist_ok=True)
    shutil.copy(DOCS / "static" / "knee.svg", folder)
    exporter = SlidesExporter(
        template_name="kneel",
        extra_template_basedirs=[str(DOCS / "slides_template")],
        config=Config(SlidesExporter={"reveal_url_prefix": "reveal", "reveal_theme": "white"}),
    )
    for path in sorted((DOCS.parent / "notebooks").glob(CHAPTERS)):
        resources = {
            "metadata": {"name": path.stem},
            "slides_css": (DOCS / "static" / "slides.css").read_text(),
        }
        notebook = nbformat.read(path, as_version=4)
        copy_pictures(notebook, folder)
        page, _ = exporter.from_notebook_node(presented(notebook), resources)
        (folder / f"{path.stem}.html").write_text(page)
        print(folder / f"{path.stem}.html")


def write_tags() -> None:
    """Give each cell of the chapters that has no tag the one that it plays by default."""
    for path in sorted((DOCS.parent / "notebooks").glob(CHAPTERS)):
        notebook = nbformat.read(path, as_version=4)
        before = None
        for cell in notebook.cells:
            part, before = slide_type(cell, before), cell
            cell.metadata.setdefault("slideshow", {})["slide_type"] = part
        nbformat.write(notebook, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where the slides go")
    parser.add_argument(
        "--tag", action="store_true", help="write the default tags into the notebooks instead"
    )
    arguments = parser.parse_args()
    if arguments.tag:
        write_tags()
    elif arguments.folder:
        write_slides(arguments.folder)
    else:
        parser.error("give the folder that the slides go to, or --tag")
