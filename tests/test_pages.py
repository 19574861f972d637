"""The pages: what they link to is there, the README's first screen stays one, and the intervals over
trainings
that they quote are those of the recorded runs."""

import json
import re

import pandas as pd
import pytest

from kneel_lib import cli, paths

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

NUMBER = r"([-+]?\d+\.\d+)"
QUOTED = re.compile(
    rf"over (?:the )?(?:five |two )?trainings (?:from )?{NUMBER} to {NUMBER}"
    rf"|{NUMBER} to {NUMBER} over (?:the )?(?:five |two )?trainings"
)
TABLES = ("comparisons", "ablations", "comparisons_unlike", "label_comparisons")


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


COMMAND = re.compile(r"python -m kneel_lib ([a-z][\w ./*-]*)")
UNSAID = {"train", "labels", "transfer", "adapt", "sweep", "pretrain", "predict"}
"""Commands that a sentence names without what they need."""


def test_every_command_that_a_page_shows_can_be_given():
    said = {
        command.strip()
        for page in PAGES
        for command in COMMAND.findall(page.read_text() if page.suffix == ".md" else text_of(page))
    }
    given = sorted(command for command in said if command not in UNSAID)
    assert len(given) > 20 and any("pretrain" in command for command in given)
    for command in given:
        cli.parse(command.replace("--device cuda", "--device meta").split())  # there may be no GPU here


def test_the_first_screen_has_the_picture_the_commands_and_where_to_read():
    screen = "\n".join((paths.ROOT / "README.md").read_text().splitlines()[:46])
    for wanted in ("recorded_cumulative.png", "make run", "make test", "00_start_here", "kneel_lib predict"):
        assert wanted in screen, wanted


def quoted():
    """(page, [low, high] as they are written) of every interval over trainings."""
    return [
        (page.name, [number for number in match.groups() if number])
        for page in PAGES
        for match in QUOTED.finditer(text_of(page))
    ]


@pytest.fixture(scope="module")
def intervals():
    """The intervals (low, high) of the tables, each in both directions."""
    tables = [pd.read_csv(paths.RESULTS / f"{name}.csv", comment="#") for name in TABLES]
    table = pd.concat(tables).query("quantity == 'mre_mm'")[["low_trainings", "high_trainings"]]
    known = table.dropna().to_numpy()
    return [*known.tolist(), *(-known[:, ::-1]).tolist()]


@pytest.mark.parametrize("page, interval", quoted(), ids=str)
def test_an_interval_over_trainings_is_of_recorded_runs(page, interval, intervals):
    half_a_digit = 0.51 * 10.0 ** -len(interval[0].split(".")[1])
    low, high = map(float, interval)
    assert any(abs(low - a) <= half_a_digit and abs(high - b) <= half_a_digit for a, b in intervals), page
