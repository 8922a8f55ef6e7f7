"""Search as it is drawn."""

from bert_tutorial.course.drawing import LOOKS
from bert_tutorial.course.search_figures import REST, plot_recall, plot_scores, plot_search_map

import numpy as np
import pytest
from figure_text import written
from matplotlib.colors import to_hex

POINTS = np.arange(10.0).reshape(5, 2)


def legend(figure):
    (key,) = figure.legends
    return [text.get_text() for text in key.get_texts()]


def test_map_gives_each_group_its_points_and_joins_what_was_found_to_the_question():
    figure = plot_search_map(POINTS, ["b", None, "a", "b", None], np.array([9, 0]), [3, 1])
    others, a, b, question = figure.axes[0].collections
    np.testing.assert_array_equal(others.get_offsets(), POINTS[[1, 4]])
    np.testing.assert_array_equal(a.get_offsets(), POINTS[[2]])
    np.testing.assert_array_equal(b.get_offsets(), POINTS[[0, 3]])
    np.testing.assert_array_equal(question.get_offsets(), [[9, 0]])
    assert [to_hex(a.get_facecolor()[0]), to_hex(b.get_facecolor()[0])] == [look[0].lower() for look in LOOKS[:2]]
    assert to_hex(others.get_facecolor()[0]) == to_hex(REST)
    assert legend(figure) == ["others", "a", "b", "the question"]
    assert written(figure) == ["1", "2"]
    assert [tuple(text.xy) for text in figure.axes[0].texts] == [tuple(POINTS[3]), tuple(POINTS[1])]
    for line, i in zip(figure.axes[0].lines, [3, 1], strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [[9, 0], POINTS[i]])


def test_map_with_more_groups_than_looks():
    with pytest.raises(ValueError, match="cannot be told apart"):
        plot_search_map(np.zeros((8, 2)), list("abcdefgh"), np.zeros(2), [])


def test_scores_are_drawn_on_one_scale():
    scores = np.array([[0.9, 0.1], [0.2, 0.5]])
    figure = plot_scores({"before": scores, "after": scores.T}, ["one", "two $"])
    before, after = figure.axes[:2]
    assert (before.get_title(), after.get_title()) == ("before", "after")
    np.testing.assert_array_equal(before.images[0].get_array(), scores)
    np.testing.assert_array_equal(after.images[0].get_array(), scores.T)
    assert before.images[0].get_clim() == after.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in before.get_yticklabels()] == ["one  1", "two $  2"]
    assert [text.get_text() for text in after.get_xticklabels()] == ["1", "2"]


def test_recall_starts_at_one_passage():
    figure = plot_recall({"words": [0.2, 0.4, 0.4], "vectors": [0.5, 0.5, 1.0]})
    words, vectors = figure.axes[0].lines
    np.testing.assert_array_equal(words.get_xydata(), [[1, 0.2], [2, 0.4], [3, 0.4]])
    np.testing.assert_array_equal(vectors.get_ydata(), [0.5, 0.5, 1.0])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["words", "vectors"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1", "2"]
