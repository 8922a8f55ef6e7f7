"""Answers as they are drawn: marked in the text, and their probabilities along its words."""

from bert_tutorial.course.answer_figures import LINE, plot_answer
from bert_tutorial.course.drawing import YELLOW

import pytest
from figure_text import written
from matplotlib.colors import to_hex


def marked(figure):
    boxes = [(text.get_text(), text.get_bbox_patch()) for text in figure.axes[0].texts]
    return [word for word, box in boxes if box and to_hex(box.get_facecolor()).upper() == YELLOW]


def test_the_answer_is_marked_and_likely_words_are_named():
    words = ["it", "costs", "$5", "or", "$6"]
    figure = plot_answer(words, [0.0, 0.1, 0.9, 0, 0], [0, 0.0, 0.2, 0, 0.8], (2, 4))
    assert written(figure) == words
    assert marked(figure) == ["$5", "or", "$6"]
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == [0, 0.1, 0.9, 0, 0, 0, 0, -0.2, 0, -0.8]
    assert [text.get_text() for text in figure.axes[1].texts] == ["costs", "$5", "$6"]


def test_no_answer_is_not_marked():
    assert marked(plot_answer(["a", "b"], [0, 1], [1, 0])) == []


def test_a_long_text_is_wrapped():
    figure = plot_answer(["word"] * 40, [0] * 40, [0] * 40)
    places = [text.get_position() for text in figure.axes[0].texts]
    assert len({row for _, row in places}) == 3
    assert all(column + 4 <= LINE for column, _ in places)


def test_as_many_probabilities_as_words():
    with pytest.raises(ValueError, match="longer"):
        plot_answer(["a", "b"], [0.5], [0.5, 0.5])
