"""The rooms of the library: imports go one way, as the contracts in pyproject.toml say (`kneel_lib/README.md`)."""

from importlinter.cli import lint_imports

from kneel_lib import paths


def test_imports_go_one_way(capsys):
    broken = lint_imports(config_filename=str(paths.ROOT / "pyproject.toml"), no_cache=True)
    assert not broken, capsys.readouterr().out
