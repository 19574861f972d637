"""A student of pseudo-labels: tiny real networks on drawn knees, some of them written as crops without
landmarks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY, drawn_cohort

from kneel_lib.data.graded import labelled_subjects
from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs, students
from kneel_lib.experiment.rows import BEST, PSEUDO
from kneel_lib.experiment.spec import PSEUDO_LABELLED
from kneel_lib.experiment.trained import load_network

COUNT = 12
LONGER = replace(TINY, epochs=60)
"""Until the drawn landmarks are told apart."""


@pytest.fixture
def unlabelled(tmp_path):
    """(folder, pictures as they should be read): drawn knees as files, left ones mirrored, every third
    inverted."""
    others = drawn_cohort(COUNT, seed=1)
    for number, (image, side) in enumerate(zip(others.images, others.knees["side"])):
        place = tmp_path / "oai_crops_unlabelled" / "train" / "1" / f"{99_000_000 + number}{side}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shown = image if number % 3 else 255 - image
        cv2.imwrite(str(place), shown[:, ::-1] if side == "L" else shown)
    seen = min(labelled_subjects())
    cv2.imwrite(str(place.with_name(f"{seen}L.png")), others.images[0])
    return tmp_path, others.images


def test_crops_without_landmarks_are_read_right_oriented_with_bright_bone(unlabelled):
    folder, expected = unlabelled
    pictures = students.unlabelled_crops(folder)
    assert len(pictures) == COUNT and np.isnan(pictures.landmarks_mm).all()
    for read, drawn in zip(pictures.images, expected, strict=True):
        assert np.array_equal(read, drawn)


@pytest.mark.trains
def test_a_student_begins_as_its_teacher_and_learns_what_that_says(cohort, unlabelled, store):
    folder, _ = unlabelled
    teacher = runs.get_run(BEST, LONGER, cohort, 0, weights=True)
    labelled = students.pseudo_labelled(students.unlabelled_crops(folder), teacher)
    student = students.student_of(teacher, folder)
    assert student.spec.setting == PSEUDO and student.spec.start.run == teacher.spec.hash
    assert student.spec.fingerprint == labelled.fingerprint and student.spec.cohort == PSEUDO_LABELLED
    assert student.spec.knees == len(labelled) <= COUNT and len(student.predictions) == 0
    fresh = runs.get_run(PSEUDO, LONGER, labelled, "all", weights=True)
    weights, taught, other = (
        torch.cat([value.flatten() for value in load_network(run).parameters()])
        for run in (student, teacher, fresh)
    )
    assert 0 < (weights - taught).norm() < (weights - other).norm()


@pytest.mark.trains
def test_a_teacher_that_knows_nothing_is_refused(cohort, unlabelled, store):
    teacher = runs.get_run(BEST, TINY, cohort, 0, labels=8, weights=True)
    with pytest.raises(KneelError, match=f"on none of {COUNT} crops: train the teacher"):
        students.student_of(teacher, unlabelled[0])


def test_without_such_crops_one_line_says_where_to_get_them(tmp_path):
    with pytest.raises(KneelError, match="oai_crops_unlabelled"):
        students.unlabelled_crops(tmp_path)
