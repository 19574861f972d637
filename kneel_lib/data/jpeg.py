"""What a JPEG decoder complains of in a stream whose damage it hides: it fills in what it cannot read."""

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
    return next((line.strip() for line in lines if COMPLAINT in line), "")


def damage_notes(stream: bytes) -> tuple[str, ...]:
    """The reason to doubt a picture with such a complaint."""
    said = damage(stream)
    return (f"its compressed data are damaged ({said}): what it shows may be wrong",) if said else ()
