"""The one error that is meant for the reader: a sentence that says what is wrong, where, and what to do."""


class KneelError(Exception):
    """Bad input of any kind. Its text stands alone: command line and notebooks show it as one line, without a traceback."""

    def _render_traceback_(self):
        """What IPython shows in place of a traceback."""
        return [f"error: {self}"]
