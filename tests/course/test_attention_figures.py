"""Maps of attention: every weight in its place, under its word."""

from bert_tutorial.course.attention_figures import plot_attention, plot_attention_grid

import numpy as np
from figure_text import written


def map_axes(figure):
    return [axes for axes in figure.axes if axes.images]


def test_attention_writes_numbers_into_a_small_map_only():
    words = ["a", "b", "c"]
    weights = np.array([[0.5, 0.5, 0], [0, 1, 0], [0.25, 0.25, 0.5]])
    figure = plot_attention({"": weights}, words, words)
    assert written(figure) == ["0.50", "0.50", "0.00", "0.00", "1.00", "0.00", "0.25", "0.25", "0.50"]
    names = [str(place) for place in range(10)]
    assert not written(plot_attention({"": np.full((10, 10), 0.1)}, names, names))


def test_attention_draws_a_map_for_each_head_with_its_words():
    figure = plot_attention({"head 1": np.eye(3, 4), "head 2": np.ones((3, 4)) / 4}, list("abc"), list("wxyz"))
    maps = map_axes(figure)
    assert [axes.get_title() for axes in maps] == ["head 1", "head 2"]
    np.testing.assert_array_equal(maps[0].images[0].get_array(), np.eye(3, 4))
    for axes in maps:
        assert [label.get_text() for label in axes.get_xticklabels()] == list("wxyz")
        assert [label.get_text() for label in axes.get_yticklabels()] == list("abc")


def test_attention_grid_has_layers_as_rows_and_heads_as_columns():
    weights = np.random.RandomState(0).rand(2, 3, 4, 4)
    maps = map_axes(plot_attention_grid(weights))
    for place, axes in enumerate(maps):
        np.testing.assert_array_equal(axes.images[0].get_array(), weights[divmod(place, 3)])
    assert [axes.get_title() for axes in maps] == ["head 1", "head 2", "head 3", "", "", ""]
    assert [axes.get_ylabel() for axes in maps] == ["layer 1", "", "", "layer 2", "", ""]
