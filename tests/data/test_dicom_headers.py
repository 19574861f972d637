"""DICOM headers and the radiographs of the pydicom-data package: spacing, defects, JPEG 2000."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_writer import write_radiograph
from pydicom.uid import CTImageStorage

from kneel_lib.data.dicom import read_dicom
from kneel_lib.errors import KneelError

data_store = pytest.importorskip("data_store")
REAL = Path(data_store.__file__).parent / "data"


@pytest.fixture
def pixels():
    rows, columns = np.mgrid[:120, :100]
    return 100 + 10 * columns + rows


def test_grey_values_are_stretched_between_the_percentiles(pixels, tmp_path):
    radiograph = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, ImageLaterality="L"))
    low, high = np.percentile(pixels, (5, 99))
    assert radiograph.mm_per_px == 0.2 and radiograph.side == "L"
    assert np.abs(radiograph.image - np.clip((pixels - low) / (high - low), 0, 1) * 255).max() <= 0.51


def test_monochrome1_is_turned_round_and_a_rescale_slope_changes_nothing(pixels, tmp_path):
    plain = read_dicom(write_radiograph(tmp_path / "a.dcm", pixels)).image
    inverted = read_dicom(
        write_radiograph(tmp_path / "b.dcm", 4000 - pixels, PhotometricInterpretation="MONOCHROME1")
    ).image
    scaled = read_dicom(
        write_radiograph(tmp_path / "c.dcm", pixels, RescaleSlope=2, RescaleIntercept=-50, RescaleType="US")
    ).image
    assert np.abs(plain.astype(int) - inverted).max() <= 1 and np.abs(plain.astype(int) - scaled).max() <= 1


@pytest.mark.parametrize(
    "elements, expected",
    [
        ({"PixelSpacing": [0.3, 0.3]}, 0.2),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.3, 0.3]}, 0.3),
        ({"ImagerPixelSpacing": [0, 0], "PixelSpacing": [0.15, 0.15]}, 0.15),
        ({"ImagerPixelSpacing": [6, 6], "PixelSpacing": [0.15, 0.15]}, 0.15),
        ({"ImagerPixelSpacing": [0.0006, 0.0006], "PixelSpacing": [0.15, 0.15]}, 0.15),
        ({"ImagerPixelSpacing": [0.2, 0.3], "PixelSpacing": [0.15, 0.15]}, 0.15),
    ],
)
def test_spacing_comes_from_the_tags_in_order(pixels, tmp_path, elements, expected):
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements)).mm_per_px == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    "elements, message",
    [
        ({"ImagerPixelSpacing": None}, "no usable pixel spacing .it has none of"),
        ({"ImagerPixelSpacing": [0, 0]}, "no usable pixel spacing .it has only Imager"),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, "not square: ImagerPixelSpacing is 0.2 x 0.3 mm"),
        ({"ImagerPixelSpacing": [7, 7]}, "no usable pixel spacing .it has only ImagerPixelSpacing .7.0, 7.0"),
        ({"Modality": None, "SOPClassUID": CTImageStorage}, "it has no modality, and is a CT Image Storage"),
        ({"ImagerPixelSpacing": 0.2}, "no usable pixel spacing .it has only ImagerPixelSpacing .0.2.."),
        ({"PixelData": None}, "holds no pixels"),
        ({"Modality": "MR"}, "not a projection radiograph: its modality is 'MR'"),
        ({"PhotometricInterpretation": "RGB"}, "not a grey picture"),
        ({"NumberOfFrames": 5}, "holds 5 frames"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels: that is no radiograph"),
        ({"PixelData": b"\0" * 500}, "truncated or has damaged pixel data"),
    ],
)
def test_each_defect_is_named(pixels, tmp_path, elements, message):
    with pytest.raises(KneelError, match=message) as raised:
        read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **elements))
    assert "\n" not in str(raised.value) and "a.dcm" in str(raised.value)


def test_a_spacing_is_taken_where_the_file_has_none(pixels, tmp_path):
    assert (
        read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=None), 0.25).mm_per_px
        == 0.25
    )
    assert (
        read_dicom(
            write_radiograph(tmp_path / "b.dcm", pixels, ImagerPixelSpacing=[0.2, 0.2]), 0.25
        ).mm_per_px
        == 0.2
    )
    with pytest.raises(KneelError, match="pixel spacing of 7 mm .as given."):
        read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=None), 7)


def test_a_side_of_another_kind_than_text_is_one_clear_error(pixels, tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", pixels)
    dataset = pydicom.dcmread(path)
    dataset.add(pydicom.DataElement(0x00200062, "CS", "R"))
    dataset.save_as(path)
    data = path.read_bytes()
    place = data.index(b"\x20\x00\x62\x00CS")
    path.write_bytes(data[: place + 4] + b"FD" + data[place + 6 :])
    with pytest.raises(KneelError, match="has a damaged element ImageLaterality"):
        read_dicom(path)


def test_files_that_are_no_dicom(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"\x89PNG and so on" * 50)
    with pytest.raises(KneelError, match="is not a DICOM file"):
        read_dicom(tmp_path / "a.dcm")
    with pytest.raises(KneelError, match="cannot be read: No such file"):
        read_dicom(tmp_path / "b.dcm")
    (tmp_path / "c.dcm").write_bytes(b"")
    with pytest.raises(KneelError, match="is an empty file"):
        read_dicom(tmp_path / "c.dcm")


@pytest.mark.parametrize("name", ["RG1_UNCR", "RG1_J2KR", "RG1_J2KI"])
def test_rg1_has_a_spacing_of_zero(name):
    with pytest.raises(KneelError, match="no usable pixel spacing .it has only PixelSpacing .0.0, 0.0."):
        read_dicom(REAL / f"{name}.dcm")


@pytest.mark.parametrize("name", ["RG3_UNCR", "RG3_J2KR"])
def test_rg3_has_no_spacing(name):
    with pytest.raises(KneelError, match="no usable pixel spacing .it has none of"):
        read_dicom(REAL / f"{name}.dcm")


def test_jpeg_2000_gives_the_pixels_of_the_uncompressed_file(tmp_path):
    images = []
    for name in ("RG3_UNCR", "RG3_J2KR"):
        dataset = pydicom.dcmread(REAL / f"{name}.dcm")
        dataset.ImagerPixelSpacing = [0.1, 0.1]
        dataset.save_as(tmp_path / f"{name}.dcm")
        images.append(read_dicom(tmp_path / f"{name}.dcm").image)
    assert images[0].shape == (1760, 1760) and np.array_equal(*images)


def test_the_detectors_and_the_files_spacing_come_before_that_of_a_scanned_film(pixels, tmp_path):
    spacings = {"PixelSpacing": [0.3, 0.3], "NominalScannedPixelSpacing": [0.4, 0.4]}
    path = write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=None, **spacings)
    radiograph = read_dicom(path)
    assert (radiograph.mm_per_px, radiograph.spacing_from) == (0.3, "PixelSpacing")


@pytest.mark.parametrize(
    "columns_mm, square", [(0.2019, True), (0.1981, True), (0.2021, False), (0.1979, False)]
)
def test_pixels_are_square_to_one_percent(pixels, tmp_path, columns_mm, square):
    path = write_radiograph(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=[0.2, columns_mm])
    if square:
        assert read_dicom(path).mm_per_px == pytest.approx((0.2 + columns_mm) / 2)
    else:
        with pytest.raises(KneelError, match=f"not square: ImagerPixelSpacing is 0.2 x {columns_mm} mm"):
            read_dicom(path)


@pytest.mark.parametrize(
    "said, side",
    [
        ({"ImageLaterality": "L", "Laterality": "R"}, "L"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "R"),
        ({"ImageLaterality": "U", "Laterality": "R"}, "R"),
        ({"Laterality": "L"}, "L"),
        ({}, ""),
    ],
)
def test_the_side_of_the_image_comes_before_that_of_the_series(pixels, tmp_path, said, side):
    assert read_dicom(write_radiograph(tmp_path / "a.dcm", pixels, **said)).side == side
