"""What the notebooks' figures show."""

from bert_tutorial import figures
from bert_tutorial.figures import MASKING_COLOURS, PretrainingCurve, plot_masking, plot_pretraining, show_source

import pytest


def boxes(figure):
    """Colour of each box, in order."""
    kinds = {colour: kind for kind, colour in MASKING_COLOURS.items()}
    return [
        kinds["#{:02X}{:02X}{:02X}".format(*(round(255 * x) for x in p.get_facecolor()[:3]))]
        for p in figure.axes[0].patches
    ]


def written(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_masking_shows_what_was_done_to_each_word_piece():
    tokens = ["[CLS]", "one", "two", "three", "four", "[SEP]"]
    masked = ["[CLS]", "[MASK]", "dog", "three", "four", "[SEP]"]
    figure = plot_masking(tokens, masked, [1, 2, 3])
    assert boxes(figure) == [
        "as it was",
        "hidden by [MASK]",
        "replaced by another",
        "left, but to be predicted",
        "as it was",
        "as it was",
    ]
    assert sorted(written(figure)) == sorted([*masked, "one", "two", "three"])


def test_masking_goes_on_in_the_next_line():
    figure = plot_masking(["word"] * 20, ["word"] * 20, [], columns=30)
    corners = [(patch.get_y(), patch.get_x()) for patch in figure.axes[0].patches]
    assert corners == sorted(corners)
    assert max(patch.get_x() + patch.get_width() for patch in figure.axes[0].patches) <= 30


class Screen:
    """Stands in for IPython's handle of one output."""

    def __init__(self):
        self.shown, self.updates = [], []
        self.display, self.update = self.shown.append, self.updates.append


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(figures, "DisplayHandle", lambda: screen)
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
    monkeypatch.setattr(figures, "display", shown.append)
    show_source(plot_masking)
    assert shown[0].data.startswith("def plot_masking(")
