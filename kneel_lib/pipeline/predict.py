"""Landmarks for radiographs that a user brings: every file of a folder, tables and overlay pictures, one line
for each file that cannot be read.

Answers are kept file by file as they come (answers.jsonl), so that whatever ends a run loses one file at the
most, and `resume` goes on where it ended.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from joblib import delayed, effective_n_jobs

from kneel_lib.data.cache import LIBRARY
from kneel_lib.data.radiographs import Radiograph, read_radiograph
from kneel_lib.errors import KneelError, unforeseen
from kneel_lib.files import contents_hash, make_writable, sweep, write_text, write_whole
from kneel_lib.pipeline import appearance, onnx_export
from kneel_lib.pipeline.answer_log import alone_in, read_answers, refusal, root_of, state_of
from kneel_lib.pipeline.answer_tables import write_tables
from kneel_lib.pipeline.input_files import ANSWERS, find_files, printable, written_path
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.locate import NoKneeFound, locate, overlay
from kneel_lib.pipeline.measurement_table import described_measurements
from kneel_lib.pipeline.pretrained import FOLDER, load_networks
from kneel_lib.pipeline.quality import TRUST
from kneel_lib.processes import pool
from kneel_lib.progress import Progress

Networks = tuple[Sequence[Any], Sequence[Any]]
"""(landmark networks, search networks)."""

NEEDED = ("landmarks", "search")
"""The kinds of networks that an answer needs."""

MANY = 200
"""From so many files on, writing the networks for onnxruntime (most of a minute, once) is worth it."""

UNCALIBRATED = "trust, ellipses and intervals were calibrated for the networks that came along, not for these"
"""What an answer of other networks says of itself."""

ATTEMPTS = 3
"""How often processes may be killed before the files that are left are given up."""


@dataclass(frozen=True)
class Asked:
    """What is asked of every file. mm_per_px: spacing of pictures, and of DICOM files that do not say it;
    None: answers are in pixels where no file says it. side: of pictures of one knee. weights: the folder of
    the networks. fast: run them in onnxruntime. root: of `root_of`."""

    output: Path
    mm_per_px: float | None = None
    side: str = ""
    weights: Path = FOLDER
    fast: bool = False
    root: str = ""

    def __post_init__(self) -> None:
        _ = self.question, self.calibrated  # looked up once here, and not for every file by every process

    @cached_property
    def question(self) -> list[Any]:
        """What an answer depends on but for the file, as plain data: another question, another answer.
        Weights, calibration and code count by what they hold; the networks' names come last."""
        networks = sorted(self.weights.glob("*.safetensors"))
        made_by = contents_hash(*networks, *filter(Path.is_file, [TRUST, appearance.MODEL]), LIBRARY)
        return [self.mm_per_px, self.side, made_by, [path.name for path in networks]]

    @cached_property
    def calibrated(self) -> bool:
        """Whether trust and regions were calibrated for these networks, which are those that came along."""
        ours, theirs = (sorted(folder.glob("*.safetensors")) for folder in (FOLDER, self.weights))
        return contents_hash(*ours) == contents_hash(*theirs)


def load_pretrained(folder: Path = FOLDER) -> Networks:
    """(landmark networks, search networks) that came with the package; `KneelError` where there are none."""
    landmark_networks, search_networks = (
        check_pretrained(load_networks(kind, folder), kind, folder) for kind in NEEDED
    )
    return landmark_networks, search_networks


def check_pretrained(networks: Any, kind: str, folder: Path) -> Any:
    """The networks of a kind in a folder, if there are any."""
    if not networks and folder != FOLDER:
        raise KneelError(f"{folder} holds no {kind} network: give a folder that pretrain or adapt wrote to")
    if not networks:
        raise KneelError(
            f"no {kind} network came with this copy: "
            "train one and `python -m kneel_lib pretrain` it, see README.md"
        )
    return networks


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
    not changed since, if spacing, side, networks and code are the same. Answers about files of other folders
    stay in answers.jsonl, and in no table. What is below `output` is no input. Raises `KneelError` if it
    cannot be written, or another run is writing to it.
    """
    if not str(output):
        raise KneelError("the folder for the answers has no name: give one (--output)")
    path = Path(path)
    files = find_files(path, output)
    asked = Asked(Path(output), mm_per_px, side, Path(weights), root=root_of(path))
    for kind in NEEDED:
        check_pretrained(list(asked.weights.glob(f"{kind}-*.safetensors")), kind, asked.weights)
    make_writable(output)
    with alone_in(asked.output):
        sweep(output)
        known = read_answers(asked.output / ANSWERS)
        kept = {name: refusal(name, why) for name, (_, why) in files.items() if why}
        named = {name: file for name, (file, why) in files.items() if not why}
        before = {name: known[name] for name in named if name in known and resume}
        done = {name: entry for name, entry in before.items() if holds(entry, named[name], asked)}
        if len(done) < len(before):
            print(f"{len(before) - len(done)} earlier answers are {OTHER_QUESTION}: asked again", flush=True)
        others = [
            entry
            for name, entry in known.items()
            if name not in files and (entry.get("root", asked.root) != asked.root or path.is_file())
        ]
        lines = "".join(json.dumps(entry) + "\n" for entry in (*others, *done.values()))
        write_text(asked.output / ANSWERS, lines)
        todo = {name: file for name, file in named.items() if name not in done}
        asked = replace(asked, fast=onnx_export.can_run(asked.weights, write=len(todo) >= MANY))
        kept |= done
        try:
            keep_answers(each_answer(todo, asked, jobs), asked.output / ANSWERS, kept, len(files))
        finally:
            write_tables(asked.output, [kept[name] for name in files if name in kept])
    return {name: kept[name]["problem"] for name in files if name in kept and kept[name]["problem"]}


OTHER_QUESTION = "of another spacing, side, network, code or state of the file, or not whole"


def keep_answers(
    entries: Iterator[dict[str, Any]], path: Path, kept: dict[str, dict[str, Any]], total: int
) -> None:
    """Write entries to the file of answers, and into `kept`, as they come; say each problem."""
    for entry in kept.values():
        say_problem(entry)
    progress = Progress("predicting", total, len(kept), unit="file")
    try:
        with open(path, "a", encoding="utf-8") as log:
            for entry in entries:
                log.write(json.dumps(entry) + "\n")
                log.flush()
                kept[entry["file"]] = entry
                say_problem(entry)
                with suppress(OSError):  # nobody reads what we say: the answers are kept all the same
                    progress.advance(len(kept))
    except OSError as error:
        raise KneelError(
            f"cannot keep answers in {path.parent} ({error.strerror or error}): free some space; --resume "
            "goes on from there"
        ) from None
    finally:
        with suppress(OSError):
            progress.close()


def say_problem(entry: dict[str, Any]) -> None:
    """One line about a file without an answer."""
    if entry["problem"]:
        with suppress(OSError):
            print(f"error: {entry['problem']}", flush=True)


def holds(entry: dict[str, Any], file: Path, asked: Asked) -> bool:
    """Whether an entry is the whole answer to this question about the file as it is now: one that could not
    be written, has lost its overlay, or is of before there were measurements, is not."""
    whole = all("measurements" in knee for knee in entry.get("knees", ())) and not entry.get("unfinished")
    shown = entry["problem"] or overlay_path(asked.output, entry["file"]).is_file()
    same = entry.get("state") == state_of(file) and entry.get("root", asked.root) == asked.root
    return whole and shown and same and entry.get("asked") == asked.question


def each_answer(files: dict[str, Path], asked: Asked, jobs: int) -> Iterator[dict[str, Any]]:
    """The entry of each file as it comes, from as many processes; where one of them is killed, what is left
    is asked of half as many."""
    left, jobs = dict(files), effective_n_jobs(jobs)
    if jobs == 1 or len(files) < 2:
        yield from (answer(name, file, asked) for name, file in files.items())
        return
    for _ in range(ATTEMPTS):
        parallel = pool(jobs, return_as="generator_unordered", batch_size=1)
        try:
            for entry in parallel([delayed(answer)(name, file, asked) for name, file in left.items()]):
                del left[entry["file"]]
                yield entry
            return
        except BrokenProcessPool:
            jobs = max(jobs // 2, 2)
    for name, file in left.items():
        why = f"{file} was not answered: processes were killed {ATTEMPTS} times; try --resume with --jobs 1"
        yield refusal(name, why, unfinished=True)


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
    """The entry of one file: its knees as plain data, or the problem, which stays with the file. It is
    `unfinished` where the file is not to blame."""
    entry = refusal(name, "", state=state_of(file), asked=asked.question, root=asked.root)
    try:
        networks = networks_of(asked.weights, asked.fast)
        radiograph = read_radiograph(file, asked.mm_per_px, spacing_needed=False)
        entry["spacing_from"] = radiograph.spacing_from
        try:
            knees = locate(radiograph, *networks, asked.side)
        except NoKneeFound as error:
            knees, entry["problem"] = [], printable(str(error))
        if not asked.calibrated:
            knees = [replace(knee, notes=(*knee.notes, UNCALIBRATED)) for knee in knees]
        entry["knees"] = [described(name, knee) for knee in knees]
        picture = overlay(radiograph, knees)
    except KneelError as error:
        return entry | {"problem": printable(str(error)), "unfinished": not os.access(file, os.R_OK)}
    except Exception as error:  # whatever a stranger's file leads to must not cost the others their answers
        said = f"{file} could not be answered ({unforeseen(error)})"
        return entry | {"problem": printable(said)}
    try:
        write_picture(overlay_path(asked.output, name), picture)
    except KneelError as error:
        return entry | {"problem": printable(str(error)), "unfinished": True}
    return entry


def overlay_path(output: Path, name: str) -> Path:
    """Where the overlay of the file of this name goes."""
    return written_path(output / "overlays", name, ".png")


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
        "region_degrees": np.round(knee.region_degrees, 1).tolist(),
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
