"""Answers for a person to correct: pictures, a csv and a project for the VGG Image Annotator (VIA 2).

VIA shows no DICOM, so what it opens are pictures of the files, pixel for pixel, and each says which file it
is a picture of. What is saved there is read by `data.via.load_via` with the folder of the files themselves.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kneel_lib.data.crops import sha256
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.via import via_rows, write_via
from kneel_lib.errors import KneelError
from kneel_lib.files import write_text, write_whole
from kneel_lib.pipeline.input_files import written_path

FOLDER = "via"
WRITTEN = "via_written.json"
"""Beside that folder: the hashes of its tables, by which corrected ones are known."""

SIDES, GRADES = ("L", "R"), ("", "0", "1", "2", "3", "4")


def write_picture(entry: Mapping[str, Any], file: Path, output: Path) -> list[dict[str, Any]]:
    """Write the picture of one answered file under `output`/via; returns its csv rows. entry: as
    `predict.answer` makes it. Raises `KneelError`."""
    picture = cv2.imencode(".png", read_radiograph(file, spacing_needed=False).image)[1].tobytes()
    path = written_path(output / FOLDER, entry["file"], ".png")
    write_whole(path, lambda temporary: temporary.write_bytes(picture))
    name = path.relative_to(output / FOLDER).as_posix()
    knees = [(knee["side"], "", "", np.array(knee["landmarks_px"])) for knee in entry["knees"]]
    return via_rows(name, len(picture), knees, entry["file"])


def write_tables(rows: list[dict[str, Any]], output: Path) -> None:
    """via.csv and the project via.json of all rows, beside their pictures. Raises `KneelError`, and writes
    neither, where one was changed since it was written: a person's corrections are not made twice."""
    folder = output / FOLDER
    table, whole = folder / "via.csv", folder / "via.json"
    for path in (table, whole):
        if path.is_file() and read_written(output).get(path.name) != sha256(path):
            raise KneelError(
                f"{path} was changed after it was written, corrected perhaps: it is left as it is; move it "
                "away, or give another folder (--output)"
            )
    write_via(table, rows)
    write_text(whole, json.dumps(project(rows), indent=1) + "\n")
    write_text(output / WRITTEN, json.dumps({path.name: sha256(path) for path in (table, whole)}) + "\n")


def read_written(output: Path) -> dict[str, str]:
    """{table: hash} as they were written last; empty where that is not known."""
    try:
        found = json.loads((output / WRITTEN).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def project(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A VIA 2 project with the regions of csv rows."""
    pictures: dict[str, dict[str, Any]] = {}
    for row in rows:
        picture = pictures.setdefault(
            f"{row['filename']}{row['file_size']}",
            {
                "filename": row["filename"],
                "size": row["file_size"],
                "regions": [],
                "file_attributes": json.loads(row["file_attributes"]),
            },
        )
        parts = {name: json.loads(row[f"region_{name}"]) for name in ("shape_attributes", "attributes")}
        region = {"shape_attributes": parts["shape_attributes"], "region_attributes": parts["attributes"]}
        picture["regions"].append(region)
    about = {"bone": choice("tibia", "femur"), "side": choice(*SIDES), "kl": choice(*GRADES)}
    return {
        "_via_settings": {
            "core": {"buffer_size": 18, "filepath": {}, "default_filepath": ""},
            "project": {"name": "kneel"},
        },
        "_via_img_metadata": pictures,
        "_via_attributes": {"region": about | {"subject": free_text()}, "file": {"source": free_text()}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(pictures),
    }


def choice(*names: str) -> dict[str, Any]:
    """An attribute of VIA with a list to choose from."""
    options = dict.fromkeys(names, "")
    return {"type": "dropdown", "description": "", "options": options, "default_options": {}}


def free_text() -> dict[str, str]:
    return {"type": "text", "description": "", "default_value": ""}
