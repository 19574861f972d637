"""One knee of the page: its picture, what speaks against it, one landmark at a time, its
measurements."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np

from app import words
from app.close_up import close_up
from app.opened import Opened
from app.widgets import KneePicture, Message, say, text
from kneel_lib import landmarks


class KneePanel:
    """Knee `number` of what is opened. get, put: read and replace that."""

    def __init__(self, number: int, get: Callable[[], Opened], put: Callable[[Opened], None]) -> None:
        self.number, self.get, self.put = number, get, put
        opened = get()
        self.square = close_up(opened.found[number])
        self.picture = KneePicture(picture=self.square.picture(opened.radiograph))
        self.heading, self.table = text(), text()
        names = [(f"{place}: {name}", place) for place, name in enumerate(landmarks.NAMES)]
        self.choice = widgets.Dropdown(options=names, value=0, layout={"width": "200px"})
        self.x, self.y = (
            widgets.FloatText(step=1, description=axis, layout={"width": "112px"}, style=NARROW)
            for axis in ("x", "y")
        )
        self.back = widgets.Button(description="Put back", layout={"width": "84px"})
        self.all_back = widgets.Button(description="Put all back", layout={"width": "98px"})
        self.refresh()
        self.picture.on_msg(self.receive)
        widgets.link((self.choice, "value"), (self.picture, "chosen"))
        self.choice.observe(lambda _: self.refresh(), "value")
        for field in (self.x, self.y):
            field.observe(self.type, "value")
        self.back.on_click(lambda _: self.change(self.get().put_back(number, self.choice.value)))
        self.all_back.on_click(lambda _: self.change(self.get().put_back(number, *range(landmarks.COUNT))))

    def show(self) -> widgets.VBox:
        """The panel."""
        row = widgets.HBox(
            [self.choice, self.x, self.y, self.back, self.all_back], layout={"flex_flow": "row wrap"}
        )
        return widgets.VBox([self.heading, self.picture, row, self.table], layout={"min_width": "0"})

    def receive(self, _: Any, message: Message, __: Sequence[Any]) -> None:
        """A landmark was dragged, or an arrow key pressed."""
        landmark = int(message["number"])
        if message["kind"] == "put":
            place = self.square.to_file(message["at"])
        else:
            x, y = self.place(landmark) + np.asarray(message["step"], float)
            place = float(x), float(y)
        self.choice.value = landmark
        self.change(self.get().with_landmark(self.number, landmark, place))

    def type(self, _: Any) -> None:
        """A number was typed."""
        wanted = self.x.value, self.y.value
        if np.abs(self.place(self.choice.value) - wanted).max() > TYPED_PX:
            self.change(self.get().with_landmark(self.number, self.choice.value, wanted))

    def change(self, opened: Opened) -> None:
        """Take what has changed, and show it."""
        self.put(opened)
        self.refresh()

    def place(self, landmark: int) -> np.ndarray:
        """Where a landmark lies, (2,) in pixels of the file."""
        return self.get().knees[self.number].points_px[landmark]

    def refresh(self) -> None:
        """Show the knee as it is now."""
        opened, number = self.get(), self.number
        say(self.heading, words.heading(opened, number))
        say(self.table, words.measurement_tables(opened, number))
        self.picture.marks = self.square.marks(opened.found[number], opened.knees[number])
        x, y = self.place(self.choice.value).round(DIGITS).tolist()
        with self.x.hold_trait_notifications(), self.y.hold_trait_notifications():
            self.x.value, self.y.value = x, y


NARROW = {"description_width": "16px"}
DIGITS, TYPED_PX = 2, 0.006
"""How many digits of a coordinate are shown, and the difference from which on one was typed."""
