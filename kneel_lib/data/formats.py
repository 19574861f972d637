"""Reading one radiograph in this process: its file is told by its content, whatever its name ends in."""

from pathlib import Path

from kneel_lib.data.dicom import read_dicom
from kneel_lib.data.dicom_files import has_preamble, is_dicom
from kneel_lib.data.grey import Radiograph, read_head
from kneel_lib.data.pictures import picture_format, read_picture
from kneel_lib.errors import KneelError

READERS = {"DICOM": read_dicom, **dict.fromkeys(("PNG", "JPEG", "TIFF", "BMP", "WEBP"), read_picture)}


def read_here(path: Path | str, mm_per_px: float | None = None, *, spacing_needed: bool = True) -> Radiograph:
    """`radiographs.read_radiograph` without its bounds on memory and time."""
    reader = READERS.get(file_format(path))
    if reader is None:
        raise KneelError(
            f"{path} is neither DICOM nor a picture that can be read: "
            "give a DICOM, PNG, JPEG, TIFF, BMP or WebP file"
        )
    return reader(path, mm_per_px, spacing_needed=spacing_needed)


def file_format(path: Path | str) -> str:
    """A name in READERS by a file's first bytes, "" for any other; `KneelError` where it cannot be read."""
    head = read_head(path)
    if has_preamble(head):
        return "DICOM"
    return picture_format(head) or ("DICOM" if is_dicom(head) else "")
