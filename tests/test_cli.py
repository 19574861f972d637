"""The command line with arguments that are wrong: one line that says what, where and what to do, and
nothing is made."""

from importlib import import_module

import pytest

from kneel_lib.cli import carry_out, main, parse
from kneel_lib.paths import ROOT


@pytest.mark.parametrize(
    "line, message",
    [
        ("train wing --device foo", "'foo' is no device that can be used here"),
        ("train wing --device cuda:99", "'cuda:99' is no device"),
        ("train wing --seeds -1", "'-1' is not a whole number from 0"),
        ("train wing --seeds x", "'x' is not a whole number from 0"),
        ("train wing --folds", "expected at least one argument"),
        ("train wing --folds first", "'first' is not a whole number from 0"),
        ("test A --folds", "expected at least one argument"),
        ("run --at-once=-1", "'-1' is not a whole number from 0"),
        ("run --jobs 0", "'0' is not a whole number from 1"),
        ("predict a.dcm --side X", "invalid choice: 'X'"),
        ("predict a.dcm --jobs 0", "'0' is not a whole number from 1"),
        ("predict a.dcm --jobs two", "'two' is not a whole number from 1"),
        ("predict a.dcm --spacing wide", "invalid float value: 'wide'"),
        ("predict a.dcm --spacing=-0.15", "a pixel spacing of -0.15 mm: expected 0.02 to 1.0 mm"),
        ("predict a.dcm --spacing nan", "a pixel spacing of nan mm"),
        ("adapt folder via.csv --spacing 15", "a pixel spacing of 15 mm"),
        ("predict a.dcm --flip", "unrecognized arguments: --flip"),
        ("predict a.dcm --stages 1", "unrecognized arguments: --stages 1"),
        ("frobnicate", "invalid choice: 'frobnicate'"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_with_the_usage(line, message, store, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2 and message in capsys.readouterr().err and not store.exists()


def test_predict_asks_for_nothing_but_a_path():
    plain = parse(["predict", "folder"])
    assert (plain.spacing, plain.side, plain.jobs, plain.resume) == (None, "", -1, False)
    full = parse("predict folder --spacing 0.15 --side L --jobs 3 --resume".split())
    assert (full.spacing, full.side, full.jobs, full.resume) == (0.15, "L", 3, True)
    assert not (plain.via or plain.sr or plain.pdf)
    more = parse("predict folder --via --sr --pdf".split())
    assert more.via and more.sr and more.pdf
    assert parse(["predict", "folder", "--jobs", "-1"]).jobs == -1


WRONG = [
    ("train wings", "unknown setting 'wings': choose one of"),
    ("train wing --profile huge", "unknown profile 'huge'"),
    ("train wing --cohort mice", "unknown cohort 'mice'"),
    ("train mean_shape --profile smoke --cohort simulated --folds 7", "fold 7 does not exist"),
    ("train mean_shape --profile smoke --cohort simulated --engine abacus", "unknown engine 'abacus'"),
    ("train mean_shape --profile smoke --cohort simulated_halves", "ROI localisation is what they are for"),
    ("train roi --profile smoke --cohort simulated", "for ROI localisation give simulated_halves"),
    ("train search --profile smoke --cohort simulated", "the search is trained on pictures of its own"),
    ("run --engine abacus", "unknown engine 'abacus'"),
    ("run --parameter sed", "write name=value"),
    ("run --parameter profile=smoke", "parameter profile has an option of its own: --profile"),
    ("run --parameter seed=1 seed=2", "one of the parameters is given twice"),
    ("pretrain mean_shape --profile smoke --cohort simulated", "has no network"),
    ("record --profiles typo", "unknown profile 'typo'"),
    ("record --settings typo", "unknown setting 'typo'"),
    (
        "transfer best --profile smoke --source simulated --target simulated",
        "cannot be tried on the same ones",
    ),
    ("transfer best_tta --profile smoke --target A", "choose its recipe from scratch, best"),
    (
        "labels --profile smoke --cohort simulated --starts simulated --counts 4",
        "cannot be tried on the same ones",
    ),
    ("test C --profile smoke", "unknown test set 'C'"),
    ("test A --methods guess --profile smoke", "unknown pipeline 'guess'"),
    ("predict nothing_here", "is no file and no folder with files"),
]


def slow_if_drawn(case):
    """A line whose cohort is drawn first takes as long as a training."""
    drawn = " simulated" in case[0] or "--target A" in case[0]
    return pytest.param(*case, marks=pytest.mark.trains) if drawn else case


@pytest.mark.parametrize("line, message", [slow_if_drawn(case) for case in WRONG])
def test_what_is_unknown_or_does_not_belong_together_is_one_line(line, message, store, capsys):
    assert main(line.split()) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and message in said[0]


@pytest.mark.parametrize(
    "study, line, message",
    [("speed", "--profiles nope", "unknown profile 'nope'"), ("rerun", "no_such_row", "no_such_row")],
)
def test_a_study_says_what_is_wrong_in_one_line(study, line, message, store, capsys):
    assert import_module(f"studies.{study}.__main__").main(line.split()) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and message in said[0]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "studies").glob("*/__main__.py")), ids=lambda path: path.parent.name
)
def test_every_study_answers_through_the_command_lines_own_way(path):
    assert "return carry_out(" in path.read_text() and "sys.exit(main())" in path.read_text()


def test_what_is_given_twice_is_asked_once():
    assert parse("train wing wing --folds 0 0 1 --seeds 0 0".split()).folds == [0, 1]
    assert parse("train wing wing".split()).setting == ["wing"]


def test_several_paths_are_told_to_be_one_folder(tmp_path, capsys):
    assert main(["predict", "a.png", "b.png", "--output", str(tmp_path / "out")]) == 1
    assert (
        "2 paths were given, a.png and b.png among them: give one file, or the folder"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "line, again", [("predict folder", "the same command with --resume"), ("report", "the same command goes")]
)
def test_who_stops_a_command_is_told_how_to_go_on(line, again, capsys):
    def stopped(options):
        raise KeyboardInterrupt

    assert carry_out(parse(line.split()), stopped) == 130
    assert again in capsys.readouterr().err
