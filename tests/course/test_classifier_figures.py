"""What the notebooks' figures show."""

import inspect
import io

from bert_tutorial.course import drawing, training_figures
from bert_tutorial.course.attention_figures import (
    plot_attention,
    plot_attention_grid,
    plot_cosines,
    plot_cosines_by_layer,
    plot_functions,
    plot_positions,
)
from bert_tutorial.course.calibration import Bins
from bert_tutorial.course.diagrams import (
    draw_classifier,
    draw_embeddings,
    draw_input,
    draw_lookups,
    draw_masking,
    draw_ns_classifier,
)
from bert_tutorial.course.drawing import LOOKS, NEGATIVE, POSITIVE, show_source
from bert_tutorial.course.review_figures import (
    plot_attributions,
    plot_cls_pca,
    plot_confusion,
    plot_padding,
    plot_reliability,
    plot_sentiment,
)
from bert_tutorial.course.training_figures import (
    LearningCurve,
    PretrainingCurve,
    plot_learning_rate,
    plot_losses,
    plot_pretraining,
    plot_runs,
    plot_speeds,
)

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.colors import to_hex
from matplotlib.text import Text


def written(figure):
    return [text.get_text() for text in figure.axes[0].texts]


class Screen:
    """Stands in for IPython's handle of one output."""

    def __init__(self):
        self.shown, self.updates = [], []
        self.display, self.update = self.shown.append, self.updates.append


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(training_figures, "DisplayHandle", lambda: screen)
    return screen


def row(step):
    names = ("mlm_loss", "ns_loss", "valid_mlm_accuracy", "valid_ns_accuracy")
    return {"step": step, **{name: (place + 1) / step for place, name in enumerate(names)}}


def test_curve_is_one_picture_that_changes(screen):
    curve = PretrainingCurve()
    for step in (10, 20, 40):
        curve(row(step))
    assert len(screen.shown) == 1
    assert len({image.data for image in (*screen.shown, *screen.updates)}) == 4
    lines = plot_pretraining(curve.history).axes[0].lines
    assert list(lines[0].get_xdata()) == [10, 20, 40]
    assert "40" in screen.updates[-1].alt


def test_source_is_shown_as_it_is(monkeypatch):
    shown = []
    monkeypatch.setattr(drawing, "display", lambda data, raw: shown.append(data))
    show_source(plot_pretraining)
    assert shown[0]["text/plain"] == inspect.getsource(plot_pretraining)
    page = BeautifulSoup(shown[0]["text/html"], "html.parser")
    assert page.text.strip() == inspect.getsource(plot_pretraining).strip()
    assert "monospace" in page.pre["style"]


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


def test_positions_are_drawn_with_their_cosines():
    table = np.array([[3.0, 0], [0, 2], [-1, 0]])
    figure = plot_positions({"a table": table})
    vectors, cosines = (axes.images[0].get_array() for axes in figure.axes if axes.images)
    np.testing.assert_array_equal(vectors, table)
    np.testing.assert_allclose(cosines, [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-12)


def test_functions_are_drawn_by_name():
    x = np.linspace(-1, 1, 5)
    axes = plot_functions(x, {"square": x**2, "line": x}).axes[0]
    assert {line.get_label(): line.get_ydata()[0] for line in axes.lines[:2]} == {"square": 1, "line": -1}


def test_each_loss_is_a_curve():
    figure = plot_losses({"one": [3, 2, 1], "two": [1, 0.5]}, guessing=0.7)
    one, two, guessing = figure.axes[0].lines
    assert (list(one.get_xdata()), list(one.get_ydata())) == ([1, 2, 3], [3, 2, 1])
    assert one.get_color() != two.get_color()
    assert set(guessing.get_ydata()) == {0.7}


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


def test_padding_is_counted():
    figure = plot_padding({"fixed": [([2, 4], 8)], "longest": [([2, 4], 4), ([3], 3)]})
    assert [axes.get_title().splitlines()[1] for axes in figure.axes] == ["62% padding", "18% padding"]


def test_learning_rate_starts_at_step_1():
    lines = plot_learning_rate({"a": [1, 2, 1], "b": [2, 1, 0]}).axes[0].lines
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in lines] == [
        ([1, 2, 3], [1, 2, 1]),
        ([1, 2, 3], [2, 1, 0]),
    ]


def test_learning_curve_is_one_picture_that_changes(screen, capsys):
    curve = LearningCurve(num_epoch=3)
    for epoch in (1, 2, 3):
        curve({"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.5, "test_accuracy": 0.2 * epoch})
    assert len(screen.shown) == 1
    assert len({image.data for image in (*screen.shown, *screen.updates)}) == 4
    assert "test accuracy 0.20, 0.40, 0.60" in screen.updates[-1].alt
    assert capsys.readouterr().out == "", "the Animator's own display must not be seen"


def test_learning_curve_leaves_d2l_and_pyplot_as_they_were(screen):
    from d2l import mxnet as d2l

    before = d2l.use_svg_display
    LearningCurve(num_epoch=1)
    assert d2l.use_svg_display is before
    assert not d2l.plt.get_fignums(), "pyplot would show the Animator's figure a second time"


def test_confusion_has_rows_of_true_classes():
    figure = plot_confusion(np.array([[8, 2], [1, 9]]), ("no", "yes"))
    assert {text.get_position(): text.get_text() for text in figure.axes[0].texts} == {
        (0, 0): "8",
        (1, 0): "2",
        (0, 1): "1",
        (1, 1): "9",
    }


def test_runs_show_each_loss_and_the_last_accuracy():
    def history(*losses):
        return [{"epoch": i, "train_loss": loss, "test_accuracy": 1 - loss} for i, loss in enumerate(losses, start=1)]

    left, right = plot_runs({"good": history(0.5, 0.25), "bad": history(0.75, 0.75)}).axes
    assert [list(line.get_ydata()) for line in left.lines[:2]] == [[0.5, 0.25], [0.75, 0.75]]
    assert [patch.get_width() for patch in right.patches] == [0.75, 0.25]


PRICE = "$100% fun for $5 \\"
CURVE = [3, 2, 1]
HISTORY = [{"epoch": 1, "train_loss": 0.5, "test_accuracy": 0.5}]
MATRIX = np.array([[1.0, 0.5], [0.5, 1.0]])
BINS = Bins(np.array([0.6]), np.array([0.5]), np.array([4]))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_sentiment([PRICE], [0.7]),
        lambda: plot_attention({PRICE: MATRIX}, [PRICE, "a"], [PRICE, "b"]),
        lambda: plot_positions({PRICE: MATRIX}),
        lambda: plot_functions(np.arange(3), {PRICE: CURVE}),
        lambda: plot_losses({PRICE: CURVE}),
        lambda: plot_cosines(MATRIX, [PRICE, "a"]),
        lambda: plot_cosines_by_layer({PRICE: MATRIX}),
        lambda: plot_padding({PRICE: [([2, 4], 8)]}),
        lambda: plot_learning_rate({PRICE: CURVE}),
        lambda: plot_confusion(np.array([[8, 2], [1, 9]]), (PRICE, "b")),
        lambda: plot_runs({PRICE: HISTORY}),
        lambda: plot_reliability({PRICE: BINS}),
        lambda: plot_cls_pca({PRICE: MATRIX}, [1, 0]),
        lambda: plot_attributions([PRICE, "a"], {PRICE: CURVE[:2], "two": CURVE[:2]}),
        lambda: plot_speeds({PRICE: 1}, PRICE),
        lambda: draw_masking([PRICE, "a"], [PRICE, "a"], [0]),
        lambda: draw_lookups(PRICE, [(0, len(PRICE), True)]),
        lambda: draw_input([PRICE, "a"], [0, 1], 2),
        lambda: draw_embeddings([PRICE, "a"], [0, 1]),
        lambda: draw_ns_classifier([PRICE, "a"], [0, 1]),
        lambda: draw_classifier([PRICE, "a"], 2),
    ],
)
def test_a_dollar_is_no_mathematics(draw):
    """Finding 17: ParseException."""
    figure = draw()
    figure.savefig(io.BytesIO())
    shown = [text for text in figure.findobj(Text) if "100%" in text.get_text() or text.get_text() == "$"]
    assert shown
    assert not any(text.get_parse_math() for text in shown)


@pytest.mark.parametrize(
    ("draw", "curve"),
    [
        (lambda curves: plot_functions(np.arange(3), curves), np.array(CURVE)),
        (plot_losses, CURVE),
        (plot_cosines_by_layer, MATRIX),
        (plot_learning_rate, CURVE),
        (plot_runs, HISTORY),
    ],
)
def test_every_curve_is_drawn_or_refused(draw, curve):
    """Finding 26: of six curves four were drawn."""
    axes = draw({f"curve {i}": curve for i in range(len(LOOKS))}).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == len(axes.lines[0].get_xdata())]
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in curves}) >= len(LOOKS)
    with pytest.raises(ValueError, match="at most"):
        draw({f"curve {i}": curve for i in range(len(LOOKS) + 1)})


def test_runs_of_different_lengths_have_all_their_epochs():
    history = [{"epoch": i, "train_loss": 0.5, "test_accuracy": 0.5} for i in (1, 2, 3)]
    left, _ = plot_runs({"long": history, "short": history[:1]}).axes
    assert list(left.get_xticks()) == [1, 2, 3]


def map_axes(figure):
    return [axes for axes in figure.axes if axes.images]


def test_attention_grid_has_layers_as_rows_and_heads_as_columns():
    weights = np.random.RandomState(0).rand(2, 3, 4, 4)
    maps = map_axes(plot_attention_grid(weights))
    for place, axes in enumerate(maps):
        np.testing.assert_array_equal(axes.images[0].get_array(), weights[divmod(place, 3)])
    assert [axes.get_title() for axes in maps] == ["head 1", "head 2", "head 3", "", "", ""]
    assert [axes.get_ylabel() for axes in maps] == ["layer 1", "", "", "layer 2", "", ""]


def test_reliability_shows_each_bin_and_how_many_answers_it_has():
    bins = Bins(np.array([0.6, 0.9]), np.array([0.5, 1.0]), np.array([4, 20]))
    figure = plot_reliability({"as trained": bins, "softer": bins})
    assert [axes.get_title() for axes in figure.axes] == ["as trained", "softer"]
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), [[0.6, 0.5], [0.9, 1.0]])
    assert written(figure) == ["4", "20"]


def test_pca_gives_each_class_its_points():
    points = np.array([[0, 1], [2, 3], [4, 5]])
    figure = plot_cls_pca({"before": points, "after": -points}, [1, 0, 1])
    negative, positive = figure.axes[1].collections
    np.testing.assert_array_equal(negative.get_offsets(), [[-2, -3]])
    np.testing.assert_array_equal(positive.get_offsets(), [[0, -1], [-4, -5]])


def test_attributions_are_bars_to_both_sides():
    figure = plot_attributions(["a", "b", "c"], {"one": [0.5, -2, 0], "two": [0, 0, 0]})
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.5, -2, 0]
    assert [to_hex(bar.get_facecolor()).upper() for bar in bars[:2]] == [POSITIVE, NEGATIVE]
    assert figure.axes[0].yaxis_inverted()  # the text's first word piece is on top


def test_speeds_are_bars_with_their_names():
    axes = plot_speeds({"one": 100.0, "two": 180.0}, "word pieces a second").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [100, 180]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
