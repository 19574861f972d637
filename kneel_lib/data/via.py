"""Landmarks as csv or project of the VGG Image Annotator (VIA 2), with which the paper's authors annotated,
so that any hospital can bring a set.

A region is a polyline along one bone's landmarks in pixels of the file (tibia: 9 points, femur: 7), lateral
to medial or the other way round. Its region_attributes name the bone and the side: {"bone": "tibia", "side":
"R", "kl": "2", "subject": "17"}; kl and subject may be left out (then the grade is unknown, the file is the
subject). Its file_attributes may name the source, {"source": "knee.dcm"}, where what is annotated is a
picture of a file that VIA cannot show: then the source is read, whose pixels lie where the picture's do.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge, Le
from joblib import delayed

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import ROI_SPACING_MM
from kneel_lib.data.json_records import read_json
from kneel_lib.data.oai import CutKnee, check_inside, gather, knee_picture
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.subjects import names_a_subject, subject_of
from kneel_lib.data.tables import PATH, Rule, Schema, read_table, said
from kneel_lib.errors import KneelError
from kneel_lib.files import inside, write_text
from kneel_lib.processes import pool

COLUMNS = (
    "filename",
    "file_size",
    "file_attributes",
    "region_count",
    "region_id",
    "region_shape_attributes",
    "region_attributes",
)
BONES = {"tibia": landmarks.TIBIA, "femur": landmarks.FEMUR}

JSON = Rule("str", "a json object as VIA 2 writes it", lambda cells: cells.str.startswith("{"))
REGIONS = Schema(
    {"filename": PATH, "region_shape_attributes": JSON, "region_attributes": JSON},
    where="save the project's annotations as csv in VIA 2",
)
MOST_PX = 100_000.0
"""No radiograph is as wide or high."""

Along = list[Annotated[float, Ge(-MOST_PX), Le(MOST_PX)]]


@dataclass(frozen=True)
class Polyline:
    """What is read of a region's shape, in pixels of the file."""

    all_points_x: Along
    all_points_y: Along


@dataclass(frozen=True)
class Described:
    """What is read of a region's attributes."""

    bone: str = ""
    side: str = ""
    kl: str | int | None = None
    subject: str | int | None = None


def via_rows(
    filename: str, file_size: int, knees: Sequence[tuple[str, object, object, np.ndarray]], source: str = ""
) -> list[dict[str, Any]]:
    """The csv rows of one file. knees: [(side, KL grade, subject, (16, 2) landmarks in pixels of the file)].
    source: the file that this one is a picture of."""
    about = json.dumps({"source": source} if source else {})
    regions = [(bone, knee) for knee in knees for bone in BONES]
    rows = []
    for number, (bone, (side, kl, subject, points)) in enumerate(regions):
        x, y = np.round(points[list(BONES[bone])], 2).T.tolist()
        shape = {"name": "polyline", "all_points_x": x, "all_points_y": y}
        attributes = {"bone": bone, "side": side, "kl": str(kl), "subject": str(subject)}
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (
                        filename,
                        file_size,
                        about,
                        len(regions),
                        number,
                        json.dumps(shape),
                        json.dumps(attributes),
                    ),
                )
            )
        )
    return rows


def read_via(path: Path | str) -> dict[tuple[str, str], tuple[str, int, np.ndarray]]:
    """{(filename, side): (subject, KL grade, (16, 2) landmarks in pixels of the file)} of a VIA csv, or of a
    VIA project or its annotations in json.

    Raises `KneelError` with the line, or region, for anything that is not two polylines a knee of 9 and 7
    points.
    """
    bones: dict[tuple[str, str], dict[str, Any]] = {}
    regions = project_regions(path) if Path(path).suffix.lower() == ".json" else csv_regions(path)
    for place, filename, shape, attributes in regions:
        described = read_json(attributes, Described, f"{place}, column region_attributes", DRAW)
        bone, side = described.bone.strip().lower(), described.side.strip().upper()
        if bone not in BONES or side not in SIDES:
            raise KneelError(
                f"{place}: region_attributes must name bone (tibia or femur) and side (L or R), they are "
                f"{said(attributes)}"
            )
        key = filename, SIDES[side]
        subject = described.subject if described.subject not in (None, "") else filename
        if subject is not filename and not names_a_subject(str(subject)):
            raise KneelError(
                f"{place}, column region_attributes, subject: {said(subject)}, allowed is a number or a name"
            )
        if bone in bones.setdefault(key, {}):
            raise KneelError(f"{place}: a second {bone} for {key[0]}, side {key[1]}")
        bones[key][bone] = (
            (str(subject), grade(place, described.kl)),
            polyline(place, shape, len(BONES[bone]), key[1]),
        )
    return {key: joined(path, key, parts) for key, parts in bones.items()}


def read_together(paths: Sequence[Path | str]) -> dict[tuple[str, str], tuple[str, int, np.ndarray]]:
    """`read_via` of several tables; `KneelError` for a knee that two of them have."""
    found: dict[tuple[str, str], tuple[str, int, np.ndarray]] = {}
    for path in paths:
        for key, knee in read_via(path).items():
            if key in found:
                raise KneelError(f"{path}: {key[0]}, side {key[1]}, is in a table before it too: keep one")
            found[key] = knee
    return found


Region = tuple[str, str, str, str]
"""(place in the file, name of the annotated file, shape and attributes as json)."""


def csv_regions(path: Path | str) -> Iterator[Region]:
    """The regions of a VIA csv; rows of pictures without one are left out."""
    for row in read_table(path, REGIONS).itertuples():
        place = f"{path}, line {row.Index}"
        shape, attributes = str(row.region_shape_attributes), str(row.region_attributes)
        about = getattr(row, "file_attributes", None)
        source = parsed(place, about).get("source") if isinstance(about, str) and about else None
        if parsed(place, shape) or parsed(place, attributes):
            yield place, str(source or row.filename), shape, attributes


def project_regions(path: Path | str) -> Iterator[Region]:
    """The regions of a VIA project, or of annotations that VIA exported as json."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise KneelError(f"{path} cannot be read: {error.strerror}") from None
    held = read_json(text, dict[str, Any], path, AGAIN)
    try:
        for picture in held.get("_via_img_metadata", held).values():
            name = str(picture["file_attributes"].get("source") or picture["filename"])
            for number, region in enumerate(picture["regions"]):
                shape, attributes = (
                    json.dumps(region[part]) for part in ("shape_attributes", "region_attributes")
                )
                yield f"{path}, {name}, region {number}", name, shape, attributes
    except (ValueError, TypeError, KeyError, AttributeError):
        raise KneelError(f"{path} is no project and no annotations of VIA 2: {AGAIN}") from None


AGAIN = "save it with VIA again"
DRAW = "draw two polylines a knee, as data/README.md says"
SIDES = {"L": "L", "R": "R", "LEFT": "L", "RIGHT": "R"}


def parsed(place: str, text: str) -> dict[str, Any]:
    """A json object inside a csv cell."""
    return read_json(text, dict[str, Any], f"{place}: {said(text)}", "VIA 2 writes a json object there")


def grade(place: str, value: str | int | None) -> int:
    """A KL grade 0 to 4, or -1 where it is not given."""
    if value in (None, "", "-1"):
        return -1
    if str(value) not in list("01234"):
        raise KneelError(f"{place}: kl {said(value)} is not a Kellgren-Lawrence grade 0 to 4")
    return int(str(value))


def polyline(place: str, shape: str, count: int, side: str) -> np.ndarray:
    """The points of a region, (count, 2), turned so that they run from lateral to medial."""
    line = read_json(shape, Polyline, f"{place}, column region_shape_attributes", "draw a polyline")
    if len(line.all_points_x) != len(line.all_points_y):
        raise KneelError(
            f"{place}: the region has no all_points_x and all_points_y of equal length: draw a polyline"
        )
    points = np.array([line.all_points_x, line.all_points_y], float).T
    if points.shape != (count, 2):
        raise KneelError(f"{place}: {len(points)} points, expected {count}")
    runs_right = points[-1, 0] > points[0, 0]
    return points if runs_right == (side == "R") else points[::-1]


def joined(path: Path | str, key: tuple[str, str], parts: dict[str, Any]) -> tuple[str, int, np.ndarray]:
    """(subject, grade, (16, 2)) of a knee's two bones."""
    missing = [bone for bone in BONES if bone not in parts]
    if missing:
        raise KneelError(f"{path}: no {missing[0]} for {key[0]}, side {key[1]}")
    if parts["tibia"][0] != parts["femur"][0]:
        raise KneelError(
            f"{path}: tibia and femur of {key[0]}, side {key[1]}, have different kl or subject: "
            f"{parts['tibia'][0]} and {parts['femur'][0]}"
        )
    (subject, kl), tibia = parts["tibia"]
    return subject, kl, np.concatenate([tibia, parts["femur"][1]])


def load_via(
    folder: Path | str,
    annotations: Path | str | Sequence[Path | str],
    name: str = "via",
    mm_per_px: float | None = None,
    jobs: int = -1,
    split: str = "test",
    kl: int | None = None,
    files: Mapping[str, Path] | None = None,
) -> Cohort:
    """The cohort of all knees annotated in a VIA csv or project, or in several: pictures cut out of the files
    as `oai.load_oai` does.

    folder: where the csv's file names lie. files: {file name: file} of those whose name in the csv is not
    theirs. mm_per_px: pixel spacing of files that do not say it. split: of
    all knees; "test" keeps them out of folds, "train" lets them be trained on and held out in turn. Raises
    `KneelError` for a knee without a grade, since every table is by grade, and for unreadable files.
    """
    found, groups = files or {}, dict[str, list[Any]]()
    tables = [annotations] if isinstance(annotations, str | Path) else annotations
    said_in = ", ".join(map(str, tables))
    for (filename, side), (subject, known, points) in read_together(tables).items():
        grade_of_knee = kl if known < 0 and kl is not None else known
        if grade_of_knee < 0:
            raise KneelError(
                f"{said_in}: no kl for {filename}, side {side}: "
                "give the Kellgren-Lawrence grade in region_attributes"
            )
        groups.setdefault(filename, []).append((side, subject_of(subject), grade_of_knee, points))
    made = pool(jobs)(
        delayed(cut_file)(found.get(filename) or inside(folder, filename, said_in), knees, mm_per_px, split)
        for filename, knees in groups.items()
    )
    return gather(name, [knee for part in made for knee in part])


def cut_file(
    path: Path, knees: list[tuple[str, str, int, np.ndarray]], mm_per_px: float | None, split: str
) -> list[CutKnee]:
    """[(table row, picture, landmarks in mm)] of one file."""
    radiograph = read_radiograph(path, mm_per_px)
    cuts = []
    for side, subject, kl, points in knees:
        check_inside(radiograph, points * radiograph.spacing_mm, subject, side)
        described = {
            "subject_id": subject,
            "side": side,
            "kl": kl,
            "split": split,
            "mm_per_px": ROI_SPACING_MM,
        }
        cuts.append((described, *knee_picture(radiograph, points * radiograph.spacing_mm, side, subject)))
    return cuts


def via_csv(rows: list[dict[str, Any]]) -> str:
    """The text of a VIA csv from `via_rows`."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)


def write_via(path: Path | str, rows: list[dict[str, Any]]) -> None:
    """A VIA csv from `via_rows`, written whole or not at all."""
    write_text(path, via_csv(rows))
