"""Progress of long work: a bar in a terminal, a plain line now and then elsewhere (papermill, a log file)."""

import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 20


class Progress:
    """Counts epochs (or knees, ...) to `total`, starting at `done`, with rate and time left."""

    def __init__(self, what, total, done=0, unit="epoch"):
        self.what, self.total, self.first, self.unit = what, total, done, unit
        self.started = self.said = time.monotonic()
        self.bar = tqdm(total=total, initial=done, desc=what, unit=unit) if sys.stderr.isatty() else None
        if done and not self.bar:
            print(f"{what}: goes on after {unit} {done} of {total}", flush=True)

    def advance(self, done, note=""):
        """Say that `done` of the total are done."""
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
            return
        now = time.monotonic()
        if now - self.said >= SECONDS_BETWEEN_LINES or done == self.total:
            rate = (now - self.started) / max(done - self.first, 1)
            note = f"{note}, " if note else ""
            left = rate * (self.total - done)
            print(f"{self.what}: {self.unit} {done}/{self.total}, {note}{rate:.1f} s each, {left / 60:.1f} min left", flush=True)
            self.said = now

    def close(self):
        if self.bar is not None:
            self.bar.close()
