"""The one error that is meant for the reader: a sentence that says what is wrong, where, and what to do."""

from collections.abc import Collection, Mapping
from typing import Any


class KneelError(Exception):
    """Bad input of any kind.
    Its text stands alone: command line and notebooks show it as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"error: {self}"]


def unforeseen(error: Exception) -> str:
    """What a message says of an error that is none of ours: its class, and how its text begins."""
    return f"{type(error).__name__}: {str(error)[:160]}"


def find(name: str, names: Collection[str], what: str) -> Any:
    """The entry of this name in a dict, the name itself of other `names`; else `KneelError` lists them."""
    if name not in names:
        raise KneelError(f"unknown {what} '{name}': choose one of {', '.join(names)}")
    return names[name] if isinstance(names, Mapping) else name
