"""The command line of the registration study with arguments that are wrong: one line that says what, and
nothing is made."""

import pytest

from studies.registration.__main__ import main


@pytest.mark.parametrize(
    "line, message",
    [("--jobs 0", "'0' is not a whole number from 1"), ("--knees=-3", "'-3' is not a whole number from 1")],
)
def test_arguments_of_the_wrong_kind_are_refused_with_the_usage(line, message, store, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2 and message in capsys.readouterr().err and not store.exists()


def test_a_cohort_that_cannot_be_registered_is_one_line(store, capsys):
    assert main("--cohort simulated_halves --knees 10".split()) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and "cannot be registered" in said[0]
