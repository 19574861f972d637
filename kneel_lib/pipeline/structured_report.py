"""Answers as DICOM structured reports (TID 1500, Measurement Report) that point at the image they are of, by
highdicom, which is imported when a report is written.

A knee is one group of measurements (TID 1501), each with its interval, and whether it is trusted; doubts and
notes are comments of the group. Each landmark is a point (TID 1410) with the half axes of the ellipse that
holds it with a probability of 90 %. Coordinates are those of the stored pixels, also where the file is shown
turned; 0, 0 is the outer corner of the first pixel, as in all of DICOM. Names of measurements are codes of
the scheme 99KNEEL; docs/measurements.md says what they mean.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from kneel_lib import landmarks
from kneel_lib.data.dicom import orientation
from kneel_lib.data.dicom_files import field, number, parse
from kneel_lib.data.grey import guarded
from kneel_lib.errors import KneelError
from kneel_lib.files import write_whole

SCHEME, ALGORITHM = "99KNEEL", "KNEEL compendium"
REGION = {
    "region_across": "Half axis across the outline of the ellipse of 90 %",
    "region_along": "Half axis along the outline of the ellipse of 90 %",
}
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
WANTED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""What a report takes over from its image; empty where the image has none."""

LATERALITY = {"L": codes.SCT.Left, "R": codes.SCT.Right}
PIXEL_CORNER = 0.5


def write_report(entry: Mapping[str, Any], file: Path, path: Path) -> None:
    """Write the report of one answered DICOM file. entry: as `predict.answer` makes it. Raises `KneelError`
    for a file that does not say which image it is, and where highdicom is missing."""
    report = guarded(file, "gives no structured report", lambda: structured_report(entry, file))
    write_whole(path, lambda temporary: report.save_as(temporary, enforce_file_format=True))


def structured_report(entry: Mapping[str, Any], file: Path) -> Any:
    """The report of one answered DICOM file, a `highdicom.sr.ComprehensiveSR`."""
    sr = highdicom_sr()
    image = evidence(file)
    knees = [stored(knee, file, image) for knee in entry["knees"]]
    said = json.dumps(knees, sort_keys=True)
    uid = partial(identifier, str(image.SOPInstanceUID), said, software_version())
    device = sr.DeviceObserverIdentifyingAttributes(uid=identifier(ALGORITHM), name=ALGORITHM)
    observer = sr.ObserverContext(codes.DCM.Device, device)
    algorithm = sr.AlgorithmIdentification(ALGORITHM, software_version(), entry["asked"][-1] or None)
    groups = [group for knee in knees for group in groups_of(sr, knee, image, algorithm, uid)]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.cid100.XRUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[image],
        content=content,
        series_instance_uid=uid("series"),
        series_number=1,
        sop_instance_uid=uid("report"),
        instance_number=1,
        manufacturer=ALGORITHM,
        is_complete=True,
    )


def highdicom_sr() -> Any:
    """`highdicom.sr`, which takes a second to import."""
    try:
        from highdicom import sr
    except ImportError as error:
        raise KneelError(f"structured reports need highdicom ({error}): pip install highdicom") from None
    return sr


def evidence(file: Path) -> Any:
    """The data set of the image that a report is of, without its pixels."""
    image = parse(file)
    lacking = [name for name in NEEDED if not field(file, image, name)]
    if lacking:
        raise KneelError(
            f"no structured report of {file}: its header has no {', '.join(lacking)}, so nothing could point "
            "at it"
        )
    for name in WANTED:
        if name not in image:
            setattr(image, name, "")
    del image.PixelData
    return image


def stored(knee: Mapping[str, Any], file: Path, image: Any) -> dict[str, Any]:
    """A described knee with its landmarks where the file stores them, in DICOM's coordinates (16, 2)."""
    points = np.array(knee["landmarks_px"])
    axes = orientation(file, image)[0]
    for axis, size in ((0, "Rows"), (1, "Columns")):
        if axis in axes:
            points[:, 1 - axis] = number(file, image, size) - 1 - points[:, 1 - axis]
    return {**knee, "landmarks_px": (points + PIXEL_CORNER).tolist()}


def groups_of(sr: Any, knee: Mapping[str, Any], image: Any, algorithm: Any, uid: Any) -> Iterator[Any]:
    """The groups of measurements of one knee: itself, then its landmarks."""
    side = knee["side"]
    place = sr.FindingSite(codes.SCT.KneeJoint, laterality=LATERALITY[side])
    about = {"finding_sites": [place], "algorithm_id": algorithm}
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(uid(side), f"knee {side}"),
        measurements=list(measurements_of(sr, knee)),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                sr.CodedConcept("trusted", SCHEME, "Trusted"),
                codes.SCT.Yes if knee["trusted"] else codes.SCT.No,
            )
        ],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
        **about,
    )
    contains = sr.RelationshipTypeValues.CONTAINS
    for text in (*knee["doubts"], *knee["notes"]):
        group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, text, contains))
    yield group
    for point in range(landmarks.COUNT):
        yield landmark_group(sr, knee, point, image, uid, about)


def measurements_of(sr: Any, knee: Mapping[str, Any]) -> Iterator[Any]:
    """The measurements of a knee that have a value, with the ends of their intervals as uncertainties."""
    for name, one in knee["measurements"].items():
        if one["value"] is None:
            continue
        ends: dict[str, float] = {}
        if one["low"] is not None:
            ends["lower_measurement_uncertainty"] = round(one["value"] - one["low"], 3)
            ends["upper_measurement_uncertainty"] = round(one["high"] - one["value"], 3)
        yield sr.Measurement(
            sr.CodedConcept(name, SCHEME, name.replace("_", " ")),
            one["value"],
            unit_of(sr, one["unit"]),
            properties=sr.MeasurementProperties(**ends) if ends else None,
        )
    if knee["trust"] is not None:
        trust = sr.CodedConcept("trust", SCHEME, "Probability of all landmarks within 3 mm")
        yield sr.Measurement(trust, knee["trust"], codes.UCUM.NoUnits)


def unit_of(sr: Any, unit: str) -> Any:
    """A unit as DICOM codes it."""
    known = {"mm": codes.UCUM.Millimeter, "mm2": codes.UCUM.SquareMillimeter, "degree": codes.UCUM.Degree}
    pixels = {"px": ("{pixels}", "pixels"), "px2": ("{pixels2}", "square pixels")}
    return known[unit] if unit in known else sr.CodedConcept(pixels[unit][0], "UCUM", pixels[unit][1])


def landmark_group(
    sr: Any, knee: Mapping[str, Any], point: int, image: Any, uid: Any, about: Mapping[str, Any]
) -> Any:
    """One landmark: a point of the image, and its ellipse of 90 % across and along the bone's outline."""
    source = sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    place = np.array([knee["landmarks_px"][point]])
    axes = () if knee["region_px"] is None else zip(REGION.items(), knee["region_px"][point])
    region = [
        sr.Measurement(sr.CodedConcept(code, SCHEME, said), half, unit_of(sr, "px"))
        for (code, said), half in axes
    ]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(uid(knee["side"], str(point)), landmark_name(knee["side"], point)),
        referenced_region=sr.ImageRegion(sr.GraphicTypeValues.POINT, place, source),
        finding_type=sr.CodedConcept(f"landmark_{point}", SCHEME, landmarks.NAMES[point]),
        measurements=region,
        **about,
    )


def landmark_name(side: str, point: int) -> str:
    """How a landmark is tracked in a report."""
    return f"knee {side}, landmark {point}"


def identifier(*said: str) -> str:
    """A UID that follows from what it is of: the same answer about the same image has the same."""
    return generate_uid(entropy_srcs=list(said))


def software_version() -> str:
    try:
        return version("kneel-compendium")
    except PackageNotFoundError:
        return "unknown"
