"""The activation, positions and cosines as they are drawn."""

from bert_tutorial.course.encoder_figures import plot_cosines, plot_cosines_by_layer, plot_functions, plot_positions

import numpy as np
from figure_text import written


def test_functions_are_drawn_by_name():
    x = np.linspace(-1, 1, 5)
    axes = plot_functions(x, {"square": x**2, "line": x}).axes[0]
    assert {line.get_label(): line.get_ydata()[0] for line in axes.lines[:2]} == {"square": 1, "line": -1}


def test_positions_are_drawn_with_their_cosines():
    table = np.array([[3.0, 0], [0, 2], [-1, 0]])
    figure = plot_positions({"a table": table})
    vectors, cosines = (axes.images[0].get_array() for axes in figure.axes if axes.images)
    np.testing.assert_array_equal(vectors, table)
    np.testing.assert_allclose(cosines, [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-12)


def test_cosines_of_labelled_vectors_are_written_out():
    cosines = np.array([[1, -0.25], [-0.25, 1]])
    figure = plot_cosines(cosines, ["this", "that"])
    assert written(figure) == ["1.00", "-0.25", "-0.25", "1.00"]
    assert (figure.axes[0].images[0].get_array() == cosines).all()
    assert not written(plot_cosines(np.eye(200)))


def test_cosines_by_layer_shows_mean_and_range():
    figure = plot_cosines_by_layer({"pairs": np.array([[1, 0.5], [0.5, 0.1]])})
    axes = figure.axes[0]
    assert list(axes.lines[0].get_ydata()) == [0.75, 0.3]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.1, 1)
