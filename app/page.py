"""The page: what is where, and what follows when a person does something. `Page().show()` is all that the
notebook says."""

import atexit
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from app import words
from app.downloads import FORMATS, download
from app.knee_panel import KneePanel
from app.opened import Opened, open_file, ready_networks
from app.uploads import Inbox
from app.widgets import FRONT, DropZone, Message, Saved, say, text
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.predict import Networks


class Page:
    """One page in one browser; the networks are read while it is drawn."""

    def __init__(self) -> None:
        self.inbox, self.opened = Inbox(), None
        atexit.register(self.inbox.close)
        self.networks: Future[Networks] = ThreadPoolExecutor(1).submit(ready_networks)
        self.drop, self.saved = DropZone(), Saved()
        self.spacing = widgets.FloatText(
            0.0,
            step=0.01,
            description="mm a pixel, if the file does not say (0: unknown)",
            style={"description_width": "initial"},
            layout={"width": "420px"},
        )
        self.status = text(words.box(words.WAITING))
        self.knees = widgets.GridBox(layout={"grid_template_columns": "1fr 1fr", "grid_gap": "0 28px"})
        self.buttons = [widgets.Button(description=what, layout={"width": "220px"}) for what in FORMATS]
        self.save_bar = widgets.VBox([text("<h2>Save</h2>"), widgets.HBox(self.buttons), self.saved])
        self.below = widgets.VBox([text(words.HOW_TO_MOVE), self.knees, self.save_bar])
        self.below.layout.display = "none"
        self.drop.on_msg(self.receive)
        for button in self.buttons:
            button.on_click(lambda pressed: self.save(pressed.description))

    opened: Opened | None

    def show(self) -> widgets.VBox:
        """All of the page."""
        style = widgets.HTML(f"<style>{(FRONT / 'page.css').read_text('utf-8')}</style>")
        introduction = text(words.INTRODUCTION)
        return widgets.VBox([style, introduction, self.drop, self.spacing, self.status, self.below])

    def receive(self, _: Any, message: Message, parts: Sequence[bytes | memoryview]) -> None:
        """A part of a file, or its end."""
        number = int(message["number"])
        try:
            if message["kind"] == "begin":
                self.inbox.begin(number, str(message["name"]), int(message["size"]))
                self.forget()
                say(self.status, words.looking(self.inbox.path.name))
                self.began = time.perf_counter()
            elif message["kind"] == "part":
                self.inbox.add(number, parts)
            elif path := self.inbox.finish(number):
                self.open(path)
        except (KneelError, OSError) as error:
            self.forget()
            say(self.status, words.wrong(error))

    began = 0.0

    def forget(self) -> None:
        """Leave the file before."""
        self.opened, self.knees.children = None, ()
        self.below.layout.display = "none"
        self.saved.clear()

    def open(self, path: Path) -> None:
        """Show the answer about a file. Raises `KneelError`."""
        self.opened = open_file(path, self.networks.result(), self.spacing.value or None)
        count = len(self.opened.knees)
        self.knees.children = [KneePanel(number, self.get, self.put).show() for number in range(count)]
        self.knees.layout.grid_template_columns = "1fr 1fr" if count > 1 else "minmax(0, 900px)"
        self.below.layout.display = None
        say(self.status, words.summary(self.opened, time.perf_counter() - self.began))

    def get(self) -> Opened:
        """What is opened."""
        assert self.opened is not None
        return self.opened

    def put(self, opened: Opened) -> None:
        """Take what a person has changed."""
        self.opened = opened

    def save(self, what: str) -> None:
        """Give the browser one of FORMATS."""
        if self.opened is None:
            return
        try:
            self.saved.give(*download(what, self.opened))
        except KneelError as error:
            say(self.status, words.wrong(error))
