"""Two hundred damaged files of every format: each is read, or refused in one line."""

import os
import subprocess
import sys

import numpy as np
import pytest
from dicom_writer import compress, deflated, write_radiograph
from PIL import Image

from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.errors import KneelError

CODECS = (
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEG2000Lossless",
    "JPEG2000",
    "RLELossless",
    "JPEGExtendedProcess2_4",
)


def write_all(folder):
    """One small radiograph in every form."""
    rows, columns = np.mgrid[:120, :100]
    pixels = 100 + 10 * columns + rows + np.random.default_rng(0).integers(0, 40, rows.shape)
    plain = write_radiograph(folder / "plain", pixels, PatientOrientation=["R", "H"], PixelPaddingValue=140)
    (folder / "headless").write_bytes(plain.read_bytes()[plain.read_bytes().index(b"\x08\0\x16\0") :])
    deflated(plain, folder / "deflated")
    for syntax in CODECS:
        compress(plain, folder / syntax, syntax)
    grey = Image.fromarray((pixels // 8).astype(np.uint8))
    for name in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        grey.save(folder / name, name)
    Image.fromarray(pixels.astype(np.uint16)).save(folder / "16 bit", "PNG")
    Image.fromarray(pixels.astype(np.float32)).save(folder / "float", "TIFF", compression="tiff_lzw")
    grey.convert("CMYK").save(folder / "CMYK", "JPEG")
    grey.convert("RGBA").save(folder / "RGBA", "WEBP")
    return sorted(folder.iterdir())


FUZZ = """
import random, resource, sys
from pathlib import Path
import numpy as np
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.errors import KneelError
files, damaged, count = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2]), int(sys.argv[3])
draw, refused, read = random.Random(int(sys.argv[4])), 0, 0
for number in range(count):
    data = bytearray(files[number % len(files)].read_bytes())
    kind = number // len(files) % 3
    if kind == 0:
        data = data[:draw.randrange(len(data))]
    else:
        reach = min(len(data), 1200 if kind == 1 else len(data))
        for _ in range(draw.choice([1, 5, 50])):
            data[draw.randrange(reach)] = draw.randrange(256)
    damaged.write_bytes(data)
    try:
        radiograph = read_radiograph(damaged, 0.2)
        assert radiograph.image.dtype == np.uint8 and radiograph.mm_per_px > 0
        assert np.isfinite(radiograph.grey).all() and radiograph.grey.dtype == np.float32
        assert all("\\n" not in note for note in radiograph.notes)
        read += 1
    except KneelError as error:
        assert str(damaged) in str(error) and "\\n" not in str(error) and "force" not in str(error), error
        refused += 1
    except BaseException:
        print(files[number % len(files)], number, file=sys.stderr)
        raise
print(refused, read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.trains
def test_two_hundred_damaged_files_give_no_traceback_no_hang_and_stay_below_2_gb(tmp_path):
    (tmp_path / "whole").mkdir()
    write_all(tmp_path / "whole")
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, tmp_path / "whole", tmp_path / "damaged", "210", "0"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    refused, read, megabytes = map(int, process.stdout.split())
    assert refused + read == 210 and refused > 60 and read > 20 and megabytes < 2048
    assert not process.stderr


def test_every_form_is_read_whole_and_refused_by_half(tmp_path):
    for path in write_all(tmp_path):
        assert read_radiograph(path, 0.2).grey.shape == (120, 100)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(KneelError, match=path.name) as raised:
            read_radiograph(path, 0.2)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "data", [b"hello", b"GIF89a" + bytes(200), b"RIFF0000WAVE", bytes(4000), b"%PDF-1.7\n"]
)
def test_a_file_of_another_kind_is_told_what_is_read(tmp_path, data):
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(KneelError, match="a.dcm is neither DICOM nor a picture .*: give a DICOM, PNG, JPEG"):
        read_radiograph(tmp_path / "a.dcm")
