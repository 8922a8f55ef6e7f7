"""What is wrong with the trainings of the clinic, and that nothing else is."""

from bert_tutorial.course.clinic import CAUSES, PATIENTS, Given, admit, is_cause
from bert_tutorial.tasks.classify import TextClassifier

import pytest

CLASSES = ("book", "cancel", "price", "showtimes")


@pytest.fixture(scope="module")
def healthy():
    train, test = (
        [example for example in TextClassifier.read("tickets", split) if example.label in CLASSES]
        for split in ("train", "test")
    )
    return Given(train, test, lr=2e-4, epochs=4, max_length=64)


def texts(examples):
    return [example.text for example in examples]


def labels(examples):
    return [example.label for example in examples]


def changed(name, healthy):
    """The fields that a patient's training has otherwise than a healthy one."""
    given = admit(name, healthy)
    return {field for field in Given._fields if getattr(given, field) != getattr(healthy, field)}


def test_each_patient_has_another_cause():
    causes = [patient.cause for patient in PATIENTS.values()]
    assert len(set(causes)) == len(causes) == 5
    assert set(causes) < set(CAUSES)  # not every cause has a patient


def test_steps_are_too_long(healthy):
    assert changed("A", healthy) == {"lr"}
    assert admit("A", healthy).lr > 5 * healthy.lr


def test_labels_are_mixed_up(healthy):
    assert changed("B", healthy) == {"train", "epochs"}
    train = admit("B", healthy).train
    before = healthy.train[: len(train)]
    assert texts(train) == texts(before)
    assert sorted(labels(train)) == sorted(labels(before))
    same = sum(a == b for a, b in zip(labels(train), labels(before), strict=True)) / len(train)
    assert same < 0.4


def test_test_is_in_the_training_in_capital_letters(healthy):
    assert changed("C", healthy) == {"train", "epochs"}
    train = admit("C", healthy).train
    assert not set(texts(train)) & set(texts(healthy.test))
    known = dict(zip((text.strip().lower() for text in texts(train)), labels(train), strict=True))
    assert all(known[example.text.lower()] == example.label for example in healthy.test)


def test_one_class_is_nearly_all(healthy):
    assert changed("D", healthy) == {"train", "test", "epochs"}
    given = admit("D", healthy)
    for examples in (given.train, given.test):
        share = labels(examples).count("other") / len(examples)
        assert 0.94 < share < 0.96
        assert len(set(labels(examples))) == 2


def test_texts_are_alike_up_to_the_cut(healthy):
    assert changed("E", healthy) == {"train", "test", "max_length"}
    given = admit("E", healthy)
    beginnings = {tuple(text.split()[:13]) for text in texts(given.train + given.test)}
    assert len(beginnings) == 1
    assert given.max_length == 16
    assert labels(given.train) == labels(healthy.train)


def test_a_diagnosis_is_right_or_wrong_or_unheard_of():
    for name, patient in PATIENTS.items():
        assert [cause for cause in CAUSES if is_cause(name, cause)] == [patient.cause]
    with pytest.raises(ValueError, match="none of CAUSES"):
        is_cause("A", "bad luck")
