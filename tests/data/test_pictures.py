"""Pictures of every format and mode, told by content."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from kneel_lib.data import pictures, tiff
from kneel_lib.data.radiographs import Radiograph, file_format, read_radiograph
from kneel_lib.errors import KneelError


@pytest.fixture
def grey():
    rows, columns = np.mgrid[:120, :100]
    return (columns + rows).astype(np.uint8)


FORMATS = {"PNG": "png", "JPEG": "jfif", "TIFF": "tiff", "BMP": "bmp", "WEBP": "webp"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ending", ["", ".dcm", ".txt"])
def test_a_format_is_told_by_content(grey, tmp_path, name, ending):
    path = tmp_path / f"knee{ending}"
    Image.fromarray(grey).save(path, name)
    radiograph = read_radiograph(path, 0.3)
    assert file_format(path) == name and np.abs(radiograph.grey - grey).max() <= 6
    assert (radiograph.mm_per_px, radiograph.spacing_from, radiograph.notes) == (0.3, "given", ())


def grey_in_mode(grey, mode):
    """The same grey values in another Pillow mode."""
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 256)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32))
    return Image.fromarray(grey).convert(mode)


@pytest.mark.parametrize(
    "mode, name",
    [
        *((mode, "PNG") for mode in ("L", "P", "LA", "RGB", "RGBA", "I;16")),
        *((mode, "TIFF") for mode in ("CMYK", "I;16", "F", "LAB", "P")),
        ("CMYK", "JPEG"),
    ],
)
def test_every_mode_gives_the_same_picture(grey, tmp_path, mode, name):
    if mode == "LAB":
        picture = Image.merge("LAB", [Image.fromarray(grey), *[Image.new("L", (100, 120), 128)] * 2])
    else:
        picture = grey_in_mode(grey, mode)
    picture.save(tmp_path / "a", name)
    radiograph = read_radiograph(tmp_path / "a", 0.3)
    plain = Radiograph(tmp_path, grey.astype(np.float32), 0.3)
    assert np.abs(radiograph.image.astype(int) - plain.image).max() <= 5
    assert radiograph.notes == () and radiograph.inside is None


@pytest.mark.parametrize(
    "values",
    [
        lambda grey: grey.astype(np.uint32) * 16_000_000,
        lambda grey: grey.astype(np.int32) * 8_000_000,
        lambda grey: grey.astype(np.float64) / 255,
        lambda grey: grey.astype(np.float16),
        lambda grey: (grey.astype(np.int16) - 128).astype(np.int8),
        lambda grey: (grey.astype(np.int32) - 128).astype(np.int16) * 200,
        lambda grey: grey.astype(np.uint64) * 2**50,
        lambda grey: np.stack([grey.astype(np.uint16) * 256, np.full(grey.shape, 65535, np.uint16)], axis=2),
    ],
    ids=["uint32", "int32", "float64", "float16", "int8", "int16", "uint64", "16 bits with alpha"],
)
def test_every_kind_of_number_in_a_tiff_gives_the_same_picture(grey, tmp_path, values):
    stored = values(grey)
    alpha = {"planarconfig": "contig", "extrasamples": ["unassalpha"]} if stored.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", **alpha)
    radiograph = read_radiograph(tmp_path / "a.tif", 0.3)
    plain = Radiograph(tmp_path, grey.astype(np.float32), 0.3)
    assert np.abs(radiograph.image.astype(int) - plain.image).max() <= 1 and radiograph.notes == ()


@pytest.mark.parametrize(
    "how",
    [
        {"byteorder": ">", "compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"planarconfig": "contig"},
    ],
    ids=str,
)
def test_numbers_in_another_order_give_the_same_picture(grey, tmp_path, how):
    stored = grey.astype(np.uint16) * 250
    if planes := how.get("planarconfig"):
        stored = np.stack([stored] * 3, axis=0 if planes == "separate" else 2)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb" if planes else "minisblack", **how)
    radiograph = read_radiograph(tmp_path / "a.tif", 0.3)
    plain = Radiograph(tmp_path, grey.astype(np.float32), 0.3)
    assert np.abs(radiograph.image.astype(int) - plain.image).max() <= 1 and radiograph.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [np.float64, np.uint8])
def test_a_tiff_of_any_numbers_is_turned_as_its_header_says(grey, tmp_path, orientation, kind):
    upright = grey[:, : grey.shape[0] - 8].astype(kind)
    back = {6: 8, 8: 6}.get(orientation, orientation)
    stored = np.asarray(tiff.UPRIGHT.get(back, lambda values: values)(upright[..., None]))[..., 0]
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", extratags=tags)
    assert np.array_equal(read_radiograph(tmp_path / "a.tif", 0.3).grey, upright.astype(np.float32))


def test_colours_and_pixels_that_are_not_square_are_doubted_in_a_tiff_of_floats(grey, tmp_path):
    colours = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2) / np.float64(255)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", resolution=(10, 15))
    square, coloured = read_radiograph(tmp_path / "a.tif", 0.3).notes
    assert "10 x 15 says" in square and coloured.startswith("coloured picture")


def test_a_shape_of_pixels_without_a_unit_is_doubted_too(grey, tmp_path):
    picture = Image.fromarray(grey)
    picture.save(tmp_path / "a.jpg")
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    assert data[6:10] == b"JFIF"
    data[13:18] = bytes([0, 0, 2, 0, 3])  # no unit, 2 across to 3 down
    (tmp_path / "a.jpg").write_bytes(data)
    (said,) = read_radiograph(tmp_path / "a.jpg", 0.3).notes
    assert "2 x 3 says that its pixels are not square" in said


def test_a_bitmap_whose_fourth_byte_is_unused_is_no_transparent_one(grey, tmp_path):
    colours = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    Image.fromarray(colours).save(tmp_path / "a.bmp")
    assert np.array_equal(read_radiograph(tmp_path / "a.bmp", 0.3).grey, grey.astype(np.float32))


def test_several_pages_of_numbers_that_pillow_does_not_know_are_refused(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([grey, grey]).astype(np.float64), photometric="minisblack")
    with pytest.raises(KneelError, match="holds several pages"):
        read_radiograph(tmp_path / "a.tif", 0.3)


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_a_resolution_that_says_that_pixels_are_not_square_is_doubted(grey, tmp_path, name):
    Image.fromarray(grey).save(tmp_path / "a", name, dpi=(130, 100))
    (said,) = read_radiograph(tmp_path / "a", 0.3).notes
    assert "130 x 100 says that its pixels are not square" in said
    Image.fromarray(grey).save(tmp_path / "b", name, dpi=(96, 96))
    assert read_radiograph(tmp_path / "b", 0.3).notes == ()


def test_false_colours_in_lab_are_noted(grey, tmp_path):
    channels = grey, grey[::-1], grey[:, ::-1]
    Image.merge("LAB", [Image.fromarray(np.ascontiguousarray(part)) for part in channels]).save(
        tmp_path / "a", "TIFF"
    )
    assert read_radiograph(tmp_path / "a", 0.3).notes == (pictures.COLOUR_NOTE,)


def test_a_caller_s_uint8_picture_is_taken_as_it_is(grey, tmp_path):
    assert Radiograph(tmp_path, grey, 0.3).image is grey


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_honoured_once(grey, tmp_path, orientation, name):
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = Image.fromarray(grey)
    stored = stored if turn is None else stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a", name, exif=exif)
    read = read_radiograph(tmp_path / "a", 0.3).grey
    assert read.shape == grey.shape and np.abs(read - grey).max() <= 8


def test_transparent_pixels_and_those_that_are_no_number_do_not_count(grey, tmp_path):
    alpha = np.full_like(grey, 255)
    alpha[:30] = 0
    shown = grey.copy()
    shown[:30] = 255
    Image.merge("LA", [Image.fromarray(shown), Image.fromarray(alpha)]).save(tmp_path / "a.png")
    holes = grey.astype(np.float32)
    holes[:30] = np.nan
    Image.fromarray(holes).save(tmp_path / "b.tiff")
    expected = Radiograph(tmp_path, grey[30:].astype(np.float32), 0.3).image
    for name in ("a.png", "b.tiff"):
        radiograph = read_radiograph(tmp_path / name, 0.3)
        assert np.array_equal(radiograph.image[30:], expected) and not radiograph.image[:30].any()
        assert np.isfinite(radiograph.grey).all() and not radiograph.inside[:30].any()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiff_whose_white_is_zero_is_turned_round(grey, tmp_path, depth):
    greatest = np.iinfo(depth).max
    Image.fromarray(greatest - grey.astype(depth)).save(tmp_path / "a.tiff")
    data = bytearray((tmp_path / "a.tiff").read_bytes())
    place = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
    data[place + 8 : place + 10] = b"\0\0"
    (tmp_path / "a.tiff").write_bytes(data)
    plain = Radiograph(tmp_path, grey.astype(np.float32), 0.3).image
    image = read_radiograph(tmp_path / "a.tiff", 0.3).image
    assert np.corrcoef(image.ravel(), plain.ravel())[0, 1] > 0.99


def test_a_coloured_picture_is_noted_and_a_coloured_mark_is_not(grey, tmp_path):
    colours = np.stack([grey, 255 - grey, grey // 2], axis=2)
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert "coloured picture" in read_radiograph(tmp_path / "a.png", 0.3).notes[0]
    marked = np.stack([grey] * 3, axis=2)
    marked[:8, :8] = 255, 0, 0
    Image.fromarray(marked).save(tmp_path / "b.png")
    assert read_radiograph(tmp_path / "b.png", 0.3).notes == ()


def test_pictures_that_are_refused(grey, tmp_path):
    picture = Image.fromarray(grey)
    picture.save(tmp_path / "pages.tif", save_all=True, append_images=[picture])
    picture.save(tmp_path / "moving.webp", save_all=True, append_images=[Image.fromarray(255 - grey)])
    Image.new("L", (20_001, 64)).save(tmp_path / "long.png")
    Image.new("L", (9000, 9000)).save(tmp_path / "large.png")
    picture.save(tmp_path / "knee.gif")
    picture.save(tmp_path / "twelve.jpg")
    data = (tmp_path / "twelve.jpg").read_bytes()
    (tmp_path / "twelve.jpg").write_bytes(data.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x0c"))
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    for name, message in {
        "pages.tif": "holds several pages: give one radiograph a file",
        "moving.webp": "holds several pages",
        "long.png": "has 20001 x 64 pixels: that is no radiograph",
        "large.png": "has 9000 x 9000 pixels",
        "knee.gif": "is neither DICOM nor a picture that can be read: give a DICOM, PNG, JPEG",
        "twelve.jpg": "is not a readable picture .*12-bit JPEG",
        "half.jpg": "is not a readable picture .*truncated",
        "empty.png": "is an empty file",
        "": "is no file",
    }.items():
        with pytest.raises(KneelError, match=message) as raised:
            read_radiograph(tmp_path / name, 0.3)
        assert "\n" not in str(raised.value) and str(tmp_path / name) in str(raised.value)


def test_a_picture_without_a_spacing_is_read_where_none_is_needed(grey, tmp_path):
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert read_radiograph(tmp_path / "a.png", spacing_needed=False).mm_per_px is None
    with pytest.raises(KneelError, match="a.png is a picture and does not say"):
        read_radiograph(tmp_path / "a.png")
