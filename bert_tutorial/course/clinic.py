"""Trainings that go wrong, to be diagnosed in notebook 10. To read on here is to read the answers.

Each takes what a healthy training is given, and spoils one thing.
"""

from random import Random
from typing import NamedTuple

CAUSES = (
    "the learning rate is too large",
    "the learning rate is too small",
    "the labels do not belong to the texts",
    "test texts are in the training",
    "one class is nearly all",
    "the texts are cut before they say anything",
    "the vocabulary is that of other weights",
)


class Given(NamedTuple):
    """What a training is given."""

    train: list  # of Example
    test: list  # of Example
    lr: float
    epochs: int
    max_length: int


class Patient(NamedTuple):
    """A training that goes wrong."""

    complaint: str
    cause: str  # one of CAUSES
    spoil: object  # from what a healthy training is given to what this one is


def _too_fast(given):
    return given._replace(lr=50 * given.lr)


def _mixed_up(given):
    few = given.train[:64]
    labels = [example.label for example in few]
    Random(1).shuffle(labels)
    mixed = [example._replace(label=label) for example, label in zip(few, labels, strict=True)]
    return given._replace(train=mixed, epochs=7)


def _leaking(given):
    copies = [example._replace(text=f"{example.text.upper()} ") for example in given.test]
    return given._replace(train=[*given.train[:20], *copies], epochs=5)


def _lopsided(given):
    rare = given.train[0].label
    return given._replace(train=_one_in_twenty(given.train, rare), test=_one_in_twenty(given.test, rare), epochs=2)


def _one_in_twenty(examples, rare):
    others = [example._replace(label="other") for example in examples if example.label != rare]
    return [*others, *[example for example in examples if example.label == rare][: round(len(others) / 19)]]


def _cut_off(given):
    greeting = "Message from the contact form of our web page, sent by a visitor:"
    train, test = (
        [example._replace(text=f"{greeting} {example.text}") for example in examples]
        for examples in (given.train, given.test)
    )
    return given._replace(train=train, test=test, max_length=16)


PATIENTS = {
    "A": Patient("The loss does not fall, whatever I do.", CAUSES[0], _too_fast),
    "B": Patient("In training it gets better and better; the test has not noticed.", CAUSES[2], _mixed_up),
    "C": Patient("Seventy sentences, and it makes hardly a mistake! When do we sell it?", CAUSES[3], _leaking),
    "D": Patient("95 % right after the first epoch. What do we need the others for?", CAUSES[4], _lopsided),
    "E": Patient("It guesses. The table is fine, I have read every row.", CAUSES[5], _cut_off),
}


def admit(name, given):
    """What a patient's training is given.

    Parameters
    ----------
    name : str
        Of one of `PATIENTS`.
    given : Given
        What a healthy training is given.

    Returns
    -------
    Given
    """
    return PATIENTS[name].spoil(given)


def is_cause(name, cause):
    """Whether this, one of `CAUSES`, is wrong with a patient.

    Raises
    ------
    ValueError
        It is none of `CAUSES`.
    """
    if cause not in CAUSES:
        raise ValueError(f"{cause!r} is none of CAUSES")
    return PATIENTS[name].cause == cause
