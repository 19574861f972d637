"""Simulated radiographs as real files: DICOM in the tree of an OAI release, annotations as the paper's
authors publish them and as VIA csv.

Three populations with the paper's sizes: "simulated" (748 knees, 150 a grade, 28 subjects with both knees
annotated) to train, "A" and "B" to test on, from other machines and with a shift in shape. Everything follows
from a seed; files are made once.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pydicom
from joblib import delayed
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from kneel_lib import landmarks, paths
from kneel_lib.data import oai
from kneel_lib.data.cache import remember
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import ROI_SPACING_MM
from kneel_lib.data.via import via_rows, write_via
from kneel_lib.files import locked, write_text, write_whole
from kneel_lib.processes import pool
from kneel_lib.progress import Progress
from kneel_lib.simulation import phantom, shape_model

SIMULATOR = 4
"""Raise this when the code or a shape model's file changes what is drawn:
older files, and runs that started from them, are then not used any more."""

LEG_MM, HEIGHT_MM, ABOVE_MM = 195.0, 270.0, 125.0
MARKER_MM = 14.0
COMPRESSED_SHARE = 0.1
"""How many of the files are JPEG 2000 without loss; the others are not compressed."""


@dataclass(frozen=True)
class Population:
    """Who is simulated: knees by KL grade, subjects, what differs from the training hospital, and the file of
    the shape model."""

    name: str
    grades: tuple
    both_knees: int
    implants: int = 0
    shift: float = 0.0
    machines: tuple = (phantom.Machine(),)
    first_subject: int = 1000000
    seed: int = 0
    shapes: str = shape_model.NAME


OAI_LIKE = (
    phantom.Machine(mm_per_px=0.28),
    phantom.Machine(mm_per_px=0.3, photons=16000.0, gamma=0.9, scatter=0.6),
    phantom.Machine(mm_per_px=0.33, scatter=0.9, gamma=1.15),
)
MACHINE_A = phantom.Machine(mm_per_px=0.25, photons=12000.0, gamma=1.3)
MACHINE_B = phantom.Machine(mm_per_px=0.35, photons=8000.0, scatter=0.6, gamma=0.8, focal_blur_mm=0.4)
GRADES = {"simulated": (150, 150, 149, 150, 149), "A": (4, 54, 49, 29, 25), "B": (35, 84, 51, 37, 2)}
POPULATIONS = {
    "simulated": Population("simulated", GRADES["simulated"], 28, machines=OAI_LIKE),
    "A": Population("A", GRADES["A"], 80, 1, 0.5, (MACHINE_A,), first_subject=2000000, seed=1),
    "B": Population("B", GRADES["B"], 102, 5, -0.5, (MACHINE_B,), first_subject=3000000, seed=2),
}


def unseen_population(fold: int | str) -> Population:
    """The population "simulated", from a shape model that has not seen the subjects that this fold of the
    crops holds out."""
    name, shapes = f"simulated_unseen_{fold}", shape_model.unseen_name(fold)
    return replace(POPULATIONS["simulated"], name=name, shapes=shapes)


def plan(population: Population) -> pd.DataFrame:
    """A row a knee: subject_id, side, kl, annotated, implant.
    Every subject has two legs; those not annotated are drawn too."""
    random = np.random.default_rng(population.seed)
    kls = random.permutation(np.repeat(range(5), population.grades))
    sides: list[tuple[str, ...]] = [("R", "L")] * population.both_knees
    singles = len(kls) - 2 * population.both_knees
    sides += [(side,) for side in random.permutation(["R", "L"] * (singles // 2 + 1))[:singles]]
    rows, place = [], 0
    for number, annotated in enumerate(sides):
        other = int(random.integers(5))
        for side in ("R", "L"):
            kl = int(kls[place]) if side in annotated else other
            place += side in annotated
            rows.append((population.first_subject + 7 * number, side, kl, side in annotated, False))
    table = pd.DataFrame(rows, columns=["subject_id", "side", "kl", "annotated", "implant"])
    free = table.index[~table["annotated"]]
    table.loc[free[: population.implants], "implant"] = True
    return table


def draw_leg(
    kl: int,
    random: np.random.Generator,
    machine: phantom.Machine,
    shift: float = 0.0,
    implant: bool = False,
    shapes: str = shape_model.NAME,
) -> tuple[phantom.Maps, np.ndarray]:
    """(thickness maps, landmarks in mm of the leg's field) of one right leg;
    the knee lies somewhere near the middle."""
    model = shape_model.load(shapes)[kl]
    shape = model.sample(random, 1)[0] + shift * model.deviations[0] * model.modes[0]
    centre = np.array([LEG_MM / 2, ABOVE_MM]) + random.uniform(-12, 12, 2)
    size = round(HEIGHT_MM / machine.mm_per_px), round(LEG_MM / machine.mm_per_px)
    where = size, -centre, machine.mm_per_px
    maps = phantom.thickness_maps(shape, kl, random, *where, random.normal(machine.tilt_mm, 1.5), implant)
    return maps, shape + centre


def draw_radiograph(
    knees: Any, seed: Any, machine: phantom.Machine, shift: float = 0.0, shapes: str = shape_model.NAME
) -> tuple[np.ndarray, Any, phantom.Machine, int]:
    """(stored values (H, W) uint16, {side: landmarks in pixels}, machine, bits) of a bilateral radiograph;
    the right leg lies left."""
    random = np.random.default_rng([seed, int(knees["subject_id"].iloc[0])])
    photons, gamma = machine.photons * random.uniform(0.6, 1.6), machine.gamma * random.uniform(0.8, 1.25)
    machine = replace(machine, photons=photons, gamma=gamma)
    legs, points = {}, {}
    for row in knees.itertuples():
        maps, landmarks_mm = draw_leg(row.kl, random, machine, shift, row.implant, shapes)
        legs[row.side], points[row.side] = maps, landmarks_mm / machine.mm_per_px
    width = legs["R"]["soft"].shape[1]
    maps = {name: np.concatenate([legs["R"][name], legs["L"][name][:, ::-1]], axis=1) for name in legs["R"]}
    points["L"] = landmarks.mirrored(points["L"], 2 * width - 1)
    grey = phantom.develop(phantom.detect(maps, machine, random), machine)
    add_marker(grey, machine, random)
    collimate(grey, machine, random)
    bits = int(random.choice([12, 14, 16]))
    return np.round(grey * (2**bits - 1)).astype(np.uint16), points, machine, bits


def add_marker(grey: np.ndarray, machine: phantom.Machine, random: np.random.Generator) -> None:
    """A lead letter beside the right leg."""
    scale = MARKER_MM / machine.mm_per_px / 22
    place = int(random.uniform(6, 20) / machine.mm_per_px), int(random.uniform(20, 60) / machine.mm_per_px)
    letter = np.zeros(grey.shape, np.uint8)
    cv2.putText(letter, "R", place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(int(3 * scale), 1), cv2.LINE_AA)
    np.maximum(grey, letter / np.float32(255), out=grey)


def collimate(grey: np.ndarray, machine: phantom.Machine, random: np.random.Generator) -> None:
    """An unexposed border: the collimator's leaves, white in this display."""
    for axis in (0, 1):
        edge = int(random.uniform(0, 7) / machine.mm_per_px)
        if edge and random.random() < 0.6:
            picture = grey if axis == 0 else grey.T
            picture[:edge], picture[-edge:] = 0.97, 0.97


def write_dicom(
    path: Path,
    stored: np.ndarray,
    machine: phantom.Machine,
    bits: int,
    subject: int,
    random: np.random.Generator,
) -> None:
    """One radiograph as a CR file: MONOCHROME1 or 2, the spacing under one of two tags."""
    inverted = random.random() < 0.4
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["kneel", str(path.parent.name), str(subject)])
    dataset.Modality, dataset.PatientID, dataset.BodyPartExamined = "CR", str(subject), "KNEE"
    dataset.PatientName, dataset.ImageComments = "simulated", "simulated radiograph, not of a person"
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    tag = "ImagerPixelSpacing" if random.random() < 0.7 else "PixelSpacing"
    setattr(dataset, tag, [machine.mm_per_px, machine.mm_per_px])
    dataset.PixelData = (2**bits - 1 - stored if inverted else stored).astype("<u2").tobytes()
    if random.random() < COMPRESSED_SHARE:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: dataset.save_as(temporary, enforce_file_format=True))


def make_subject(
    population: Population, knees: Any, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Draw and write one subject's radiograph;
    returns its contents row, and annotation rows in both forms of its annotated knees."""
    subject = int(knees["subject_id"].iloc[0])
    random = np.random.default_rng([population.seed, subject, 1])
    machine = population.machines[int(random.integers(len(population.machines)))]
    drawn = knees, population.seed, machine, population.shift, population.shapes
    stored, points, machine, bits = draw_radiograph(*drawn)
    place = f"0.S.1/{subject}/20040101/{subject}01"
    write_dicom(folder / place / "001", stored, machine, bits, subject, random)
    step = machine.mm_per_px / ROI_SPACING_MM
    annotated = [row for row in knees.itertuples() if row.annotated]
    rows = [
        oai.annotation_row(subject, row.side, row.kl, (points[row.side] + 0.5) * step - 0.5)
        for row in annotated
    ]
    size = (folder / place / "001").stat().st_size
    seen = [(row.side, row.kl, subject, points[row.side]) for row in annotated]
    contents = {"Folder": place, "ParticipantID": subject, "StudyDate": 20040101}
    return {**contents, "SeriesDescription": oai.SERIES}, rows, via_rows(f"{place}/001", size, seen)


def take(population: Population, knees: int | None) -> Population:
    """The population with about this many knees, its grades in proportion; None is all of them."""
    total = sum(population.grades)
    if knees is None or knees >= total:
        return population
    grades = tuple(max(round(count * knees / total), 1) for count in population.grades)
    both_knees = min(round(population.both_knees * knees / total), sum(grades) // 2)
    return replace(population, grades=grades, both_knees=both_knees)


def make_files(population: Population, jobs: int = -1) -> Path:
    """The folder with the population's files, drawn now if they are not there yet (or only in part)."""
    described = {"simulator": SIMULATOR, **asdict(population)}
    if population.shapes == shape_model.NAME:
        del described["shapes"]  # so that files which were drawn before there was another keep their key
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
    folder = paths.cache() / f"{population.name}-{key}"
    if (folder / "annotations.csv").is_file():
        return folder
    with locked(folder, "KNEEL_CACHE"):
        if not (folder / "annotations.csv").is_file():
            draw_files(population, folder, jobs)
    return folder


def draw_files(population: Population, folder: Path, jobs: int) -> None:
    """Draw the population's files and put their folder in place in one move."""
    work = folder.with_name(folder.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)
    groups = [knees for _, knees in plan(population).groupby("subject_id")]
    progress, made = Progress(f"drawing {population.name}", len(groups), unit="radiograph"), []
    for result in pool(jobs, return_as="generator")(
        delayed(make_subject)(population, knees, work) for knees in groups
    ):
        made.append(result)
        progress.advance(len(made))
    progress.close()
    write_csv(work / "contents.csv", [contents for contents, _, _ in made])
    write_via(work / "via.csv", [region for _, _, regions in made for region in regions])
    write_csv(work / "annotations.csv", [row for _, rows, _ in made for row in rows])
    work.rename(folder)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, pd.DataFrame(rows).to_csv(index=False))


def load_simulated(name: str = "simulated", knees: int | None = None, jobs: int = -1) -> Cohort:
    """A simulated cohort, through the same reader as the OAI's own files;
    from the second time on from what was kept of it."""
    return load_population(POPULATIONS[name], knees, jobs)


def load_population(population: Population, knees: int | None = None, jobs: int = -1) -> Cohort:
    """As `load_simulated`, of a population that has no name of its own to be loaded by."""
    folder = make_files(take(population, knees), jobs)
    annotations = folder / "annotations.csv"
    read = partial(oai.load_oai, folder, annotations, population.name, jobs)
    return remember(folder, population.name, read)
