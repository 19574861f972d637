"""The answers to the exercises: every exercise has a hint and an answer, and every answer's snippet is
run."""

import ast
import re

import nbformat
import pytest

from kneel_lib import notebook_runner, paths

PAGE = (paths.ROOT / "docs" / "solutions.md").read_text()
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ANSWER = re.compile(r"^### Answer (\d\d-\d)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
ANSWERS = dict(ANSWER.findall(PAGE))
EXERCISE = re.compile(
    r"(?P<number>\d)\. \S.*[.?] <details><summary>Hint</summary>\S.*</details>"
    r" \[Answer\]\(\.\./docs/solutions\.md#answer-(?P<answer>\d\d-\d)\)"
)

SLOW = re.compile(r"held_out\(|recorded|Hourglass\(|torch\.optim")
"""What a snippet has that reads recorded runs, or builds or trains something: seconds, not hundredths."""

pytestmark = pytest.mark.xdist_group("solutions")  # the snippets share what is read of recorded runs


def snippet(answer):
    """The Python of an answer, which there is once."""
    [code] = CODE.findall(ANSWERS[answer])
    return code


@pytest.mark.parametrize("path", notebook_runner.notebook_paths(), ids=lambda path: path.stem)
def test_every_exercise_has_a_hint_and_leads_to_its_answer(path):
    cell = nbformat.read(path, as_version=4).cells[-1]
    listed = [line for line in cell.source.splitlines() if re.match(r"\d", line)]
    found = [EXERCISE.fullmatch(line) for line in listed]
    assert all(found), [line for line, match in zip(listed, found) if not match]
    chapter = path.stem[:2]
    assert [match["number"] for match in found] == [str(n + 1) for n in range(len(listed))]
    assert [match["answer"] for match in found] == [a for a in ANSWERS if a.startswith(chapter)]
    assert all(match["answer"] == f"{chapter}-{match['number']}" for match in found)
    assert len(found) >= 4


@pytest.fixture(scope="module")
def beginning():
    """The names that every snippet begins with."""
    names = {}
    exec(compile(CODE.search(PAGE)[1], "what every snippet begins with", "exec"), names)
    return names


def marked(answer):
    """The answer as a parameter, marked if its snippet is slow."""
    return pytest.param(answer, marks=[pytest.mark.trains] if SLOW.search(ANSWERS[answer]) else [])


@pytest.mark.parametrize("answer", [marked(answer) for answer in ANSWERS])
def test_an_answer_holds(answer, beginning, tmp_path):
    file = tmp_path / f"answer_{answer}.py"
    file.write_text(snippet(answer))
    tree = ast.parse(file.read_text())
    assert isinstance(tree.body[-1], ast.Assert), f"answer {answer} does not end in a check"
    exec(compile(tree, file, "exec"), dict(beginning))  # from a file, so that a failure shows its line


def test_a_changed_number_is_noticed(beginning):
    code = snippet("10-2").replace("== (41, 15)", "== (41, 16)")
    with pytest.raises(AssertionError):
        exec(compile(code, "answer 10-2", "exec"), dict(beginning))
