"""Folders that a user names by a variable: what can be none is one line that names the variable."""

import pytest

from kneel_lib import paths
from kneel_lib.errors import KneelError

FOLDERS = {
    "KNEEL_DATA": paths.downloads,
    "KNEEL_RUNS": paths.runs,
    "KNEEL_CACHE": paths.cache,
    "KNEEL_OUTPUT": lambda: paths.output("crops", "quick"),
}


@pytest.mark.parametrize("variable", FOLDERS)
@pytest.mark.parametrize("kind", ["loop", "in a loop", "unknown user", "too long"])
def test_a_folder_that_can_be_none_is_one_line(variable, kind, tmp_path, monkeypatch):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    given = {
        "loop": loop,
        "in a loop": loop / "x",
        "unknown user": "~nobody9/x",
        "too long": "/x" + "y" * 300,
    }[kind]
    monkeypatch.setenv(variable, str(given))
    with pytest.raises(KneelError, match=f"^{variable} is '.*set it to another one$") as caught:
        FOLDERS[variable]()
    assert "\n" not in str(caught.value)
