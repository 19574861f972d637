"""Landmarks for radiographs that a user brings: every file of a folder, tables and overlay pictures, one line
for each file that cannot be read.

Answers are kept file by file as they come (answers.jsonl), so that whatever ends a run loses one file at the
most, and `resume` goes on where it ended.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph, read_radiograph
from kneel_lib.errors import KneelError
from kneel_lib.files import make_writable, write_text, write_whole
from kneel_lib.pipeline import onnx_export
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.locate import locate, overlay
from kneel_lib.pipeline.measurement_table import described_measurements, measurement_table
from kneel_lib.pipeline.pretrained import FOLDER, load_networks
from kneel_lib.pipeline.search import MISSING
from kneel_lib.progress import Progress

Networks = tuple[Sequence[Any], Sequence[Any]]
"""(landmark networks, search networks)."""

NEEDED = ("landmarks", "search")
"""The kinds of networks that an answer needs."""

ANSWERS = "answers.jsonl"
COLUMNS = (
    "file",
    "side",
    "landmark",
    "name",
    "x_px",
    "y_px",
    "x_mm",
    "y_mm",
    "spread_mm",
    "region_px",
    "trusted",
    "trust",
    "reason",
)
MANY = 200
"""From so many files on, writing the networks for onnxruntime (most of a minute, once) is worth it."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


@dataclass(frozen=True)
class Asked:
    """What is asked of every file. mm_per_px: spacing of pictures, and of DICOM files that do not say it;
    None: answers are in pixels where no file says it. side: of pictures of one knee. weights: the folder of
    the networks. fast: run them in onnxruntime."""

    output: Path
    mm_per_px: float | None = None
    side: str = ""
    weights: Path = FOLDER
    fast: bool = False

    @cached_property
    def question(self) -> list[Any]:
        """What an answer depends on but for the file, as plain data: another question, another answer."""
        return [self.mm_per_px, self.side, sorted(path.name for path in self.weights.glob("*.safetensors"))]


def load_pretrained(folder: Path = FOLDER) -> Networks:
    """(landmark networks, search networks) that came with the package; `KneelError` where there are none."""
    landmark_networks, search_networks = (check_pretrained(load_networks(kind, folder)) for kind in NEEDED)
    return landmark_networks, search_networks


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
    path: Path | str, networks: Networks, mm_per_px: float | None = None, side: str = ""
) -> tuple[Radiograph, list[Knee]]:
    """(`Radiograph`, [`Knee`]) of one file. networks: of `load_pretrained`. mm_per_px: spacing where the file
    says none; without one, answers are in pixels. Raises `KneelError`."""
    radiograph = read_radiograph(path, mm_per_px, spacing_needed=False)
    return radiograph, locate(radiograph, *networks, side)


def predict_all(
    path: Path | str,
    output: Path | str,
    mm_per_px: float | None = None,
    side: str = "",
    jobs: int = 1,
    resume: bool = False,
    weights: Path = FOLDER,
) -> dict[str, str]:
    """Predict every file below `path`; writes landmarks.csv, measurements.csv, landmarks.json and overlays/
    to `output`. Returns {file: what went wrong}.

    jobs: how many processes (-1: one a core). resume: keep the answers that `output` has of files that have
    not changed since, if spacing, side and networks are the same. What is below `output` is no input. Raises
    `KneelError` if `output` cannot be written.
    """
    files = find_files(path, output)
    asked = Asked(Path(output), mm_per_px, side, Path(weights))
    for kind in NEEDED:
        check_pretrained(list(asked.weights.glob(f"{kind}-*.safetensors")))
    make_writable(output)
    known = read_answers(asked.output / ANSWERS) if resume else {}
    named = {name_of(file, path): file for file in files}
    todo = {name: file for name, file in named.items() if not holds(known.get(name, {}), file, asked)}
    kept = {name: entry for name, entry in known.items() if name in named and name not in todo}
    write_text(asked.output / ANSWERS, "".join(json.dumps(entry) + "\n" for entry in kept.values()))
    asked = replace(asked, fast=onnx_export.can_run(asked.weights, write=len(todo) >= MANY))
    progress = Progress("predicting", len(named), len(kept), unit="file")
    try:
        with open(asked.output / ANSWERS, "a", encoding="utf-8") as log:
            for entry in each_answer(todo, asked, jobs):
                log.write(json.dumps(entry) + "\n")
                log.flush()
                kept[entry["file"]] = entry
                if entry["problem"]:
                    print(f"error: {entry['problem']}", flush=True)
                progress.advance(len(kept))
    except OSError as error:
        raise KneelError(
            f"cannot keep answers in {asked.output} ({error.strerror or error}): free some space; --resume "
            "goes on from there"
        ) from None
    finally:
        progress.close()
        write_tables(asked.output, [kept[name] for name in named if name in kept])
    return {name: entry["problem"] for name, entry in kept.items() if entry["problem"]}


def name_of(file: Path, path: Path | str) -> str:
    """How a file is named in answers: relative to the folder that was asked for, `as_text`."""
    name = file.name if file == Path(path) else str(file.relative_to(path))
    return as_text(name)


def as_text(name: str) -> str:
    """Bytes of a file's name that are no text, shown as such: no table and no terminal takes them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def state_of(file: Path) -> list[int]:
    """[size, time of the last change] of a file: another state is another file."""
    try:
        found = file.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def holds(entry: dict[str, Any], file: Path, asked: Asked) -> bool:
    """Whether an entry is the whole answer to this question about the file as it is now: one of before there
    were measurements is not."""
    whole = all("measurements" in knee for knee in entry.get("knees", ()))
    return whole and entry.get("state") == state_of(file) and entry.get("asked") == asked.question


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """{file: its entry} of a stopped run; a last line that was cut off is left out."""
    entries = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
            entries[entry["file"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return entries


def each_answer(files: dict[str, Path], asked: Asked, jobs: int) -> Iterator[dict[str, Any]]:
    """The entry of each file as it comes, from as many processes."""
    if jobs == 1 or len(files) < 2:
        yield from (answer(name, file, asked) for name, file in files.items())
        return
    parallel = Parallel(jobs, return_as="generator_unordered", batch_size=1)
    yield from parallel(delayed(answer)(name, file, asked) for name, file in files.items())


@cache
def networks_of(folder: Path, fast: bool) -> Networks:
    """`load_pretrained`, or the same networks in onnxruntime, once a process, on one thread: there are as
    many processes as are wanted."""
    torch.set_num_threads(1)
    if not fast:
        return load_pretrained(folder)
    landmark, search = (onnx_export.load_all(kind, folder, threads=1) for kind in ("landmarks", "search"))
    return landmark, search


def answer(name: str, file: Path, asked: Asked) -> dict[str, Any]:
    """The entry of one file: its knees as plain data, or the problem, which stays with the file."""
    entry: dict[str, Any] = {"file": name, "state": state_of(file), "asked": asked.question}
    entry |= {"knees": [], "problem": ""}
    try:
        networks = networks_of(asked.weights, asked.fast)
        radiograph, knees = predict_file(file, networks, asked.mm_per_px, asked.side)
        entry["knees"] = [described(name, knee) for knee in knees]
        entry["spacing_from"] = radiograph.spacing_from
        write_picture(overlay_path(asked.output, name), overlay(radiograph, knees))
    except KneelError as error:
        entry["problem"] = as_text(str(error))
    except Exception as error:  # whatever a stranger's file leads to must not cost the others their answers
        said = f"{file} could not be answered ({type(error).__name__}: {str(error)[:160]})"
        entry["problem"] = as_text(said)
    return entry


def overlay_path(output: Path, name: str) -> Path:
    """Where a file's overlay goes; a name that is too long for a file is cut."""
    *folders, last = name.split("/")
    if len(os.fsencode(last)) > 200:
        last = f"{last[:40]}-{zlib.crc32(os.fsencode(last)):08x}"
    return Path(output, "overlays", *folders, f"{last}.png")


def write_tables(output: Path, entries: Sequence[dict[str, Any]]) -> None:
    """landmarks.csv, measurements.csv and landmarks.json of all entries."""
    for name, table in (("landmarks", landmark_table(entries)), ("measurements", measurement_table(entries))):
        write_text(output / f"{name}.csv", without_formulas(table).to_csv(index=False, float_format="%.3f"))
    written = {
        "knees": [knee for entry in entries for knee in entry["knees"]],
        "failed": {entry["file"]: entry["problem"] for entry in entries if entry["problem"]},
    }
    write_text(output / "landmarks.json", json.dumps(written, indent=1) + "\n")


def landmark_table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a landmark: the file's own pixels, and mm from its first pixel's centre where the spacing is
    known. A file without a knee, or a knee that was expected and not found, has one row with the reason."""
    rows = [row for entry in entries for row in rows_of(entry)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names and reasons that a spreadsheet would take for formulas marked as text."""
    columns = [name for name in ("file", "reason") if name in table]
    marked = {
        name: [f"'{text}" if str(text).startswith(FORMULA) else text for text in table[name]]
        for name in columns
    }
    return table.assign(**marked)


def rows_of(entry: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of one file."""
    if entry["problem"]:
        yield (entry["file"], "", "", "", *[np.nan] * 6, False, np.nan, entry["problem"])
    for note in {note for knee in entry["knees"] for note in knee["notes"] if note.startswith(MISSING)}:
        yield (entry["file"], "", "", "", *[np.nan] * 6, False, np.nan, note)
    for knee in entry["knees"]:
        reason = "; ".join([*knee["doubts"], *knee["notes"]])
        regions = [np.nan] * landmarks.COUNT if knee["region_px"] is None else knee["region_px"]
        for number, point in enumerate(knee["landmarks_px"]):
            mm = [np.nan, np.nan] if knee["landmarks_mm"] is None else knee["landmarks_mm"][number]
            unsure = knee["spread_mm"][number], regions[number]
            said = (knee["trusted"], knee["trust"], reason)
            yield (entry["file"], knee["side"], number, landmarks.NAMES[number], *point, *mm, *unsure, *said)


def described(name: str, knee: Knee) -> dict[str, Any]:
    """Everything about one knee as plain data; what is in mm is None where no spacing is known."""
    known = knee.mm_per_px is not None
    return {
        "file": name,
        "side": knee.side,
        "mm_per_px": knee.mm_per_px,
        "landmarks_px": np.round(knee.points_px, 2).tolist(),
        "landmarks_mm": np.round(knee.points_mm, 3).tolist() if known else None,
        "spread_mm": np.round(knee.spread_mm, 3).tolist(),
        "region_px": np.round(knee.region_px, 2).tolist() if np.isfinite(knee.region_px).all() else None,
        "trusted": knee.trusted,
        "trust": None if np.isnan(knee.trust) else round(knee.trust, 3),
        "doubts": list(knee.doubts),
        "notes": list(knee.notes),
        "shape_distance": round(knee.shape_distance, 2),
        "signs": rounded(knee.signs, 3),
        "measurements": described_measurements(knee),
    }


def rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def write_picture(path: Path, picture: np.ndarray) -> None:
    """A PNG, written whole or not at all."""
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    write_whole(path, lambda temporary: temporary.write_bytes(encoded))
