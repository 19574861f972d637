"""Another hospital, simulated: who comes there, by which machine; and a person who corrects answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.via import load_via, read_via, via_rows, write_via
from kneel_lib.pipeline.corrected import Corrected, distances, step_of
from kneel_lib.pipeline.predict import Networks, described, predict_file
from kneel_lib.progress import Progress
from kneel_lib.simulation.phantom import Machine
from kneel_lib.simulation.population import Population

MACHINE = Machine(mm_per_px=0.22, photons=6000.0, scatter=0.9, gamma=1.4, focal_blur_mm=0.5, tilt_mm=5.0)
HOSPITAL = Population("hospital", (15, 15, 13, 10, 7), 30, 0, 0.8, (MACHINE,), first_subject=4000000, seed=7)
"""60 knees of 30 subjects, both of each: other shapes, finer pixels, less light, more scatter and contrast
than the hospitals that the shape models come from."""

NOTICED_MM = 1.0
"""The person moves a landmark that is further off, to where it belongs, and leaves the others."""

ELSEWHERE_MM = 30.0
"""An answer whose tibial centre is further off lies on another knee, or on none."""

Knee = tuple[str, str]
"""(file, side)."""


def answers(folder: Path, files: Sequence[str], networks: Networks) -> list[dict[str, Any]]:
    """An entry a file, as predict keeps it."""
    progress, entries = Progress("predicting", len(files), unit="file"), []
    for name in files:
        _, knees = predict_file(folder / name, networks)
        entries.append({"file": name, "knees": [described(name, knee) for knee in knees], "problem": ""})
        progress.advance(len(entries))
    progress.close()
    return entries


def known_knee(knee: Mapping[str, Any], truth: Corrected) -> tuple[str, int, np.ndarray] | None:
    """(subject, grade, true landmarks) of an answered knee; None where the answer lies on no known knee, such
    as one that is taken for the other side's."""
    known = truth.get((knee["file"], knee["side"]))
    if known is None:
        return None
    apart = np.array(knee["landmarks_px"])[landmarks.CENTRE] - known[2][landmarks.CENTRE]
    return known if np.linalg.norm(apart) * knee["mm_per_px"] < ELSEWHERE_MM else None


def by_hand(entry: Mapping[str, Any], truth: Corrected) -> list[tuple[str, int, str, np.ndarray]]:
    """[(side, grade, subject, landmarks)] of the knees of an answer, after the person looked at them; what
    lies on no known knee is taken away."""
    knees = []
    for knee in entry["knees"]:
        if known := known_knee(knee, truth):
            subject, grade, right = known
            found = np.array(knee["landmarks_px"])
            off = distances_mm(knee, right) > NOTICED_MM
            knees.append((knee["side"], grade, subject, np.where(off[:, None], right, found)))
    return knees


def correct(entries: Sequence[Mapping[str, Any]], truth: Corrected, path: Path, count: int) -> Corrected:
    """Write the first `count` knees, corrected, as a VIA csv; returns what is read back from it."""
    rows, left = [], count
    for entry in entries:
        knees = by_hand(entry, truth)[:left]
        left -= len(knees)
        rows += via_rows(entry["file"], 0, knees)
    write_via(path, rows)
    return read_via(path)


def cohort_of(folder: Path, path: Path) -> Cohort:
    """The corrected knees, to train on."""
    return load_via(folder, path, HOSPITAL.name, jobs=1, split="train")


def errors(entries: Sequence[Mapping[str, Any]], truth: Corrected) -> dict[Knee, np.ndarray]:
    """{knee: (16,) mm} of the answers to knees that are known; those that were not found are missing."""
    return {
        (knee["file"], knee["side"]): distances_mm(knee, known[2])
        for entry in entries
        for knee in entry["knees"]
        if (known := known_knee(knee, truth))
    }


def distances_mm(knee: Mapping[str, Any], right: np.ndarray) -> np.ndarray:
    return np.array(distances(knee, right)) * step_of(knee)
