"""Landmarks for radiographs that a user brings: every file of a folder, tables and overlay pictures, one line
for each file that cannot be read."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph, read_radiograph
from kneel_lib.errors import KneelError
from kneel_lib.files import make_writable, write_text, write_whole
from kneel_lib.pipeline.locate import Knee, locate, overlay
from kneel_lib.pipeline.predictors import Network
from kneel_lib.pipeline.pretrained import load_networks
from kneel_lib.progress import Progress

Answers = dict[str, list[Knee]]
COLUMNS = ("file", "side", "landmark", "name", "x_px", "y_px", "x_mm", "y_mm", "spread_mm", "trusted")


def load_pretrained() -> tuple[list[Network], list[Network]]:
    """(landmark networks, ROI networks) that came with the package; `KneelError` where there are none."""
    return check_pretrained(load_networks("landmarks")), load_networks("roi")


def check_pretrained(networks: Any) -> Any:
    """The networks, if there are any."""
    if not networks:
        raise KneelError(
            "no trained network came with this copy: "
            "train one and `python -m kneel_lib pretrain` it, see README.md"
        )
    return networks


def find_files(path: Path | str, output: Path | str | None = None) -> list[Path]:
    """The file itself, or every file below a folder (hidden ones and those below `output` left out), sorted;
    `KneelError` where there is none."""
    path, own = Path(path), output and Path(output).resolve()
    if path.is_file():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and own not in file.resolve().parents
    )
    if not files:
        raise KneelError(f"{path} is no file and no folder with files")
    return files


def predict_file(
    path: Path | str,
    networks: Sequence[Any],
    roi_networks: Sequence[Any] = (),
    mm_per_px: float | None = None,
    side: str = "",
    stages: int = 2,
) -> tuple[Radiograph, list[Knee]]:
    """(`Radiograph`, [`locate.Knee`]) of one file. mm_per_px: spacing of pictures that are no DICOM.
    Raises `KneelError`."""
    radiograph = read_radiograph(path, mm_per_px)
    return radiograph, locate(radiograph, networks, roi_networks, side, stages)


def predict_all(
    path: Path | str,
    output: Path | str,
    mm_per_px: float | None = None,
    side: str = "",
    stages: int = 2,
    flip: bool = False,
    pretrained: tuple[Sequence[Any], Sequence[Any]] | None = None,
) -> dict[str, str]:
    """Predict every file below `path`; writes landmarks.csv, landmarks.json and overlays/ to `output`.
    Returns {file: what went wrong}.

    flip: view mirror images too (`predictors.Network`). pretrained: (landmark networks, ROI networks) in
    the place of the pretrained ones. What is below `output` is no input. If it is stopped, or the disk is
    full, the answers so far are written. Raises `KneelError` if `output` cannot be written.
    """
    networks, roi_networks = pretrained or load_pretrained()
    networks = [replace(network, flip=flip) for network in networks]
    files, answers, failed = find_files(path, output), {}, {}
    make_writable(output)
    output, progress = Path(output), Progress("predicting", len(files), unit="file")
    try:
        for done, file in enumerate(files, start=1):
            name = file.name if file == Path(path) else str(file.relative_to(path))
            try:
                radiograph, answers[name] = predict_file(
                    file, networks, roi_networks, mm_per_px, side, stages
                )
            except KneelError as error:
                failed[name] = str(error)
                print(f"error: {error}", flush=True)
            else:
                write_picture(output / "overlays" / f"{name}.png", overlay(radiograph, answers[name]))
            progress.advance(done)
    finally:
        progress.close()
        write_answers(output, answers, failed)
    return failed


def write_answers(output: Path, answers: Answers, failed: dict[str, str]) -> None:
    """landmarks.csv and landmarks.json. answers: {file: [`locate.Knee`]}. failed: {file: what went wrong}."""
    write_text(output / "landmarks.csv", landmark_table(answers).to_csv(index=False, float_format="%.3f"))
    written = {
        "knees": [described(name, knee) for name, knees in answers.items() for knee in knees],
        "failed": failed,
    }
    write_text(output / "landmarks.json", json.dumps(written, indent=1) + "\n")


def landmark_table(answers: Answers) -> pd.DataFrame:
    """A row a landmark: the file's own pixels and mm from its first pixel's centre; the columns COLUMNS."""
    rows = [
        (
            name,
            knee.side,
            number,
            landmarks.NAMES[number],
            *knee.points_px[number],
            *knee.points_mm[number],
            knee.spread_mm[number],
            knee.trusted,
        )
        for name, knees in answers.items()
        for knee in knees
        for number in range(landmarks.COUNT)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def described(name: str, knee: Knee) -> dict[str, Any]:
    """Everything about one knee as plain data."""
    return {
        "file": name,
        "side": knee.side,
        "mm_per_px": knee.mm_per_px,
        "landmarks_px": np.round(knee.points_px, 2).tolist(),
        "landmarks_mm": np.round(knee.points_mm, 3).tolist(),
        "spread_mm": np.round(knee.spread_mm, 3).tolist(),
        "trusted": knee.trusted,
        "doubts": list(knee.doubts),
        "shape_distance": round(knee.shape_distance, 2),
        "joint_space_mm": {side: round(width, 2) for side, width in knee.joint_space_mm().items()},
    }


def write_picture(path: Path, picture: np.ndarray) -> None:
    """A PNG, written whole or not at all."""
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    write_whole(path, lambda temporary: temporary.write_bytes(encoded))
