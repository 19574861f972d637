"""The rooms of the library: imports go one way, as the contracts in pyproject.toml say
(`kneel_lib/README.md`)."""

from importlinter.cli import lint_imports

from kneel_lib import paths

LONGEST_MODULE = 350


def test_imports_go_one_way(capsys):
    broken = lint_imports(config_filename=str(paths.ROOT / "pyproject.toml"), no_cache=True)
    assert not broken, capsys.readouterr().out


def test_a_module_of_the_library_is_short_enough_to_be_read_in_one_go():
    long = {
        path.relative_to(paths.ROOT).as_posix(): lines
        for path in (paths.ROOT / "kneel_lib").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LONGEST_MODULE
    }
    assert not long
