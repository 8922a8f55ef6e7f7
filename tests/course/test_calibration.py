"""Bins of confidence, and the distance between confidence and accuracy."""

from bert_tutorial.course.calibration import expected_calibration_error, reliability_bins

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50)


@given(answers, st.integers(1, 20))
def test_bins_hold_every_answer_once(pairs, num_bins):
    confidence, correct = zip(*pairs, strict=True)
    bins = reliability_bins(confidence, correct, num_bins)
    assert bins.count.sum() == len(pairs)
    assert (bins.count > 0).all()
    assert (np.diff(bins.confidence) > 0).all()
    assert np.average(bins.confidence, weights=bins.count) == pytest.approx(np.mean(confidence))
    assert np.average(bins.accuracy, weights=bins.count) == pytest.approx(np.mean(correct))
    overall = abs(np.mean(confidence) - np.mean(correct))
    assert overall - 1e-9 <= expected_calibration_error(bins) <= 1


@given(answers, st.integers(1, 20))
def test_bins_are_of_equal_width(pairs, num_bins):
    """Finding 34. Borders are left out: rounding decides to which side they belong."""
    confidence = np.array([each for each, _ in pairs])
    assume(min(abs(np.subtract.outer(confidence, np.linspace(0, 1, num_bins + 1)[1:-1])).flat, default=1) > 1e-9)
    bins = reliability_bins(*zip(*pairs, strict=True), num_bins)
    groups = {}
    for pair in sorted(pairs):
        groups.setdefault(min(int(pair[0] * num_bins), num_bins - 1), []).append(pair)
    means = [np.mean(group, axis=0) for group in groups.values()]
    np.testing.assert_allclose(np.stack([bins.confidence, bins.accuracy], axis=1), means, atol=1e-12)


def test_answers_as_often_right_as_sure_have_no_error():
    confidence, correct = [0.75] * 4 + [1.0] * 3, [1, 1, 1, 0] + [1] * 3
    bins = reliability_bins(confidence, correct)
    assert bins.count.tolist() == [4, 3]
    assert expected_calibration_error(bins) == pytest.approx(0)


def test_bins_weigh_by_their_answers():
    # three answers at 0.9, all wrong, and one at 0.6, right
    assert expected_calibration_error(reliability_bins([0.9] * 3 + [0.6], [0, 0, 0, 1])) == pytest.approx(
        (3 * 0.9 + 0.4) / 4
    )


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [([], [], "shape"), ([0.5, 0.6], [1], "shape"), ([1.2], [1], "softmax"), ([float("nan")], [1], "between")],
)
def test_what_is_no_confidence_is_refused(confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(confidence, correct)
