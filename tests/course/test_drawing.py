"""What all figures have in common: text as it is, curves that can be told apart; and source that is shown."""

import inspect
import io

from bert_tutorial.course import drawing
from bert_tutorial.course.attention_figures import plot_attention
from bert_tutorial.course.calibration import Bins
from bert_tutorial.course.classifier_figures import (
    plot_attributions,
    plot_confusion,
    plot_reliability,
    plot_sentiment,
    plot_text_pca,
)
from bert_tutorial.course.diagrams import (
    draw_classifier,
    draw_embeddings,
    draw_input,
    draw_lookups,
    draw_masking,
    draw_ns_classifier,
)
from bert_tutorial.course.drawing import LOOKS, show_source
from bert_tutorial.course.encoder_figures import plot_cosines, plot_cosines_by_layer, plot_functions, plot_positions
from bert_tutorial.course.text_figures import plot_padding
from bert_tutorial.course.training_figures import (
    plot_learning_rate,
    plot_losses,
    plot_pretraining,
    plot_runs,
    plot_speeds,
)

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.text import Text

PRICE = "$100% fun for $5 \\"
CURVE = [3, 2, 1]
HISTORY = [{"epoch": 1, "train_loss": 0.5, "test_accuracy": 0.5}]
MATRIX = np.array([[1.0, 0.5], [0.5, 1.0]])
BINS = Bins(np.array([0.6]), np.array([0.5]), np.array([4]))


def test_source_is_shown_as_it_is(monkeypatch):
    shown = []
    monkeypatch.setattr(drawing, "display", lambda data, raw: shown.append(data))
    show_source(plot_pretraining)
    assert shown[0]["text/plain"] == inspect.getsource(plot_pretraining)
    page = BeautifulSoup(shown[0]["text/html"], "html.parser")
    assert page.text.strip() == inspect.getsource(plot_pretraining).strip()
    assert "monospace" in page.pre["style"]


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
        lambda: plot_runs({PRICE: [HISTORY]}, (PRICE, 0.9)),
        lambda: plot_reliability({PRICE: BINS}),
        lambda: plot_text_pca({PRICE: MATRIX}, [1, 0]),
        lambda: plot_attributions([PRICE, "a"], {PRICE: CURVE[:2], "two": CURVE[:2]}),
        lambda: plot_speeds({PRICE: 1}, PRICE),
        lambda: draw_masking([PRICE, "a"], [PRICE, "a"], [0]),
        lambda: draw_lookups(PRICE, [(0, len(PRICE), True)]),
        lambda: draw_input([PRICE, "a"], [0, 1], 2),
        lambda: draw_embeddings([PRICE, "a"], [0, 1]),
        lambda: draw_ns_classifier([PRICE, "a"], [0, 1]),
        lambda: draw_classifier([PRICE, "a"], 2, "mean"),
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
        (lambda runs: plot_runs(runs, ("counting words", 0.9)), [HISTORY]),
    ],
)
def test_every_curve_is_drawn_or_refused(draw, curve):
    """Finding 26: of six curves four were drawn."""
    axes = draw({f"curve {i}": curve for i in range(len(LOOKS))}).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == len(axes.lines[0].get_xdata())]
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in curves}) >= len(LOOKS)
    with pytest.raises(ValueError, match="at most"):
        draw({f"curve {i}": curve for i in range(len(LOOKS) + 1)})
