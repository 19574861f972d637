"""Small files that ask for far more than they are: what a stranger may send by accident or to do harm."""

import io
import struct
import zlib

import numpy as np
import pydicom
from dicom_writer import compress, deflated
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, RLELossless


def zeros(count):
    """So many zero bytes, deflated."""
    packer = zlib.compressobj(1)
    return packer.compress(bytes(count)) + packer.flush()


def with_elements(source, target, elements):
    """A DICOM file with raw elements, in explicit little endian, before its first picture element."""
    data = source.read_bytes()
    place = data.index(b"\x28\x00\x02\x00US")
    target.write_bytes(data[:place] + elements + data[place:])
    return target


def private_elements(count):
    """So many empty elements of odd groups."""
    numbers = np.arange(count)
    fields = np.zeros((count, 4), "<u2")
    fields[:, 0] = 0x0009
    fields[:, 1] = 0x1000 + numbers % 0xF000
    fields[:, 2] = int.from_bytes(b"LO", "little")
    return fields.tobytes()


def nested_sequences(depth):
    """VOI LUT sequences in one another, without lengths."""
    start = struct.pack("<HH2sHIHHI", 0x0028, 0x3010, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    return start * depth + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * depth


def with_stream(source, target, stream, syntax, **elements):
    """A DICOM file whose pixels are a compressed stream."""
    dataset = pydicom.dcmread(source)
    dataset.file_meta.TransferSyntaxUID = syntax
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(target, enforce_file_format=True)
    return target


def jpeg_2000(width, height, components=1, tile=None):
    """The head of a JPEG 2000 stream of this size, and no pixels."""
    across, down = tile or (width, height)
    size = struct.pack(">9I", width, height, 0, 0, across, down, 0, 0, components)[:-4]
    size += struct.pack(">H", components) + bytes([11, 1, 1]) * components
    coding = struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    steps = struct.pack(">HB", 19, 0x40) + bytes([0x48] * 16)
    head = b"\xff\x4f\xff\x51" + struct.pack(">HH", len(size) + 4, 0) + size
    part = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1) + b"\xff\x93\xff\xd9"
    return head + b"\xff\x52" + coding + b"\xff\x5c" + steps + part


def run_lengths(count, segments=2):
    """An RLE stream whose segments give 64 bytes for each of its own."""
    parts = [b"\x81\x00" * (count // segments // 128)] * segments
    places = 64 + np.arange(segments) * len(parts[0])
    return np.array([segments, *places, *[0] * (15 - segments)], "<u4").tobytes() + b"".join(parts)


def scans(width, height, count):
    """A progressive JPEG whose last scan comes again and again: each goes over the whole picture."""
    stream = io.BytesIO()
    Image.new("L", (width, height), 128).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def lossless_jpeg_of(source, folder, width, height):
    """A lossless JPEG stream that declares more pixels than it has."""
    path = compress(source, folder / "small.dcm", "JPEGLosslessProcess14_1")
    stream = bytearray(next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)))
    path.unlink()
    place = stream.index(b"\xff\xc3")
    stream[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(stream)


def png(width, height, extra=(), pixels=b"", bits=8, colours=0):
    """A PNG file with more chunks [(name, content)] before its pixels (deflated)."""
    head = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def tiff(tags, data=b""):
    """A TIFF file of tags (number, type, count, value) and what comes after them, from byte 300 on."""
    known = [(256, 4, 1, 100), (257, 4, 1, 120), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    known += [(277, 3, 1, 1), (273, 4, 1, 300), (278, 4, 1, 120), (279, 4, 1, 12000)]
    said = {tag[0]: tag for tag in [*known, *tags]}
    entries = b"".join(struct.pack("<HHII", *said[number]) for number in sorted(said))
    head = b"II*\0" + struct.pack("<IH", 8, len(said)) + entries + bytes(4)
    return head.ljust(300, b"\0") + data


def tiff_of_pages(count):
    """A TIFF file of so many empty pages."""
    places = 8 + 18 * np.arange(1, count + 1)
    pages = np.zeros((count, 18), np.uint8)
    pages[:, :14] = np.frombuffer(struct.pack("<HHHII", 1, 256, 4, 1, 100), np.uint8)
    pages[:, 14:] = np.where(np.arange(count) < count - 1, places, 0).astype("<u4")[:, None].view(np.uint8)
    return b"II*\0" + struct.pack("<I", 8) + pages.tobytes()


def webp(width, height):
    """A WebP file whose canvas is far larger than its only frame."""
    stream = io.BytesIO()
    Image.new("L", (100, 120), 7).save(stream, "WEBP", lossless=True)
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    frame = bytes(6) + b"\x63\0\0\x77\0\0" + b"\0\0\x01\0" + stream.getvalue()[12:]
    chunks = ((b"VP8X", b"\x02\0\0\0" + size), (b"ANIM", bytes(6)), (b"ANMF", frame))
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def run_length_bmp(width, height):
    """A BMP of run lengths that go on after its last line: for many seconds on any machine."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + head + bytes(1024) + b"\xff\x00" * 24_000_000


LARGE = {"Rows": 7700, "Columns": 7700}


def write_endless(folder, plain):
    """[path] of files that would take minutes, made from the small radiograph `plain`."""
    lossless = lossless_jpeg_of(plain, folder, 7700, 7700)
    with_stream(plain, folder / "lossless.dcm", lossless, "1.2.840.10008.1.2.4.70", **LARGE)
    (folder / "scans.jpg").write_bytes(scans(4000, 4000, 4000))
    (folder / "lines.bmp").write_bytes(run_length_bmp(7700, 7700))
    return sorted(folder.iterdir())


def write_hostile(folder, plain):
    """{name: path} of files that would fill the memory, made from the small radiograph `plain`."""
    made = {
        "PostScript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n",
        "IHDR.png": png(2**31 - 1, 2**31 - 1),
        "no pixels.png": png(7700, 7700, pixels=zeros(100), bits=16, colours=6),
        "iCCP.png": png(100, 120, [(b"iCCP", b"x\0\0" + zeros(2**26))], zeros(12120)),
        "zTXt.png": png(100, 120, [(b"zTXt", b"x\0\0" + zeros(2**20))] * 100, zeros(12120)),
        "strip.png": png(20000, 64, pixels=zeros(20001 * 64)),
        "square.png": png(900_000, 64, pixels=zeros(900_001 * 64)),
        "tag.tif": tiff([(270, 2, 2**32 - 1, 200), (273, 4, 2**31 - 1, 200)], bytes(12000)),
        "strips.tif": tiff([(273, 4, 500_000, 300), (278, 4, 1, 1), (279, 4, 500_000, 300)], bytes(2**21)),
        "size.tif": tiff([(256, 4, 1, 2**31), (257, 4, 1, 2**31)], bytes(12000)),
        "samples.tif": tiff([(277, 3, 1, 65535)], bytes(12000)),
        "pages.tif": tiff_of_pages(20_000),
        "canvas.webp": webp(2**24, 200),
        "large canvas.webp": webp(16383, 16383),
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    deflated(plain, folder / "bomb.dcm", extra=bytes(300 * 2**20))
    with_elements(plain, folder / "elements.dcm", private_elements(300_000))
    with_elements(plain, folder / "nested.dcm", nested_sequences(50_000))
    items = struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, 2_400_000) + b"\xfe\xff\0\xe0\0\0\0\0" * 300_000
    with_elements(plain, folder / "items.dcm", items)
    for name, stream in {
        "components": jpeg_2000(100, 120, 100),
        "many components": jpeg_2000(100, 120, 16384),
        "tiles": jpeg_2000(100, 120, tile=(1, 2**31 - 1)),
        "decoy": jpeg_2000(100, 120)[:60] + jpeg_2000(60000, 60000),
    }.items():
        with_stream(plain, folder / f"{name}.dcm", stream, JPEG2000Lossless)
    with_stream(plain, folder / "JPEG 2000.dcm", jpeg_2000(7700, 7700, 100), JPEG2000Lossless, **LARGE)
    with_stream(plain, folder / "RLE.dcm", run_lengths(2**28), RLELossless)
    return {path.name: path for path in sorted(folder.iterdir())}
