"""Calibration: is a classifier right as often as it is sure?"""

from typing import NamedTuple

import numpy as np


class Bins(NamedTuple):
    """Answers of about the same confidence, one bin an entry; bins without any answer are left out.

    Attributes
    ----------
    confidence : np.ndarray
        Mean confidence of each bin.
    accuracy : np.ndarray
        Share of right answers in each bin.
    count : np.ndarray
        Answers in each bin.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability_bins(confidence, correct, num_bins=10):
    """Sort answers into bins of equal width by confidence.

    Parameters
    ----------
    confidence : array of float
        Probability that the network gives its own answer, (n,).
    correct : array of bool
        Whether the answer is right, (n,).
    num_bins : int, default 10
        Of the range from 0 to 1. A two-class answer has a confidence of at least 1/2, so half of them stay empty.

    Returns
    -------
    Bins

    Raises
    ------
    ValueError
        No answers, a confidence outside 0..1, or not one `correct` for each.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    confidence, correct = np.asarray(confidence, "float64"), np.asarray(correct, "float64")
    if not confidence.size or confidence.shape != correct.shape:
        raise ValueError(
            f"confidence and correct must have the same shape (n,), n > 0; got {confidence.shape}, {correct.shape}"
        )
    if not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError("a confidence must lie between 0 and 1: take the softmax of the scores first")
    count, *sums = (
        np.histogram(confidence, num_bins, (0, 1), weights=weights)[0] for weights in (None, confidence, correct)
    )
    used = count > 0
    return Bins(*(total[used] / count[used] for total in sums), count[used])


def expected_calibration_error(bins):
    """Mean distance between confidence and accuracy, each bin counted by its answers.

    Parameters
    ----------
    bins : Bins

    Returns
    -------
    float
        From 0, perfectly calibrated, to 1.

    Source: Guo et al. 2017, section 2, equation 3.
    """
    return float(np.average(np.abs(bins.accuracy - bins.confidence), weights=bins.count))
