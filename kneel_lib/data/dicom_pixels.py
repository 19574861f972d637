"""The stored pixels of a DICOM file: sizes checked before anything is decoded, then one codec or another."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from kneel_lib.data.dicom_files import number, transfer_syntax
from kneel_lib.data.grey import check_pixels, guarded, quiet, reason
from kneel_lib.errors import KneelError

FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Second bytes of the JPEG and JPEG-LS markers after which a stream's size stands."""

CODECS = {JPEGBaseline8Bit: "pillow", RLELossless: "pydicom"} | dict.fromkeys(
    JPEG2000TransferSyntaxes, "pylibjpeg"
)
"""{transfer syntax: pydicom's plugin that decodes it here}; gdcm decodes the others."""

UNCHECKED_RLE_BYTES = 512 * 2**20
GREATEST_RLE_GAIN = 64
DAMAGED = "is truncated or has damaged pixel data"


def check_size(path: Path | str, dataset: Any) -> None:
    """Raise `KneelError` if header or compressed stream declare more pixels than a radiograph has, or not the
    same."""
    height, width = number(path, dataset, "Rows"), number(path, dataset, "Columns")
    check_pixels(path, width, height)
    if not transfer_syntax(path, dataset)[1]:
        return
    for found in guarded(path, "has damaged pixel data", lambda: stream_sizes(dataset)):
        check_pixels(path, found[1], found[0])
        if found != (height, width):
            raise KneelError(
                f"{path} is damaged: its header says {width} x {height} pixels, its compressed data "
                f"{found[1]} x {found[0]}"
            )


def stream_of(dataset: Any) -> bytes:
    """The compressed bytes of the one frame."""
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def stream_sizes(dataset: Any) -> list[tuple[int, int]]:
    """[(height, width)] that a JPEG, JPEG-LS or JPEG 2000 stream declares; empty for others. Raises
    `ValueError` for run lengths (RLE) that give more bytes than the picture has."""
    stream = stream_of(dataset)
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        check_runs(stream, dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8)
        return []
    if stream[:2] == b"\xff\xd8":
        return [jpeg_frame(stream)[1:]]
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return []
    right, bottom, left, top = struct.unpack(">4I", stream[start + 8 : start + 24])
    return [(bottom - top, right - left)]


def jpeg_frame(stream: bytes) -> tuple[int, int, int]:
    """(bits a sample, height, width) from a JPEG or JPEG-LS stream's frame header."""
    place = 2
    while stream[place : place + 1] == b"\xff" and len(stream) >= place + 9:
        if stream[place + 1] in FRAME_MARKERS:
            bits, height, width = struct.unpack(">BHH", stream[place + 4 : place + 9])
            return bits, height, width
        filler = stream[place + 1] == 0xFF
        place += 1 if filler else 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    raise ValueError("its JPEG stream has no frame header")


def check_runs(stream: bytes, expected: int) -> None:
    """Raise `ValueError` if run lengths that could fill the memory give more bytes than expected."""
    if len(stream) * GREATEST_RLE_GAIN > UNCHECKED_RLE_BYTES and runs_bytes(stream[64:]) > 1.01 * expected:
        raise ValueError(f"its run lengths give more than {expected} bytes")


def runs_bytes(runs: bytes) -> int:
    """How many bytes PackBits run lengths give once decoded."""
    place, count = 0, 0
    while place < len(runs):
        run = runs[place]
        literal = run < 128
        place += run + 2 if literal else 2 if run > 128 else 1
        count += run + 1 if literal else 257 - run if run > 128 else 0
    return count


def decode(path: Path | str, dataset: Any) -> np.ndarray:
    """The stored pixel values, (H, W); `KneelError` for those that cannot be decoded, or are not one grey
    picture."""
    syntax, compressed = transfer_syntax(path, dataset)
    if compressed:
        check_codec(path, syntax)
    with quiet():
        if syntax == JPEGExtended12Bit and jpeg_frame(stream_of(dataset))[0] > 8:
            pixels = guarded(path, no_codec("12-bit JPEG Extended"), lambda: decode_12_bit(dataset))
        else:
            pixels = guarded(path, trouble(syntax, compressed), lambda: decode_plain(dataset, syntax))
    if pixels.ndim != 2:
        raise KneelError(f"{path} holds pixels of shape {pixels.shape}: expected one grey picture")
    return pixels


def check_codec(path: Path | str, syntax: UID) -> None:
    """Raise `KneelError` where no codec at all is known or installed for a transfer syntax."""
    try:
        if get_decoder(syntax).is_available:
            return
        why = f"install {package(syntax)}"
    except NotImplementedError as error:
        why = reason(error)
    raise KneelError(
        f"{path} is compressed with {syntax.name}, for which no codec is installed ({why}): "
        "save it uncompressed"
    )


def package(syntax: UID) -> str:
    """The package on the requirements' list that decodes a transfer syntax."""
    return "pylibjpeg-openjpeg" if syntax in JPEG2000TransferSyntaxes else "python-gdcm"


def decode_plain(dataset: Any, syntax: UID) -> np.ndarray:
    """The pixels by our codec for this transfer syntax where it is installed, else by any that is."""
    ours = CODECS.get(syntax, "gdcm")
    there = syntax.is_compressed and ours in get_decoder(syntax).available_plugins
    return pixel_array(dataset, decoding_plugin=ours if there else "")


def trouble(syntax: UID, compressed: bool) -> str:
    """What is wrong where pixels cannot be decoded: the codec if ours is not there, else the file."""
    if not compressed or CODECS.get(syntax, "gdcm") in get_decoder(syntax).available_plugins:
        return DAMAGED
    return no_codec(syntax.name, f"install {package(syntax)} or ")


def no_codec(name: str, advice: str = "") -> str:
    """What is said where none of the codecs installed decodes a stream of this name."""
    return f"is compressed with {name}, which no codec installed decodes: {advice}save it uncompressed"


def decode_12_bit(dataset: Any) -> np.ndarray:
    """The pixels of a 12-bit JPEG Extended stream by gdcm itself: it can, though pydicom's plugin does not
    ask it to. Raises the plugin's own reasons where gdcm is not there or fails."""
    try:
        import gdcm
    except ImportError:
        return dataset.pixel_array
    rows, columns, signed = int(dataset.Rows), int(dataset.Columns), int(dataset.PixelRepresentation)
    fragments, element = gdcm.SequenceOfFragments.New(), gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream_of(dataset))
    fragments.AddFragment(fragment)
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    kind = gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))
    image.SetTransferSyntax(gdcm.TransferSyntax(kind))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, signed))
    buffer = image.GetBuffer()
    data = b"" if buffer is None else buffer.encode("utf-8", "surrogateescape")
    if len(data) != 2 * rows * columns:
        return dataset.pixel_array
    return np.frombuffer(data, "<i2" if signed else "<u2").reshape(rows, columns)
