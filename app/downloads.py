"""What the page saves: each a file's name and its bytes, made by what `predict` writes with."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from app.opened import Opened
from kneel_lib.data.radiographs import file_format
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.answer_tables import as_csv, landmark_table
from kneel_lib.pipeline.corrections import FOLDER, write_picture, write_tables
from kneel_lib.pipeline.measurement_table import measurement_table
from kneel_lib.pipeline.structured_report import write_report

Download = tuple[str, bytes]


def landmarks_csv(opened: Opened) -> Download:
    return f"{opened.name}.landmarks.csv", as_csv(landmark_table([opened.entry])).encode()


def measurements_csv(opened: Opened) -> Download:
    return f"{opened.name}.measurements.csv", as_csv(measurement_table([opened.entry])).encode()


def via_zip(opened: Opened) -> Download:
    """The picture, via.csv and via.json, for the VGG Image Annotator."""
    with TemporaryDirectory() as folder:
        write_tables(write_picture(opened.entry, opened.path, Path(folder)), Path(folder))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(folder, FOLDER).iterdir()):
                archive.write(path, path.name)
    return f"{opened.name}.via.zip", packed.getvalue()


def report(opened: Opened) -> Download:
    """The DICOM structured report. Raises `KneelError` for a picture, which has none."""
    if file_format(opened.path) != "DICOM":
        raise KneelError(f"{opened.name} has no structured report: it is for DICOM files")
    with TemporaryDirectory() as folder:
        path = Path(folder, "report.dcm")
        write_report(opened.entry, opened.path, path)
        return f"{opened.name}.sr.dcm", path.read_bytes()


FORMATS: dict[str, Callable[[Opened], Download]] = {
    "Landmarks (csv)": landmarks_csv,
    "Measurements (csv)": measurements_csv,
    "VIA (zip)": via_zip,
    "Structured report (DICOM)": report,
}


def download(what: str, opened: Opened) -> Download:
    """One of FORMATS. Raises `KneelError`, which names the file and not the folder that it was put into."""
    try:
        return FORMATS[what](opened)
    except KneelError as error:
        raise KneelError(str(error).replace(str(opened.path), opened.name)) from None
