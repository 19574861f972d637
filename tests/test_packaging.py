"""What is imported is listed: in pyproject.toml, and pinned in the files that the Makefile installs."""

import ast
import re
import sys
import tomllib

import pytest

from kneel_lib import paths

DISTRIBUTION = {
    "annotated_types": "annotated-types",
    "cosmic_ray": "cosmic-ray",
    "cv2": "opencv-python-headless",
    "distributed": "dask",
    "gdcm": "python-gdcm",
    "importlinter": "import-linter",
    "IPython": "ipython",
    "PIL": "pillow",
    "matplotlib_inline": "matplotlib-inline",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Names on the package index where they differ from those that are imported."""

OWN = {
    "kneel_lib",
    "studies",
    "course",
    "app",
    "browsing",
    "extensions",
    "conftest",
    "dicom_writer",
    "film",
    "hostile_files",
    "wrong_answers",
}
FILES = (
    "requirements.txt",
    "requirements-nodeps.txt",
    "requirements-test.txt",
    "requirements-heatmap.txt",
    "requirements-course.txt",
    "requirements-app.txt",
    "requirements-book.txt",
)
PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]


def imported(folder):
    """The distributions that the modules under a folder import, anywhere in them, or ask `workers.need`
    for."""
    names = set()
    for path in sorted((paths.ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("need", "import_module"):
                names.update(
                    argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)
                )
    tops = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - OWN
    return {DISTRIBUTION.get(name, name) for name in tops}


def listed(lines):
    """{distribution: its pin} of lines like those of a requirements file."""
    rows = (re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?([=<>!~]\S+)?", line) for line in lines)
    return {row[1].lower().replace("_", "-"): row[2] for row in rows if row}


def required(file):
    return listed((paths.ROOT / file).read_text().splitlines())


EXTRAS = {name: listed(lines) for name, lines in PROJECT["optional-dependencies"].items()}
PLAIN = listed(PROJECT["dependencies"])


@pytest.mark.parametrize("folder", ["kneel_lib", "studies", "course", "app", "docs", "tests"])
def test_pyproject_lists_all_that_is_imported(folder):
    extras = {name for extra, rows in EXTRAS.items() if folder == "tests" or extra != "test" for name in rows}
    assert imported(folder) <= PLAIN.keys() | extras


def test_every_listed_extra_beside_the_tests_has_somebody_who_imports_it():
    asked = set().union(*map(imported, ("kneel_lib", "studies", "course", "app", "docs")))
    for extra, rows in EXTRAS.items():
        assert extra == "test" or asked & rows.keys(), f"nothing imports the extra [{extra}]"


def test_the_versions_that_were_tried_are_those_that_pyproject_asks_for():
    tried = {name: pin for file in FILES for name, pin in required(file).items()}
    for name, pin in {
        **PLAIN,
        **{name: pin for rows in EXTRAS.values() for name, pin in rows.items()},
    }.items():
        if name in tried and pin.startswith("=="):
            assert tried[name] == pin, name
    assert PLAIN.keys() <= required("requirements.txt").keys()
    assert EXTRAS["test"].keys() <= required("requirements-test.txt").keys()


def test_what_the_study_does_not_run_comes_with_the_tests_alone():
    small = required("requirements.txt").keys() | required("requirements-nodeps.txt").keys()
    assert not small & {"ray", "dask", "pytest", "ruff", "mypy", "nbgrader"}
    assert {"ray", "dask"} <= required("requirements-test.txt").keys()
    assert "-r requirements.txt" in (paths.ROOT / "environment.yml").read_text()
