"""A simulated radiograph of both knees, as a DICOM file that says which image it is."""

import pandas as pd
from dicom_writer import write_radiograph
from pydicom.uid import generate_uid

from kneel_lib.simulation import population, shape_model

KNEES = pd.DataFrame({"subject_id": [5, 5], "side": ["R", "L"], "kl": [1, 3], "implant": [False, False]})


def write_film(path):
    """(file, {side: true landmarks in pixels}, mm a pixel)."""
    machine = population.OAI_LIKE[0]
    stored, points, machine, bits = population.draw_radiograph(KNEES, 11, machine, 0.0, shape_model.NAME)
    uids = {name: generate_uid(entropy_srcs=[name]) for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    how = {"BitsStored": bits, "HighBit": bits - 1, "ImagerPixelSpacing": [machine.mm_per_px] * 2}
    return write_radiograph(path, stored, **how, **uids), points, machine.mm_per_px
