"""DICOM files in every form that a hospital sends: codecs, missing headers, padding, inversion,
orientation."""

import io

import numpy as np
import pydicom
import pytest
from dicom_writer import compress, deflated, write_radiograph
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.tag import Tag
from pydicom.uid import JPEG2000Lossless, MRImageStorage

from kneel_lib.data import dicom_files, dicom_pixels, gdcm_process
from kneel_lib.data.dicom import read_dicom
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.errors import KneelError


@pytest.fixture
def pixels():
    rows, columns = np.mgrid[:120, :100]
    return 100 + 10 * columns + rows


@pytest.fixture
def source(pixels, tmp_path):
    return write_radiograph(tmp_path / "plain.dcm", pixels)


LOSSLESS = (
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
    "JPEGLSLossless",
    "JPEG2000Lossless",
    "RLELossless",
    "DeflatedExplicitVRLittleEndian",
)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_codecs_give_the_stored_values(pixels, source, tmp_path, syntax):
    radiograph = read_radiograph(compress(source, tmp_path / "a.dcm", syntax))
    assert radiograph.grey.dtype == np.float32 and np.array_equal(radiograph.grey, pixels)


@pytest.mark.parametrize("syntax", ["JPEGLSNearLossless", "JPEG2000", "JPEGExtendedProcess2_4"])
def test_lossy_codecs_come_close(pixels, source, tmp_path, syntax):
    radiograph = read_radiograph(compress(source, tmp_path / "a.dcm", syntax))
    assert np.abs(radiograph.grey - pixels).max() < 20


def test_12_bit_jpeg_has_the_known_values():
    dataset = pydicom.dcmread(get_testdata_file("JPGExtended.dcm", download=False))
    pixels, _ = dicom_pixels.decode("a.dcm", dataset)
    assert pixels.shape == (1024, 256) and (pixels[420, 140], pixels[230, 120]) == (244, 95)


def test_a_missing_codec_is_named_and_the_file_is_not_called_damaged(source, tmp_path, monkeypatch):
    path = compress(source, tmp_path / "a.dcm", "JPEGLSLossless")
    monkeypatch.setattr(dicom_pixels, "find_spec", lambda name: None)
    with pytest.raises(KneelError, match="a.dcm is compressed with JPEG-LS Lossless.*.install python-gdcm"):
        read_dicom(path)
    path = compress(source, tmp_path / "a.dcm", "JPEG2000Lossless")
    monkeypatch.setattr(get_decoder(JPEG2000Lossless), "_available", {})
    with pytest.raises(KneelError, match="with JPEG 2000 .*, for which no codec is installed .no pylibjpeg"):
        read_dicom(path)


def test_a_codec_that_cannot_keeps_its_reason(source, tmp_path):
    path = compress(source, tmp_path / "a.dcm", "JPEGExtendedProcess2_4")
    dataset = pydicom.dcmread(path)
    stream = b"\xff\xd8\xff\xc1\x00\x0b\x0c\x00\x78\x00\x64\x01\x01\x11\x00"
    stream += b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    dataset.PixelData = pydicom.encaps.encapsulate([stream + bytes(64) + b"\xff\xd9"])
    dataset.save_as(path)
    with pytest.raises(KneelError) as raised:
        read_dicom(path)
    told = str(raised.value)
    assert "12-bit JPEG Extended, which no codec installed decodes" in told
    assert "gdcm: " in told and "table 0x00 was not defined" in told
    assert "\n" not in told and "truncated" not in told and "damaged" not in told


def test_a_stream_of_another_size_than_the_header_is_damaged(source, tmp_path):
    for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"):
        dataset = pydicom.dcmread(compress(source, tmp_path / "a.dcm", syntax))
        dataset.Rows = 121
        dataset.save_as(tmp_path / "b.dcm")
        with pytest.raises(KneelError, match="header says 100 x 121 pixels, its compressed data 100 x 120"):
            read_dicom(tmp_path / "b.dcm")


def test_run_lengths_are_counted_before_they_fill_the_memory(source, tmp_path, monkeypatch):
    assert dicom_pixels.runs_bytes(b"\x02abc\x80\x81x") == 3 + 128
    monkeypatch.setattr(dicom_pixels, "UNCHECKED_RLE_BYTES", 0)
    path = compress(source, tmp_path / "a.dcm", "RLELossless")
    assert read_dicom(path).grey.shape == (120, 100)
    dataset = pydicom.dcmread(path)
    stream = dicom_pixels.stream_of(dataset)
    dataset.PixelData = pydicom.encaps.encapsulate([stream + b"\x81\x00" * 5000])
    dataset.save_as(path)
    with pytest.raises(KneelError, match="run lengths give more than 24000 bytes"):
        read_dicom(path)


def test_a_deflated_file_is_inflated_within_bounds(pixels, source, tmp_path, monkeypatch):
    assert np.array_equal(read_dicom(deflated(source, tmp_path / "a.dcm")).grey, pixels)
    with pytest.raises(KneelError, match="a.dcm is truncated: its deflated data set has no end"):
        read_dicom(deflated(source, tmp_path / "a.dcm", end=-500))
    monkeypatch.setattr(dicom_files, "GREATEST_FILE_BYTES", 2**20)
    with pytest.raises(KneelError, match="a.dcm has over 1 MiB once inflated"):
        read_dicom(deflated(source, tmp_path / "a.dcm", extra=bytes(2**21)))


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_preamble_and_meta_header_is_read(pixels, source, tmp_path, implicit):
    dataset, file = pydicom.dcmread(source), io.BytesIO()
    plain = Dataset()
    plain.update(dataset)
    plain.save_as(file, implicit_vr=implicit, little_endian=True)
    (tmp_path / "bare").write_bytes(file.getvalue())
    assert np.array_equal(read_radiograph(tmp_path / "bare").grey, pixels)
    (tmp_path / "headed").write_bytes(source.read_bytes()[132:])
    assert np.array_equal(read_radiograph(tmp_path / "headed").grey, pixels)


def test_compressed_pixels_without_a_transfer_syntax_are_one_error(source, tmp_path):
    data = compress(source, tmp_path / "a.dcm", "JPEGLSLossless").read_bytes()
    (tmp_path / "a.dcm").write_bytes(data[data.index(b"\x08\x00\x16\x00UI") :])
    with pytest.raises(KneelError, match="a.dcm is compressed, but its header does not say how"):
        read_dicom(tmp_path / "a.dcm")


def test_an_empty_modality_is_judged_by_the_sop_class(pixels, tmp_path):
    def read(**elements):
        return read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, Modality="", **elements))

    assert read().notes == ()
    assert "no modality" in read(SOPClassUID="1.2.840.10008.5.1.4.1.1.7").notes[0]
    with pytest.raises(KneelError, match="it has no modality, and is a MR Image Storage"):
        read(SOPClassUID=MRImageStorage)


@pytest.mark.parametrize(
    "elements, spacing, origin",
    [
        (
            {"PixelSpacing": [0.18] * 2, "PixelSpacingCalibrationType": "FIDUCIAL"},
            0.18,
            "PixelSpacing (calibrated)",
        ),
        ({"EstimatedRadiographicMagnificationFactor": 1.25}, 0.16, "ImagerPixelSpacing / magnification 1.25"),
        (
            {"EstimatedRadiographicMagnificationFactor": 1.25, "PixelSpacing": [0.16] * 2},
            0.16,
            "ImagerPixelSpacing / magnification 1.25",
        ),
        ({"PixelSpacing": [0.2] * 2}, 0.2, "ImagerPixelSpacing"),
        (
            {"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.3] * 2},
            0.3,
            "NominalScannedPixelSpacing",
        ),
        ({"ImagerPixelSpacing": None}, 0.25, "given"),
    ],
)
def test_the_spacing_names_its_origin(pixels, tmp_path, elements, spacing, origin):
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements), 0.25)
    assert radiograph.mm_per_px == pytest.approx(spacing) and radiograph.spacing_from == origin
    assert radiograph.notes == () and radiograph.spacing_mm == radiograph.mm_per_px


@pytest.mark.parametrize("calibrated", [{}, {"PixelSpacingCalibrationType": "GEOMETRY"}])
def test_a_spacing_that_no_radiograph_has_gives_way_to_the_one_given(pixels, tmp_path, calibrated):
    path = tmp_path / "a.dcm"
    write_radiograph(path, pixels, ImagerPixelSpacing=None, PixelSpacing=[5.0] * 2, **calibrated)
    radiograph = read_dicom(path, 0.2)
    assert (
        radiograph.mm_per_px == 0.2
        and "PixelSpacing is no spacing of a radiograph's pixels ([5.0, 5.0])" in radiograph.notes[0]
    )
    with pytest.raises(KneelError, match="PixelSpacing"):
        read_dicom(path)


def test_a_spacing_that_is_not_needed_may_be_missing(pixels, tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=None)
    radiograph = read_radiograph(path, spacing_needed=False)
    assert radiograph.mm_per_px is None and radiograph.spacing_from == ""
    with pytest.raises(KneelError, match="a.dcm has no pixel spacing: give it"):
        _ = radiograph.spacing_mm


@pytest.mark.parametrize(
    "elements, note",
    [
        ({"PixelSpacing": [0.1] * 2}, "ImagerPixelSpacing 0.2 and PixelSpacing 0.1 contradict each other"),
        ({"EstimatedRadiographicMagnificationFactor": 15}, "Factor 15.0 is none of a knee"),
        ({"BodyPartExamined": "CHEST"}, "the header says body part CHEST"),
        ({"BodyPartExamined": "UPPER LIMB"}, "body part UPPER LIMB"),
        ({"ViewPosition": "LL"}, "view position LL is not a frontal view"),
        ({"PatientOrientation": ["A", "F"]}, r"patient orientation A\F is not a frontal view"),
    ],
)
def test_what_the_header_says_against_a_frontal_knee_is_noted(pixels, tmp_path, elements, note):
    notes = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes
    assert len(notes) == 1 and note in notes[0]


@pytest.mark.parametrize("pair", [[6, 6], [0.0006, 0.0006]])
def test_a_spacing_that_no_radiograph_has_costs_a_doubt_and_not_the_file(pixels, tmp_path, pair):
    path = write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=pair)
    radiograph = read_radiograph(path, spacing_needed=False)
    assert radiograph.mm_per_px is None
    assert (
        len(radiograph.notes) == 1
        and "ImagerPixelSpacing is no spacing of a radiograph" in radiograph.notes[0]
    )
    assert read_radiograph(path, 0.3).mm_per_px == 0.3


@pytest.mark.parametrize(
    "name, value",
    [
        ("EstimatedRadiographicMagnificationFactor", b"1,11"),
        ("PixelAspectRatio", b"a\\b "),
        ("NumberOfFrames", b"one "),
        ("NumberOfFrames", b"0 "),
        ("PixelPaddingValue", b"\x00\x00\x01\x00"),
    ],
)
def test_a_damaged_element_that_could_be_missing_does_not_cost_the_file(pixels, tmp_path, name, value):
    plain = read_radiograph(write_radiograph(tmp_path / "plain.dcm", pixels))
    path = write_radiograph(tmp_path / "a.dcm", pixels)
    dataset = pydicom.dcmread(path)
    vr = {"EstimatedRadiographicMagnificationFactor": "DS", "PixelPaddingValue": "US"}.get(name, "IS")
    dataset[name] = RawDataElement(Tag(name), vr, len(value), value, 0, False, True)
    dataset.save_as(path)
    found = read_radiograph(path)
    assert np.array_equal(found.grey, plain.grey) and found.mm_per_px == plain.mm_per_px


@pytest.mark.parametrize("view", ["FRONTAL", "ANTERO POSTERIOR", "PA AXIAL KNEE"])
def test_a_view_in_words_is_understood(pixels, tmp_path, view):
    notes = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, ViewPosition=view)).notes
    assert bool(notes) == ("AXIAL" in view)


@pytest.mark.parametrize("said, axes", [("R\\F", [1]), ("L\\H", [0]), ("R\\H", [0, 1])])
def test_a_picture_that_the_header_calls_mirrored_or_upside_down_is_turned_without_doubt(
    pixels, tmp_path, said, axes
):
    plain = read_radiograph(write_radiograph(tmp_path / "plain.dcm", pixels))
    path = write_radiograph(tmp_path / "a.dcm", np.flip(pixels, axes), PatientOrientation=said.split("\\"))
    turned = read_radiograph(path)
    assert turned.notes == () and np.array_equal(turned.grey, plain.grey)
    assert turned.turned.endswith(f"(patient orientation {said}), and was turned") and not plain.turned


@pytest.mark.parametrize(
    "part, view", [("KNEE", "AP"), ("KNEES", "PA"), ("LOWER LIMB", ""), ("LEG", "AP FLEXED")]
)
def test_usual_headers_are_no_reason_for_doubt(pixels, tmp_path, part, view):
    elements = {"BodyPartExamined": part, "ViewPosition": view, "PatientOrientation": ["L", "F"]}
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes == ()


@pytest.mark.parametrize("said, axes", [("R\\F", 1), ("L\\H", 0), ("R\\H", (0, 1)), ("L\\F", ())])
def test_a_mirrored_or_upside_down_file_is_turned(pixels, tmp_path, said, axes):
    path = write_radiograph(
        tmp_path / "a.dcm", np.flip(pixels, axes), PatientOrientation=said, PixelPaddingValue=100
    )
    radiograph = read_dicom(path)
    assert np.array_equal(radiograph.grey, np.maximum(pixels, 101))
    assert not radiograph.inside[0, 0] and radiograph.inside.sum() == pixels.size - 1


def test_padding_counts_in_no_statistic(pixels, tmp_path):
    padded = pixels.copy()
    padded[:40] = 4095
    padded[40:50] = 4094
    path = write_radiograph(tmp_path / "a.dcm", padded, PixelPaddingValue=4095, PixelPaddingRangeLimit=4094)
    radiograph, alone = read_dicom(path), read_dicom(write_radiograph(tmp_path / "b.dcm", pixels[50:]))
    assert np.array_equal(radiograph.image[50:], alone.image) and not radiograph.image[:50].any()
    assert not radiograph.inside[:50].any() and radiograph.inside[50:].all() and alone.inside is None
    with pytest.raises(KneelError, match="a.dcm shows nothing: every pixel is padding"):
        read_dicom(write_radiograph(tmp_path / "a.dcm", np.full((80, 80), 7), PixelPaddingValue=7))


@pytest.mark.parametrize(
    "elements, inverted",
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": 1}, True),
        ({"PresentationIntentType": "FOR PRESENTATION", "PixelIntensityRelationshipSign": 1}, False),
    ],
)
def test_bone_is_bright_after_one_inversion(pixels, tmp_path, elements, inverted):
    grey = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).grey
    assert np.array_equal(grey, -pixels if inverted else pixels)


def test_a_voi_curve_is_applied_after_the_rescale_and_a_window_is_not(pixels, tmp_path):
    curve = Dataset()
    values = np.minimum(np.arange(1300) ** 2 // 40, 65535).astype("<u2")
    curve.LUTDescriptor, curve.LUTData = [1300, 50, 16], values.tobytes()
    elements = {"RescaleSlope": 1, "RescaleIntercept": -50, "WindowCenter": 300, "WindowWidth": 10}
    curved = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, VOILUTSequence=[curve], **elements)).grey
    assert np.array_equal(curved, (pixels - 100) ** 2 // 40)
    plain = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, VOILUTSequence=[], **elements)).grey
    assert np.array_equal(plain, pixels - 50)


def test_the_picture_has_the_numbers_that_the_recorded_cohorts_were_made_of(pixels, tmp_path):
    grey = pixels.astype(np.float32)
    low, high = np.percentile(grey, (5, 99))
    before = (np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255).round().astype(np.uint8)
    assert np.array_equal(read_dicom(write_radiograph(tmp_path / "a.dcm", pixels)).image, before)


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
def test_signed_values_keep_their_sign(pixels, tmp_path, syntax):
    values = (pixels - 700).astype("<i2")
    path = write_radiograph(tmp_path / "a.dcm", pixels, PixelRepresentation=1, PixelData=values.tobytes())
    assert np.array_equal(read_dicom(compress(path, tmp_path / "b.dcm", syntax)).grey, values)


def test_a_stream_that_crashes_its_codec_costs_one_file(source, tmp_path, monkeypatch):
    path = compress(source, tmp_path / "a.dcm", "JPEGLosslessProcess14_1")
    broken = tmp_path / "codec.py"
    broken.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(gdcm_process, "__file__", str(broken))
    with pytest.raises(
        KneelError, match="a.dcm is truncated or has damaged pixel data .gdcm: ended with -11"
    ):
        read_dicom(path)
