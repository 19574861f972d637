"""What a DICOM header does to stored values: bits, tables, rescaling, padding; and what of it cannot be
true."""

import numpy as np
import pydicom
import pytest
from dicom_writer import compress, write_radiograph
from PIL import Image
from pydicom.sequence import Sequence

from kneel_lib.data.dicom import read_dicom
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.errors import KneelError


@pytest.fixture
def pixels():
    rows, columns = np.mgrid[:120, :100]
    return 100 + 10 * columns + rows


def item(**elements):
    made = pydicom.Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def curve(descriptor, entries):
    made = item(LUTDescriptor=descriptor, LUTData=entries)
    made["LUTData"].VR = "OW" if isinstance(entries, bytes) else "US"
    return {"VOILUTSequence": Sequence([made])}


RISING = np.round(np.linspace(0, 255, 4096)).astype(int)


@pytest.mark.parametrize(
    "entries",
    [RISING.tolist(), RISING.astype("<u2").tobytes(), RISING.astype("u1").tobytes()],
    ids=["words", "bytes of words", "two to a word"],
)
def test_a_voi_lut_of_eight_bits_may_have_more_than_256_entries(pixels, tmp_path, entries):
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **curve([4096, 0, 8], entries)))
    assert np.array_equal(radiograph.grey, RISING[pixels]) and radiograph.notes == ()


@pytest.mark.parametrize("first", [-1024, 65536 - 1024])
def test_a_voi_lut_may_begin_below_zero(pixels, tmp_path, first):
    entries = np.arange(4096) * 3
    made = curve([4096, 0, 16], entries.tolist())
    descriptor = made["VOILUTSequence"][0]["LUTDescriptor"]
    descriptor.VR, descriptor.value = ("SS" if first < 0 else "US"), [4096 if first > 0 else 4096, first, 16]
    path = write_radiograph(tmp_path / "a.dcm", pixels, RescaleIntercept=-1024, RescaleSlope=1, **made)
    assert np.array_equal(read_dicom(path).grey, 3 * pixels)


def test_a_voi_lut_without_data_is_none(pixels, tmp_path):
    empty = {
        "VOILUTSequence": Sequence([item(LUTExplanation="none")]),
        "WindowCenter": 300,
        "WindowWidth": 50,
    }
    assert np.array_equal(read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **empty)).grey, pixels)


@pytest.mark.parametrize("intercept, slope, grey", [("", "", 1.0), ("", "2", 2.0), ("0", "", 1.0)])
def test_an_empty_rescaling_is_none(pixels, tmp_path, intercept, slope, grey):
    path = write_radiograph(tmp_path / "a.dcm", pixels, RescaleIntercept=intercept, RescaleSlope=slope)
    assert np.array_equal(read_dicom(path).grey, grey * pixels)


def test_bits_at_the_upper_end_of_words_are_found_there(pixels, tmp_path):
    assert np.array_equal(
        read_dicom(write_radiograph(tmp_path / "a.dcm", 16 * pixels, HighBit=15)).grey, pixels
    )


def test_values_beyond_the_bits_that_the_header_says_are_kept_and_doubted(pixels, tmp_path):
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", 50 * pixels))
    assert np.array_equal(radiograph.grey, 50 * pixels)
    assert radiograph.notes == ("its pixels have more than the 12 bits that its header says",)


def test_a_padding_value_may_lie_beyond_the_bits(pixels, tmp_path):
    padded = pixels.copy()
    padded[:, :10] = 65535
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", padded, PixelPaddingValue=65535))
    assert radiograph.notes == () and not radiograph.inside[:, :10].any() and radiograph.inside[:, 10:].all()
    assert np.array_equal(radiograph.grey[:, 10:], pixels[:, 10:])


def test_an_overlay_in_the_upper_bits_is_left_out(pixels, tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", pixels + (pixels % 2 << 12))
    dataset = pydicom.dcmread(path)
    dataset.add_new((0x6000, 0x0102), "US", 12)
    dataset.save_as(path)
    assert np.array_equal(read_dicom(path).grey, pixels) and read_dicom(path).notes == ()


@pytest.mark.parametrize("extended", [True, False])
def test_signed_values_are_read_with_their_sign(pixels, tmp_path, extended):
    signed = pixels - 600
    stored = signed if extended else signed & 0xFFF
    path = write_radiograph(tmp_path / "a.dcm", stored.astype("<i2"), PixelRepresentation=1)
    assert np.array_equal(read_dicom(path).grey, signed) and read_dicom(path).notes == ()


@pytest.mark.parametrize(
    "vr, value, said", [("DS", "1e30", "none that a pixel can have"), ("LO", "none", "no number")]
)
def test_a_padding_value_that_is_none_costs_no_file(pixels, tmp_path, vr, value, said):
    path = write_radiograph(tmp_path / "a.dcm", pixels)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", vr, value)
    dataset.save_as(path)
    radiograph = read_radiograph(path)
    assert np.array_equal(radiograph.grey, pixels) and said in radiograph.notes[0]


def test_a_photometric_interpretation_in_small_letters_is_known(pixels, tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", pixels)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"MONOCHROME2", b"monochrome2"))
    assert np.array_equal(read_dicom(path).grey, pixels)


def test_pixels_that_are_said_not_to_be_square_are_refused(pixels, tmp_path):
    with pytest.raises(KneelError, match="not square: PixelAspectRatio is 4 to 5"):
        read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, PixelAspectRatio=["4", "5"]))
    assert read_dicom(write_radiograph(tmp_path / "b.dcm", pixels, PixelAspectRatio=["1", "1"])).notes == ()


def raw_spacing(path, text):
    """The file with another text in the place of its ImagerPixelSpacing, however wrong."""
    data, old = path.read_bytes(), b"0.20001\\0.20001 "
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, text.ljust(len(old)).encode()))
    return path


@pytest.mark.parametrize(
    "text", ["0,15\\0,15", "0.15mm\\0.15mm", "0.15/0.15", "-0.4\\-0.4", "inf\\inf", "1\\1\\1"]
)
def test_a_spacing_that_is_none_is_said_and_costs_no_file(pixels, tmp_path, text):
    path = raw_spacing(
        write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=[0.20001, 0.20001]), text
    )
    radiograph = read_dicom(path, 0.3)
    assert (
        radiograph.mm_per_px == 0.3
        and "its ImagerPixelSpacing is no spacing of a radiograph's pixels" in radiograph.notes[0]
    )
    assert read_dicom(path, spacing_needed=False).mm_per_px is None
    with pytest.raises(KneelError, match="no usable pixel spacing"):
        read_dicom(path)


def test_an_absurd_spacing_gives_way_to_the_one_given(pixels, tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=[150, 150])
    radiograph = read_dicom(path, 0.15)
    assert radiograph.mm_per_px == 0.15 and "and is not used" in radiograph.notes[0]


@pytest.mark.parametrize(
    "elements, said",
    [
        ({"ViewPosition": "AP LAT"}, "view position AP LAT is not a frontal view"),
        ({"ViewPosition": "AP OBLIQUE"}, "view position AP OBLIQUE is not a frontal view"),
        (
            {"ViewCodeSequence": Sequence([item(CodeMeaning="lateral projection")])},
            "the header says that its view is LATERAL PROJECTION",
        ),
        (
            {"AnatomicRegionSequence": Sequence([item(CodeMeaning="Chest")])},
            "the header says anatomic region CHEST",
        ),
        (
            {"ImageLaterality": "R", "Laterality": "L"},
            "ImageLaterality R and Laterality L contradict each other",
        ),
        (
            {"ImagerPixelSpacing": [0.44, 0.44], "PixelSpacing": [0.44, 0.9]},
            "its PixelSpacing says that pixels are not square, and is not used",
        ),
    ],
)
def test_what_a_header_contradicts_is_said(pixels, tmp_path, elements, said):
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes == (said,)


@pytest.mark.parametrize(
    "elements",
    [
        {"ViewPosition": "AP STANDING"},
        {"ViewPosition": "PA FLEXION"},
        {"ViewCodeSequence": Sequence([item(CodeMeaning="antero-posterior")])},
        {"AnatomicRegionSequence": Sequence([item(CodeMeaning="Knee")])},
        {"ImageLaterality": "R", "Laterality": "R"},
        {"ImageLaterality": "R", "Laterality": "B"},
    ],
)
def test_what_fits_a_knee_from_the_front_is_no_reason_to_doubt(pixels, tmp_path, elements):
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes == ()


def damaged(stream, start=600, count=80):
    """A JPEG stream with zeros in the midst of its scan."""
    place = stream.index(b"\xff\xda") + start
    return stream[:place] + bytes(count) + stream[place + count :]


def test_a_jpeg_whose_data_are_damaged_is_doubted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (160, 160), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg", quality=90)
    (tmp_path / "damaged.jpg").write_bytes(damaged((tmp_path / "whole.jpg").read_bytes()))
    assert read_radiograph(tmp_path / "whole.jpg", 0.3).notes == ()
    (said,) = read_radiograph(tmp_path / "damaged.jpg", 0.3).notes
    assert said.startswith("its compressed data are damaged (Corrupt JPEG data")


def test_a_dicom_file_whose_jpeg_data_are_damaged_is_doubted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (160, 160), dtype=np.uint8)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": noise.tobytes()}
    plain = write_radiograph(tmp_path / "plain.dcm", noise, **bits)
    path = compress(plain, tmp_path / "a.dcm", "JPEGBaselineProcess1")
    assert read_radiograph(path).notes == ()
    path.write_bytes(damaged(path.read_bytes()))
    (said,) = read_radiograph(path).notes
    assert said.startswith("its compressed data are damaged")
