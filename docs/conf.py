"""The web book, as `make book` builds it: stored notebooks and pages, never executed, nothing fetched.

The whole repository is the book's source folder, so that the links between its files hold in the book as they
do in the repository.
"""

import os
import sys
import tomllib
from pathlib import Path

from sphinx.util import logging

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

project = "The KNEEL compendium"
author = "The KNEEL compendium developers"
copyright = "2019-%Y, its developers; MIT"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "extensions.api_pages",
    "extensions.citations",
    "extensions.docstrings",
    "extensions.glossary_links",
    "extensions.numbers",
    "extensions.outside",
]

# What is a page
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/api/*.md",
    "notebooks/*.ipynb",
    "notebooks/*.md",
    "course/README.md",
    "app/README.md",
    "results/README.md",
    "data/README.md",
    "kneel_lib/README.md",
    "kneel_lib/weights/MODEL_CARD.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build", "output", "runs", "data/downloads", "tests", "**/.ipynb_checkpoints"]

# Notebooks: as they are stored
nb_execution_mode = "off"
nb_merge_streams = True
# A page without a kernel shows the pictures beside the sliders, not the sliders.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_number_source_lines = False
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = True

# References and definitions
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"
bibtex_cite_id = "cite-{key}"

# The library's pages
autodoc_default_options = {"members": True, "member-order": "bysource", "no-value": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
add_module_names = False
default_role = "code"  # docstrings write names in single backticks

# The pages' looks
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
html_favicon = "static/knee.svg"
html_context = {"default_mode": "light"}
html_extra_path = ["first_page"]
html_show_sphinx = False
html_copy_source = True
html_sourcelink_suffix = ""
templates_path = ["templates"]
copybutton_selector = "div.cell_input div.highlight pre, div.highlight-default pre, div.highlight-bash pre"


def repository() -> str:
    """Where the compendium is published, for the links to Binder and Colab; "" if nobody has said so."""
    if "KNEEL_REPOSITORY" in os.environ:
        return os.environ["KNEEL_REPOSITORY"].rstrip("/")
    if "GITHUB_REPOSITORY" in os.environ:
        return (
            f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
        )
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    return urls.get("Repository", "").rstrip("/")


html_theme_options = {
    "use_download_button": True,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 1,
    "navbar_persistent": [],
    "navigation_with_keys": False,
    "pygments_light_style": "friendly",
}
if repository():
    html_theme_options |= {
        "repository_url": repository(),
        "repository_branch": os.environ.get("KNEEL_BRANCH", "main"),
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }
else:
    logging.getLogger(__name__).info(
        "No links to Binder and Colab: nobody has said where the compendium is published "
        "(KNEEL_REPOSITORY=https://github.com/OWNER/NAME make book)."
    )
