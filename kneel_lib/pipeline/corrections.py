"""Answers for a person to correct: pictures, a csv and a project for the VGG Image Annotator (VIA 2).

VIA shows no DICOM, so what it opens are pictures of the files, pixel for pixel, and each says which file it
is a picture of. What is saved there is read by `data.via.load_via` with the folder of the files themselves.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kneel_lib.data.crops import sha256
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.via import via_csv, via_rows
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
    texts = {
        folder / "via.csv": via_csv(rows),
        folder / "via.json": json.dumps(project(rows), indent=1) + "\n",
    }
    written = read_written(output)
    for path in texts:
        if path.is_file() and sha256(path) not in written.get(path.name, ()):
            raise KneelError(
                f"{path} was changed after it was written, corrected perhaps: it is left as it is; move it "
                "away, or give another folder (--output)"
            )
    hashes = {path.name: hashlib.sha256(text.encode()).hexdigest() for path, text in texts.items()}
    before = {name: written.get(name, [])[-1:] for name in hashes}  # whatever ends this leaves known files
    write_text(output / WRITTEN, json.dumps({name: [*before[name], hashes[name]] for name in hashes}) + "\n")
    for path, text in texts.items():
        write_text(path, text)


def read_written(output: Path) -> dict[str, list[str]]:
    """{table: hashes} that it may have if nobody changed it; empty where that is not known."""
    try:
        found = json.loads((output / WRITTEN).read_text())
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {
        name: [known] if isinstance(known, str) else [str(each) for each in known]
        for name, known in entries
        if isinstance(known, str | list)
    }


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
