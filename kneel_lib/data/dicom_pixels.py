"""The stored pixels of a DICOM file: sizes checked before anything is decoded, then one codec or another."""

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from kneel_lib.data.dicom_files import number, transfer_syntax
from kneel_lib.data.dicom_padding import not_padding
from kneel_lib.data.gdcm_process import decoded
from kneel_lib.data.grey import check_pixels, guarded, quiet, reason
from kneel_lib.data.jpeg import complaint, damage, damage_notes
from kneel_lib.errors import KneelError

FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Second bytes of the JPEG and JPEG-LS markers after which a stream's size stands."""

PLUGINS = {JPEGBaseline8Bit: "pillow", JPEGExtended12Bit: "pillow", RLELossless: "pydicom"} | dict.fromkeys(
    JPEG2000TransferSyntaxes, "pylibjpeg"
)
"""{transfer syntax: pydicom's plugin that decodes it here}; of JPEG Extended 8 bits only."""

GDCM_SYNTAXES = (JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes)
WHOLE_WORDS = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
"""Compressed without loss: what lies in bits beside the stored ones comes through."""

UNCHECKED_RLE_BYTES = 512 * 2**20
GREATEST_RLE_GAIN = 64
BAND_ROWS = 512
DAMAGED = "is truncated or has damaged pixel data"
NO_12_BIT = "is compressed with 12-bit JPEG Extended, which no codec installed decodes: save it uncompressed"


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
        _, height, width, components = jpeg_frame(stream)
        if components != 1:
            raise ValueError(f"its JPEG stream has {components} components, a grey picture one")
        return [(height, width)]
    if wavelet_start(stream) < 0:
        return []
    *place, bits, components = wavelet_frame(stream)
    if components != 1:
        raise ValueError(f"its JPEG 2000 stream has {components} components")
    if bits > dataset.BitsAllocated:
        raise ValueError(f"its JPEG 2000 stream has {bits} bits a pixel, its header {dataset.BitsAllocated}")
    height, width = place
    return [(height, width)]


def wavelet_start(stream: bytes) -> int:
    """Where the JPEG 2000 code stream begins, below 0 where there is none."""
    return stream.find(b"\xff\x4f\xff\x51")


def wavelet_frame(stream: bytes) -> tuple[int, int, int, int]:
    """(height, width, bits a sample, components) of a JPEG 2000 stream."""
    start = wavelet_start(stream)
    right, bottom, left, top, *_, components = struct.unpack(">8IH", stream[start + 8 : start + 42])
    return bottom - top, right - left, (stream[start + 42] & 0x7F) + 1, components


def stream_bits(stream: bytes) -> int:
    """Bits a sample that a compressed stream declares."""
    return wavelet_frame(stream)[2] if wavelet_start(stream) >= 0 else jpeg_frame(stream)[0]


def jpeg_frame(stream: bytes) -> tuple[int, int, int, int]:
    """(bits a sample, height, width, components) from a JPEG or JPEG-LS stream's frame header."""
    place = 2
    while stream[place : place + 1] == b"\xff" and len(stream) >= place + 10:
        if stream[place + 1] in FRAME_MARKERS:
            bits, height, width, components = struct.unpack(">BHHB", stream[place + 4 : place + 10])
            return bits, height, width, components
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


def decode(path: Path | str, dataset: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the stored pixel values, (H, W), reasons to doubt them); `KneelError` for those that cannot be
    decoded, or are not one grey picture."""
    syntax, compressed = transfer_syntax(path, dataset)
    by_gdcm = compressed and guarded(path, DAMAGED, lambda: needs_gdcm(syntax, dataset))
    if compressed:
        check_codec(path, syntax, by_gdcm)
    trouble = NO_12_BIT if by_gdcm and syntax == JPEGExtended12Bit else DAMAGED
    reader = decode_by_gdcm if by_gdcm else decode_by_plugin
    with quiet():
        try:
            pixels, words = guarded(path, trouble, lambda: reader(dataset, syntax))
        except KneelError as error:
            if complaint([str(error)]):  # it does decode them
                raise KneelError(str(error).replace(trouble, DAMAGED)) from None
            raise
    if pixels.ndim != 2:
        raise KneelError(f"{path} holds {describe_shape(pixels.shape)}: expected one grey picture")
    notes = damage_notes(complaint(words))
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit) and not by_gdcm:
        notes = guarded(path, DAMAGED, lambda: damage_notes(damage(stream_of(dataset))))
    if not guarded(path, DAMAGED, lambda: holds_words(dataset, syntax, compressed)):
        return pixels, notes
    values, doubts = guarded(path, DAMAGED, lambda: stored_values(path, pixels, dataset))
    return values, (*notes, *doubts)


def describe_shape(shape: tuple[int, ...]) -> str:
    """What an array of another shape than (H, W) is."""
    frames = len(shape) == 3 and shape[2] > 4
    return f"{shape[0]} frames" if frames else f"pixels of shape {shape}"


def holds_words(dataset: Any, syntax: UID, compressed: bool) -> bool:
    """Whether decoded pixels are whole words, of which BitsStored and HighBit may mean a part."""
    if not compressed or syntax == RLELossless:
        return True
    return syntax in WHOLE_WORDS and stream_bits(stream_of(dataset)) > dataset.BitsStored


def complete_words(path: Path | str, dataset: Any) -> None:
    """Give a header that does not say them, or something impossible, the bits and the sign of its words."""
    allocated = number(path, dataset, "BitsAllocated")
    stored = number(path, dataset, "BitsStored", allocated)
    dataset.BitsStored = stored if 0 < stored <= allocated else allocated
    high = number(path, dataset, "HighBit", dataset.BitsStored - 1)
    dataset.HighBit = high if dataset.BitsStored <= high + 1 <= allocated else dataset.BitsStored - 1
    dataset.PixelRepresentation = int(number(path, dataset, "PixelRepresentation") == 1)
    dataset.SamplesPerPixel = number(path, dataset, "SamplesPerPixel", 1)


def stored_values(path: Path | str, pixels: np.ndarray, dataset: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the bits of whole words that BitsStored and HighBit mean, reasons to doubt them).

    Where words hold more than that, other than padding, and no overlay is packed into them, the picture with
    fewer jumps is taken: garbage in the other bits makes them, and so does cutting off bits that are needed.
    """
    stored, sign = dataset.BitsStored, dataset.PixelRepresentation == 1
    values = pixels >> max(dataset.HighBit + 1 - stored, 0)
    known = not_padding(path, dataset, values)[0]
    counted = True if known is None else known
    low, high = (int(end(values, where=counted, initial=0)) for end in (np.min, np.max))
    if high < 1 << (stored - sign) and low >= -sign << (stored - 1):
        return values, ()
    meant = values.astype(np.int32) & ((1 << stored) - 1)
    meant = signed(meant, stored, dataset) if sign else meant
    packed = any(has_packed_overlay(dataset, group) for group in range(0x6000, 0x6020, 2))
    if packed or jumps(meant, stored) < jumps(values, max(high, -low).bit_length()):
        return meant, ()
    if sign and low >= 0 and high < 1 << stored:
        return values, ("its pixels have no sign, though its header says that they have one",)
    return values, (f"its pixels have more than the {stored} bits that its header says",)


def jumps(values: np.ndarray, bits: int) -> int:
    """How many neighbours of a picture (H, W) differ by more than half of what so many bits can say; counted
    in bands, which take little memory."""
    found = 0
    for first in range(0, len(values), BAND_ROWS):
        band = values[first : first + BAND_ROWS + 1].astype(np.int32)
        steps = np.diff(band, axis=0), np.diff(band[:BAND_ROWS], axis=1)
        found += sum(int((np.abs(step) > 1 << (bits - 1)).sum()) for step in steps)
    return found


def has_packed_overlay(dataset: Any, group: int) -> bool:
    """Whether an overlay lies in bits of the pixels' words."""
    return int(dataset.get((group, 0x0102)).value or 0) > 0 if (group, 0x0102) in dataset else False


def needs_gdcm(syntax: UID, dataset: Any) -> bool:
    """Whether a stream is one that only gdcm reads."""
    deep = syntax == JPEGExtended12Bit and jpeg_frame(stream_of(dataset))[0] > 8
    return syntax in GDCM_SYNTAXES or deep


def check_codec(path: Path | str, syntax: UID, by_gdcm: bool) -> None:
    """Raise `KneelError` where the codec of a transfer syntax is not installed, or there is none."""
    if by_gdcm:
        why = "" if find_spec("gdcm") else "install python-gdcm"
    else:
        why = plugin_missing(syntax)
    if why:
        raise KneelError(
            f"{path} is compressed with {syntax.name}, for which no codec is installed ({why}): "
            "save it uncompressed"
        )


def plugin_missing(syntax: UID) -> str:
    """Why our plugin for a transfer syntax cannot be used; "" where it can."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        return reason(error)
    ours = PLUGINS[syntax]
    needs = "; ".join(line for line in decoder.missing_dependencies if line.startswith(ours))
    return "" if ours in decoder.available_plugins else needs or f"no {ours}"


def decode_by_plugin(dataset: Any, syntax: UID) -> tuple[np.ndarray, list[str]]:
    """(the pixels by pydicom and our plugin for the transfer syntax; of uncompressed ones whole words, which
    pydicom would cut down to what the header means; nothing)."""
    if syntax in PLUGINS and not holds_words(dataset, syntax, syntax.is_compressed):
        return pixel_array(dataset, decoding_plugin=PLUGINS[syntax]), []
    meant = dataset.BitsStored, dataset.HighBit
    dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    try:
        return pixel_array(dataset, decoding_plugin=PLUGINS.get(syntax, "")), []
    finally:
        dataset.BitsStored, dataset.HighBit = meant


def decode_by_gdcm(dataset: Any, syntax: UID) -> tuple[np.ndarray, list[str]]:
    """(the pixels of a JPEG or JPEG-LS stream, what gdcm said); pydicom's own plugin refuses 12 bits, and
    crashes with gdcm."""
    stream = stream_of(dataset)
    bits, height, width, _ = jpeg_frame(stream)
    if syntax == JPEGExtended12Bit:
        bits = 12  # also where a stream says 16, as gdcm's own do
    if not 8 <= bits <= 16:
        raise ValueError(f"{bits} bits a pixel")
    told, words = decoded(stream, str(syntax), height, width, bits)
    pixels = np.frombuffer(told, "u1" if bits == 8 else "<u2")
    if int(pixels.max()) >= 1 << bits:
        raise ValueError(f"values beyond {bits} bits")
    return signed(pixels, bits, dataset).reshape(height, width), words


def signed(pixels: np.ndarray, bits: int, dataset: Any) -> np.ndarray:
    """Stored values of so many bits with their sign, if the header says that they have one."""
    if dataset.PixelRepresentation != 1:
        return pixels
    sign = 1 << (bits - 1)
    return (pixels.astype(np.int32) ^ sign) - sign
