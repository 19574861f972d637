"""The data set in a DICOM file: with or without a preamble and a meta header, deflated or not."""

import io
import zlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kneel_lib.data.grey import GREATEST_FILE_BYTES, guarded, read_head, too_large
from kneel_lib.errors import KneelError

PREAMBLE_BYTES = 128
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a file without a preamble begins: its meta header, or its data set in either byte order."""


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this (132 bytes or more) is DICOM."""
    return has_preamble(head) or head[:2] in FIRST_GROUPS


def has_preamble(head: bytes) -> bool:
    """Whether 128 bytes of anything and the letters DICM come first."""
    return head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM"


def parse(path: Path | str) -> Any:
    """A DICOM file's data set with a transfer syntax in its `file_meta`; elements are read when asked for.

    Raises `KneelError` for a file that is no DICOM, is damaged, or inflates beyond GREATEST_FILE_BYTES.
    """
    if not is_dicom(read_head(path)):
        raise KneelError(f"{path} is not a DICOM file")
    dataset = guarded(path, "is a damaged DICOM file", lambda: opened(path, Path(path).read_bytes()))
    guarded(path, "has a damaged header", lambda: complete(path, dataset))
    return dataset


def opened(path: Path | str, data: bytes) -> Any:
    """The data set in the bytes of a file, inflated here, within bounds, where it is deflated."""
    syntax, start = meta_header(data)
    if syntax == DeflatedExplicitVRLittleEndian:
        data = inflated(path, data[start:])
    return pydicom.dcmread(io.BytesIO(data), force=True)


def meta_header(data: bytes) -> tuple[str, int]:
    """(transfer syntax or "", place of the first byte after the meta header)."""
    file = io.BytesIO(data)
    file.seek(PREAMBLE_BYTES + 4 if has_preamble(data) else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >= 0x00030000)
    return str(meta.get("TransferSyntaxUID", "")), file.tell()


def inflated(path: Path | str, data: bytes) -> bytes:
    """The bytes of a deflated data set; `KneelError` where they are cut short or too many."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = stream.decompress(data, GREATEST_FILE_BYTES + 1)
    if len(plain) > GREATEST_FILE_BYTES:
        raise KneelError(too_large(path, f"over {GREATEST_FILE_BYTES >> 20} MiB once inflated"))
    if not stream.eof:
        raise KneelError(f"{path} is truncated: its deflated data set has no end")
    return plain


def complete(path: Path | str, dataset: Any) -> None:
    """Give a data set without one the transfer syntax in which it was found to be written."""
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise KneelError(f"{path} is compressed, but its header does not say how: save it uncompressed")
    implicit, little = dataset.original_encoding
    written = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = written if little else ExplicitVRBigEndian


def transfer_syntax(path: Path | str, dataset: Any) -> tuple[UID, bool]:
    """(transfer syntax, whether its pixels are compressed); `KneelError` for one that DICOM does not know."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return syntax, guarded(path, "has an unknown transfer syntax", lambda: syntax.is_compressed)


def field(path: Path | str, dataset: Any, name: str) -> Any:
    """One element's value, None where it is missing or empty; a damaged element is a `KneelError`."""
    value = guarded(path, f"has a damaged element {name}", lambda: dataset.get(name))
    return None if value == "" else value


def text(path: Path | str, dataset: Any, name: str) -> str:
    """One element as text in capitals on one line, "" where it is missing."""
    value = field(path, dataset, name)
    return "" if value is None else " ".join(str(value).upper().split())[:64]


def number(path: Path | str, dataset: Any, name: str, default: int = 0) -> int:
    """A whole number from an element; missing or empty is the default."""
    value = field(path, dataset, name)
    return default if value is None else guarded(path, f"has a damaged element {name}", lambda: int(value))


def numbers(path: Path | str, dataset: Any, name: str) -> list[float]:
    """The numbers of an element, empty where it is missing."""
    value = field(path, dataset, name)
    if isinstance(value, str):
        value = value.split("\\")
    parts = [] if value is None else value if hasattr(value, "__iter__") else [value]
    return guarded(path, f"has a damaged element {name}", lambda: [float(part) for part in parts])


def lengths(path: Path | str, dataset: Any, name: str) -> list[float]:
    """The numbers of an element; NaN alone where one of them is none."""
    try:
        return numbers(path, dataset, name)
    except KneelError:
        return [float("nan")]
