"""Answers of a classifier as they are drawn."""

from bert_tutorial.course.calibration import Bins
from bert_tutorial.course.classifier_figures import (
    plot_attributions,
    plot_confusion,
    plot_reliability,
    plot_sentiment,
    plot_text_pca,
)
from bert_tutorial.course.drawing import MISTAKE, NEGATIVE, POSITIVE, RIGHT

import numpy as np
import pytest
from figure_text import written
from matplotlib.colors import to_hex


def colours(bars):
    return [to_hex(bar.get_facecolor()).upper() for bar in bars]


def test_sentiment_without_labels_shows_the_answers():
    figure = plot_sentiment(["a", "b", "c"], np.array([0.9, 0.5, 0.2]))
    assert colours(figure.axes[0].patches) == [POSITIVE, NEGATIVE, NEGATIVE]
    assert written(figure) == ["0.90", "0.50", "0.20"]
    assert not figure.legends


@pytest.mark.parametrize("make", [list, np.array])
def test_sentiment_marks_mistakes_by_colour_and_sign(make):
    figure = plot_sentiment(["a", "b", "c", "d"], make([0.9, 0.8, 0.0, 0.2]), make([1, 0, 1, 0]))
    assert colours(figure.axes[0].patches) == [RIGHT, MISTAKE, MISTAKE, RIGHT]
    assert written(figure) == ["0.90", "0.80 ✗", "0.00 ✗", "0.20"]
    (legend,) = figure.legends
    key = zip(colours(legend.get_patches()), (text.get_text() for text in legend.get_texts()), strict=True)
    assert list(key) == [(RIGHT, "right"), (MISTAKE, "mistake ✗")]


def test_sentiment_wants_a_label_for_each_sentence():
    with pytest.raises(ValueError, match="shorter"):
        plot_sentiment(["a", "b"], [0.9, 0.8], [1])


def test_confusion_has_rows_of_true_classes():
    figure = plot_confusion(np.array([[8, 2], [1, 9]]), ("no", "yes"))
    assert {text.get_position(): text.get_text() for text in figure.axes[0].texts} == {
        (0, 0): "8",
        (1, 0): "2",
        (0, 1): "1",
        (1, 1): "9",
    }


def test_reliability_shows_each_bin_and_how_many_answers_it_has():
    bins = Bins(np.array([0.6, 0.9]), np.array([0.5, 1.0]), np.array([4, 20]))
    figure = plot_reliability({"as trained": bins, "softer": bins})
    assert [axes.get_title() for axes in figure.axes] == ["as trained", "softer"]
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), [[0.6, 0.5], [0.9, 1.0]])
    assert written(figure) == ["4", "20"]


def test_pca_gives_each_class_its_points():
    points = np.array([[0, 1], [2, 3], [4, 5]])
    figure = plot_text_pca({"before": points, "after": -points}, [1, 0, 1])
    negative, positive = figure.axes[1].collections
    np.testing.assert_array_equal(negative.get_offsets(), [[-2, -3]])
    np.testing.assert_array_equal(positive.get_offsets(), [[0, -1], [-4, -5]])


def test_attributions_are_bars_to_both_sides():
    figure = plot_attributions(["a", "b", "c"], {"one": [0.5, -2, 0], "two": [0, 0, 0]})
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.5, -2, 0]
    assert colours(bars[:2]) == [POSITIVE, NEGATIVE]
    assert figure.axes[0].yaxis_inverted()  # the text's first word piece is on top
