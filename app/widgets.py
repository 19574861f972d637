"""The three parts of the page that a browser's own code draws (front/): where a file is dropped, a knee with
landmarks that are moved, and files to save; and how the page says something."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import HTML

from app.close_up import SIZE_PX

FRONT = Path(__file__).parent / "front"


class DropZone(anywidget.AnyWidget):
    """Sends messages {kind: begin, part or end, number}; begin has name and size, part the bytes."""

    _esm = FRONT / "drop.js"


class KneePicture(anywidget.AnyWidget):
    """Sends {kind: put, number, at} for a landmark that was dragged to a place in the square, and {kind:
    step, number, step} for an arrow key. marks: of `CloseUp.marks`. chosen: a landmark."""

    _esm = FRONT / "knee.js"
    size = traitlets.Int(SIZE_PX).tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    marks = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)


class Saved(anywidget.AnyWidget):
    """The files that were saved, as links."""

    _esm = FRONT / "save.js"

    def give(self, name: str, content: bytes) -> None:
        """Let the browser save a file."""
        self.send({"kind": "give", "name": name}, buffers=[content])

    def clear(self) -> None:
        """Forget the links of the file before."""
        self.send({"kind": "clear"})


Message = dict[str, Any]


def text(html: str = "") -> HTML:
    """Something that the page says."""
    return HTML(f'<div class="kneel-html">{html}</div>')


def say(place: HTML, html: str) -> None:
    """Say something else there."""
    place.value = f'<div class="kneel-html">{html}</div>'
