"""DICOM files that are unusual and right, or wrong in a way that only one element, or the codec, can tell."""

import numpy as np
import pydicom
import pytest
from dicom_writer import compress, write_radiograph
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    SecondaryCaptureImageStorage,
)

from kneel_lib.data.dicom import read_dicom, side_said
from kneel_lib.data.dicom_kind import is_frontal
from kneel_lib.data.dicom_pixels import stream_of
from kneel_lib.errors import KneelError
from kneel_lib.pipeline import locate

LOSSLESS = ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless")


@pytest.fixture
def pixels():
    rows, columns = np.mgrid[:120, :100]
    return 100 + 10 * columns + rows


@pytest.fixture
def noisy(pixels):
    return pixels + np.random.default_rng(0).integers(0, 60, pixels.shape)


def code(value, meaning=""):
    made = pydicom.Dataset()
    made.CodeValue, made.CodeMeaning = value, meaning
    return Sequence([made])


def with_header(path, **elements):
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGExtendedProcess2_4"])
@pytest.mark.parametrize("bits", [12, 8])
def test_whatever_codec_reads_it_a_jpeg_stream_with_a_piece_missing_is_doubted(noisy, tmp_path, syntax, bits):
    words = {
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": (noisy // 5).astype("u1").tobytes(),
    }
    path = write_radiograph(tmp_path / "a.dcm", noisy, **(words if bits == 8 else {}))
    path = compress(path, tmp_path / "b.dcm", syntax)
    assert read_dicom(path).notes == ()
    dataset = pydicom.dcmread(path)
    stream = stream_of(dataset)
    middle = len(stream) // 2
    dataset.PixelData = encapsulate([stream[:middle] + stream[middle + len(stream) // 10 :]])
    dataset.save_as(path)
    try:
        notes = read_dicom(path).notes
    except KneelError as error:
        assert "is truncated or has damaged pixel data" in str(error)
    else:
        assert len(notes) == 1 and notes[0].startswith("its compressed data are damaged (Corrupt JPEG data")


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("signed", [False, True])
def test_of_words_that_were_compressed_whole_the_stored_bits_count(noisy, tmp_path, syntax, signed):
    """An overlay, or a sign that was not extended, in words of 16 bits of which 12 are stored."""
    words = (noisy - 600) & 0xFFF if signed else noisy | (noisy % 2 << 12)
    path = write_radiograph(
        tmp_path / "a.dcm", words, BitsStored=16, HighBit=15, PixelRepresentation=int(signed)
    )
    path = with_header(compress(path, tmp_path / "b.dcm", syntax), BitsStored=12, HighBit=11)
    radiograph = read_dicom(path)
    assert np.array_equal(radiograph.grey, noisy - 600 if signed else noisy) and radiograph.notes == ()


def test_garbage_above_the_stored_bits_is_left_out_and_bits_that_are_needed_are_not(pixels, tmp_path):
    garbage = np.random.default_rng(0).integers(0, 16, pixels.shape) << 12
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels | garbage))
    assert np.array_equal(radiograph.grey, pixels) and radiograph.notes == ()
    noise = np.random.default_rng(1).normal(0, 1, pixels.shape)
    for stored, most in ((8, 1 << 12), (10, 1 << 12), (8, 1 << 16), (12, 1 << 16)):
        for share in (0, 0.02):
            whole = (0.8 * most * pixels / pixels.max() + share * most * noise).clip(0, most - 1).astype(int)
            path = write_radiograph(tmp_path / "b.dcm", whole, BitsStored=stored, HighBit=stored - 1)
            radiograph = read_dicom(path)
            assert np.array_equal(radiograph.grey, whole)
            assert radiograph.notes == (f"its pixels have more than the {stored} bits that its header says",)


def test_a_sign_that_pixels_do_not_have_is_said(pixels, tmp_path):
    wide = 3 * pixels  # up to 3657: half of it would be below zero
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", wide, PixelRepresentation=1))
    assert np.array_equal(radiograph.grey, wide)
    assert radiograph.notes == ("its pixels have no sign, though its header says that they have one",)


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": None, "HighBit": None},
        {"HighBit": None},
        {"HighBit": 65535},
        {"PixelRepresentation": None},
        {"SamplesPerPixel": None},
        {"BitsStored": 17},
    ],
)
def test_what_a_header_does_not_say_of_its_words_is_what_they_are(pixels, tmp_path, elements):
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements))
    assert np.array_equal(radiograph.grey, pixels) and radiograph.notes == ()


def test_a_range_of_padding_does_not_count_as_bits_too_many(pixels, tmp_path):
    padded = pixels.copy()
    padded[:, :5], padded[:, 5:10] = 65535, 65100
    marks = {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 65000}
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", padded, **marks))
    assert radiograph.notes == () and not radiograph.inside[:, :10].any() and radiograph.inside[:, 10:].all()


def test_padding_that_words_cannot_hold_marks_nothing(pixels, tmp_path):
    eight = (pixels // 5).clip(0, 255)
    eight[0] = 255
    words = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": eight.astype("u1").tobytes()}
    for limit in (None, 65280):
        marks = {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": limit}
        radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", eight, **words, **marks))
        assert np.array_equal(radiograph.grey, eight)
        assert radiograph.inside is None or radiograph.inside.all()


@pytest.mark.parametrize("modality", ["OT", "DR", "SC", None])
def test_where_the_modality_says_little_the_sop_class_decides(pixels, tmp_path, modality):
    said = {"Modality": modality, "SOPClassUID": DigitalXRayImageStorageForPresentation}
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **said)).notes == ()
    if modality:
        with pytest.raises(KneelError, match=f"its modality is '{modality}'"):
            read_dicom(
                write_radiograph(tmp_path / "b.dcm", pixels, Modality=modality, SOPClassUID=CTImageStorage)
            )


def test_a_sop_class_of_another_kind_of_picture_is_doubted_and_a_private_one_is_not(pixels, tmp_path):
    for known in (SecondaryCaptureImageStorage, "1.2.840.113619.4.26"):
        assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, SOPClassUID=known)).notes == ()
    notes = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, SOPClassUID=CTImageStorage)).notes
    assert notes == ("the header says that this is a CT Image Storage",)


@pytest.mark.parametrize(
    "elements",
    [
        *({"BodyPartExamined": part} for part in ("LOW_EXM", "LOWEXM", "LOW EXT", "UNKNOWN", "OTHER")),
        *(
            {"ViewPosition": view}
            for view in ("STANDING AP", "AP_STANDING", "BILATERAL AP", "WEIGHT BEARING", "ROSENBERG")
        ),
        {"ViewCodeSequence": code("R-10206", "bilateral antero-posterior")},
        {"ViewCodeSequence": code("399348003")},
        {"AnatomicRegionSequence": code("T-D9200", "Polvi")},
        {"AnatomicRegionSequence": code("T-D9200", "somewhere")},
        {"PatientAge": "061Y"},
    ],
)
def test_headers_as_hospitals_write_them_are_no_reason_for_doubt(pixels, tmp_path, elements):
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes == ()


@pytest.mark.parametrize(
    "elements, word",
    [
        ({"BodyPartExamined": "UPPER EXTREMITY"}, "UPPER EXTREMITY"),
        ({"BodyPartExamined": "STEISSBEIN"}, "STEISSBEIN"),
        ({"ViewCodeSequence": code("R-10226", "medio-lateral")}, "MEDIO-LATERAL"),
        ({"ViewCodeSequence": code("R-10226", "mediolateral")}, "MEDIOLATERAL"),
        ({"ViewPosition": "TUNNEL"}, "TUNNEL"),
        ({"ViewPosition": "AP LATERAL"}, "LATERAL"),
        ({"ViewCodeSequence": code("R-10236", "sagittal")}, "SAGITTAL"),
        ({"ViewCodeSequence": code("R-10230", "infero-superior")}, "INFERO-SUPERIOR"),
        ({"ViewCodeSequence": code("R-10236")}, "R-10236"),
        ({"AnatomicRegionSequence": code("T-15710", "Hip joint")}, "HIP JOINT"),
        ({"PatientAge": "008Y"}, "008Y"),
        ({"PatientAge": "030M"}, "030M"),
    ],
)
def test_headers_that_speak_of_something_else_are_doubted(pixels, tmp_path, elements, word):
    (note,) = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes
    assert word in note


def test_a_view_with_points_is_understood():
    assert is_frontal("A.P.") and is_frontal("P.A. STANDING") and not is_frontal("LAT.")


@pytest.mark.parametrize(
    "written, side",
    [
        ("R", "R"),
        ("RIGHT", "R"),
        ("RT", "R"),
        ("LT", "L"),
        ("LINKS", "L"),
        ("B", "B"),
        ("LR", "B"),
        ("R/L", "B"),
        ("RIGHT LEFT", "B"),
    ]
    + [(word, "") for word in ("", "U", "LOWER", "LATERAL", "LEG", "UNKNOWN", "RL1")],
)
def test_a_side_is_a_word_and_no_first_letter(written, side):
    assert side_said(written) == side


@pytest.mark.parametrize(
    "elements, doubted",
    [
        ({"PixelSpacing": [0.18] * 2, "PixelSpacingCalibrationType": "FIDUCIAL"}, False),
        ({"PixelSpacing": [0.24] * 2, "PixelSpacingCalibrationType": "FIDUCIAL"}, True),
        ({"PixelSpacing": [0.1] * 2, "PixelSpacingCalibrationType": "FIDUCIAL"}, True),
        (
            {
                "PixelSpacing": [0.17] * 2,
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "EstimatedRadiographicMagnificationFactor": 1.02,
            },
            True,
        ),
        ({"NominalScannedPixelSpacing": [0.23] * 2}, True),
        ({"NominalScannedPixelSpacing": [0.2] * 2}, False),
        (
            {"ImagerPixelSpacing": None, "PixelSpacing": [0.2] * 2, "NominalScannedPixelSpacing": [0.23] * 2},
            True,
        ),
        ({"EstimatedRadiographicMagnificationFactor": 0.9}, True),
        ({"EstimatedRadiographicMagnificationFactor": 0}, False),
    ],
)
def test_spacings_that_contradict_each_other_are_said(pixels, tmp_path, elements, doubted):
    notes = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).notes
    assert bool(notes) == doubted
    assert all("contradict each other" in note or "is none of a knee" in note for note in notes)


def test_a_magnification_that_is_not_used_is_named_with_the_spacing(pixels, tmp_path):
    said = {"ImagerPixelSpacing": None, "PixelSpacing": [0.2] * 2}
    path = write_radiograph(tmp_path / "a.dcm", pixels, **said, EstimatedRadiographicMagnificationFactor=1.1)
    radiograph = read_dicom(path)
    assert radiograph.mm_per_px == 0.2 and radiograph.notes == ()
    assert radiograph.spacing_from == "PixelSpacing, magnification 1.1 not used"


def table(entries, declared):
    made = pydicom.Dataset()
    made.LUTDescriptor, made.LUTData = declared, entries
    made["LUTData"].VR = "US"
    return Sequence([made])


@pytest.mark.parametrize(
    "name, vr, value",
    [
        ("RescaleSlope", "DS", "0"),
        ("RescaleSlope", "LO", "1,0"),
        ("RescaleSlope", "LO", "nan"),
        ("RescaleIntercept", "LO", "none"),
        ("PixelIntensityRelationshipSign", "LO", "x"),
        ("VOILUTSequence", "LO", "a curve"),
        ("AnatomicRegionSequence", "LO", "knee"),
        ("ViewCodeSequence", "LO", "AP"),
    ],
)
def test_a_damaged_element_that_could_be_missing_costs_a_doubt_at_the_most(pixels, tmp_path, name, vr, value):
    dataset = pydicom.dcmread(
        write_radiograph(tmp_path / "a.dcm", pixels, PresentationIntentType="FOR PROCESSING")
    )
    dataset.add_new(name, vr, value)
    dataset.save_as(tmp_path / "a.dcm")
    radiograph = read_dicom(tmp_path / "a.dcm")
    assert np.array_equal(radiograph.grey, pixels) and len(radiograph.notes) <= 1
    assert all("not used" in note for note in radiograph.notes)


@pytest.mark.parametrize("declared", [[4096, 0, 16], [200, 0]])
def test_a_curve_with_fewer_entries_than_it_says_is_not_used(pixels, tmp_path, declared):
    short = table(list(range(200)), declared)
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, VOILUTSequence=short))
    assert np.array_equal(radiograph.grey, pixels)
    assert len(radiograph.notes) == 1 and "VOI LUT is damaged" in radiograph.notes[0]


def test_a_number_written_as_text_is_one_number(pixels, tmp_path):
    dataset = pydicom.dcmread(write_radiograph(tmp_path / "a.dcm", pixels))
    dataset.add_new("RescaleSlope", "LO", "15")
    dataset.save_as(tmp_path / "a.dcm")
    assert np.array_equal(read_dicom(tmp_path / "a.dcm").grey, 15 * pixels)


def test_what_is_missing_is_told_by_what_there_is(pixels, tmp_path):
    cut = compress(write_radiograph(tmp_path / "a.dcm", pixels), tmp_path / "b.dcm", "JPEGLSLossless")
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(KneelError, match="holds no pixels, and nothing else: it is truncated or damaged"):
        read_dicom(cut)
    with pytest.raises(KneelError, match="holds no pixels, though .* picture: it is truncated or damaged"):
        read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, PixelData=None))
    elements = {"PixelData": None, "Rows": None, "Columns": None, "SOPClassUID": EncapsulatedPDFStorage}
    with pytest.raises(KneelError, match="holds no pixels: it is a Encapsulated PDF Storage"):
        read_dicom(write_radiograph(tmp_path / "c.dcm", pixels, **elements))
    with pytest.raises(KneelError, match="holds no pixels"):
        read_dicom(write_radiograph(tmp_path / "d.dcm", pixels, PixelData=b""))
    with pytest.raises(KneelError, match="holds 2 frames: expected one"):
        read_dicom(write_radiograph(tmp_path / "e.dcm", pixels, PixelData=2 * pixels.astype("<u2").tobytes()))
    dataset = pydicom.dcmread(write_radiograph(tmp_path / "f.dcm", pixels))
    dataset["PixelData"].VR = "OW"
    del dataset.BitsAllocated
    dataset.save_as(tmp_path / "f.dcm")
    with pytest.raises(KneelError, match="does not say how many bits a pixel has .BitsAllocated."):
        read_dicom(tmp_path / "f.dcm")


def test_where_no_knee_is_found_the_files_own_faults_are_named(pixels, tmp_path, tiny_networks):
    _, (search,) = tiny_networks
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, HighBit=9, BitsStored=10))
    with pytest.raises(locate.NoKneeFound, match="could find .its pixels have more than the 10 bits"):
        locate.locate(radiograph, tiny_networks[0], [search])
