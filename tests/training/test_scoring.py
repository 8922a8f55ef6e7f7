"""The interval of an accuracy."""

import math

from bert_tutorial import wilson_interval
from bert_tutorial.training.scoring import Evaluation

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_that_of_newcombe(right, count, low, high):
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)


answers = st.integers(1, 10**9).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))


@given(answers)
def test_wilson_interval_holds_the_accuracy_and_is_as_sure_of_mistakes(right_and_count):
    right, count = right_and_count
    low, high = wilson_interval(right, count)
    assert 0 <= low <= right / count <= high <= 1
    assert low < high
    assert wilson_interval(count - right, count) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(answers)
def test_limits_are_where_the_accuracy_is_just_believable(right_and_count):
    """1.96 standard deviations from it, as they would be if that were the accuracy."""
    right, count = right_and_count
    for limit in wilson_interval(right, count):
        distance = abs(right / count - limit)
        assert distance == pytest.approx(1.959964 * math.sqrt(limit * (1 - limit) / count), rel=1e-3, abs=1e-8)


@pytest.mark.parametrize(("right", "count"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_more_right_than_there_are(right, count):
    with pytest.raises(ValueError, match=f"{right} of {count}"):
        wilson_interval(right, count)


def test_interval_of_an_evaluation():
    assert Evaluation(0.92, 0.2, 100).interval == wilson_interval(92, 100)
    assert all(map(math.isnan, Evaluation(math.nan, 0.2, 100).interval))
