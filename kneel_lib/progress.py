"""Progress of long work: a bar in a terminal, a plain line now and then elsewhere (papermill, a log file)."""

import sys

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 20


class Progress(tqdm):
    """Counts epochs (or knees, ...) to `total`, starting at `done`, with rate and time left."""

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "epoch") -> None:
        bar = sys.stdout.isatty()
        seconds = 0.1 if bar else SECONDS_BETWEEN_LINES
        shown = {"file": sys.stdout, "leave": bar, "mininterval": seconds, "miniters": 1}
        super().__init__(total=total, initial=done, desc=what, unit=unit, **shown)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar again; where that cannot be, a line of its own, the last one when it is closed."""
        if self.leave:
            super().display(msg, pos)
        elif self.n:
            print(self, flush=True)

    def advance(self, done: int, note: str = "") -> None:
        """Say that `done` of the total are done."""
        self.set_postfix_str(note, refresh=False)
        self.update(done - self.n)
