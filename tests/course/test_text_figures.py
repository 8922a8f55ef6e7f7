"""Padding is drawn and counted."""

from bert_tutorial.course.text_figures import plot_padding


def test_padding_is_counted():
    figure = plot_padding({"fixed": [([2, 4], 8)], "longest": [([2, 4], 4), ([3], 3)]})
    assert [axes.get_title().splitlines()[1] for axes in figure.axes] == ["62% padding", "18% padding"]
