"""The checks of the exercises."""

from bert_tutorial.course.exercises import checking

import pytest


def test_a_right_answer(capsys):
    with checking("Exercise 1"):
        assert True
    assert capsys.readouterr().out == "Exercise 1: right.\n"


def test_a_wrong_answer_is_named(capsys):
    with checking("Exercise 1"):
        assert (2, 3) == (3, 2), "rows and columns are swapped"
    assert "Exercise 1: not yet. rows and columns are swapped" in capsys.readouterr().out


def test_an_answer_that_cannot_be_used(capsys):
    with checking("Exercise 2"):
        None.shape  # noqa: B018
    assert capsys.readouterr().out.startswith("Exercise 2: not yet. AttributeError: ")


def test_ctrl_c_stops():
    with pytest.raises(KeyboardInterrupt), checking("Exercise 3"):
        raise KeyboardInterrupt
