"""What a JPEG decoder complains of in a stream whose damage it hides: it fills in what it cannot read."""

from collections.abc import Iterable

import cv2
import numpy as np

from kneel_lib.data.grey import quiet

COMPLAINT = "Corrupt JPEG data"


def damage(stream: bytes) -> str:
    """libjpeg's complaint of damaged data, "" where it has none. OpenCV alone lets it through."""
    with quiet() as lines:
        try:
            cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_GRAYSCALE)
        except cv2.error:
            return ""  # of a form that OpenCV does not read
    return complaint(lines)


def complaint(lines: Iterable[str]) -> str:
    """libjpeg's complaint among what a decoder wrote, "" where there is none."""
    return next((line.strip() for line in lines if COMPLAINT in line), "")


def damage_notes(said: str) -> tuple[str, ...]:
    """The reason to doubt a picture with such a complaint, none where there is none."""
    return (f"its compressed data are damaged ({said}): what it shows may be wrong",) if said else ()
