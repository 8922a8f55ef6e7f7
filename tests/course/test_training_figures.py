"""Curves of trainings, also while they run."""

from bert_tutorial.course import training_figures
from bert_tutorial.course.training_figures import (
    LearningCurve,
    PretrainingCurve,
    plot_chart,
    plot_learning_rate,
    plot_losses,
    plot_pretraining,
    plot_runs,
    plot_speeds,
)

import numpy as np
import pytest


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


def test_curve_of_a_pretraining():
    row = {"step": 1, "mlm_loss": 5.0, "ns_loss": 0.7, "valid_mlm_accuracy": 0.1, "valid_ns_accuracy": 0.5}
    figure = plot_pretraining([row, {**row, "step": 2, "mlm_loss": 4.0}])
    curves = [list(axes.lines[0].get_ydata()) for axes in figure.axes]
    assert curves == [[5.0, 4.0], [0.7, 0.7], [0.1, 0.1], [0.5, 0.5]]


def test_axes_of_a_pretraining_show_what_has_changed():
    """And not what chance does to the next sentences."""
    row = {"step": 1, "mlm_loss": 6.4, "ns_loss": 0.69, "valid_mlm_accuracy": 0.08, "valid_ns_accuracy": 0.48}
    last = {"step": 2, "mlm_loss": 5.8, "ns_loss": 0.7, "valid_mlm_accuracy": 0.15, "valid_ns_accuracy": 0.52}
    panels = plot_pretraining([row, last]).axes
    loss, ns_loss, right, ns_right = (np.ptp(a.lines[0].get_ydata()) / np.ptp(a.get_ylim()) for a in panels)
    assert min(loss, right) > 0.4
    assert max(ns_loss, ns_right) < 0.2


def test_each_loss_is_a_curve():
    figure = plot_losses({"one": [3, 2, 1], "two": [1, 0.5]}, guessing=0.7)
    one, two, guessing = figure.axes[0].lines
    assert (list(one.get_xdata()), list(one.get_ydata())) == ([1, 2, 3], [3, 2, 1])
    assert one.get_color() != two.get_color()
    assert set(guessing.get_ydata()) == {0.7}


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


def history(*losses):
    return [{"epoch": i, "train_loss": loss, "test_accuracy": 1 - loss} for i, loss in enumerate(losses, start=1)]


def test_runs_show_each_loss_and_each_seeds_last_accuracy():
    runs = {"good": [history(0.5, 0.25), history(0.5, 0.125)], "bad": [history(0.75, 0.75)]}
    left, right = plot_runs(runs, ("counting words", 0.9)).axes
    assert [list(line.get_ydata()) for line in left.lines[:3]] == [[0.5, 0.25], [0.5, 0.125], [0.75, 0.75]]
    assert left.lines[0].get_color() == left.lines[1].get_color() != left.lines[2].get_color()
    assert [list(line.get_xdata()) for line in right.lines[:2]] == [[0.75, 0.875], [0.25]]
    assert [text.get_text() for text in right.texts] == ["0.75 0.88", "0.25"]
    assert [list(line.get_xdata()) for line in right.lines if line.get_label() == "counting words"] == [[0.9, 0.9]]


def test_runs_of_different_lengths_have_all_their_epochs():
    left, _ = plot_runs({"long": [history(0.5, 0.5, 0.5)], "short": [history(0.5)]}, ("counting words", 0.9)).axes
    assert list(left.get_xticks()) == [1, 2, 3]


def test_speeds_are_bars_with_their_names():
    axes = plot_speeds({"one": 100.0, "two": 180.0}, "word pieces a second").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [100, 180]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]


def test_chart_shows_loss_and_accuracies_beside_guessing_and_counting():
    history = [
        {"epoch": 1, "train_loss": 2.5, "train_accuracy": 0.2, "test_accuracy": 0.3},
        {"epoch": 2, "train_loss": 1.5, "train_accuracy": 0.6, "test_accuracy": 0.5},
    ]
    left, right = plot_chart(history, guessing=2.1, counting=0.4).axes
    lines = {line.get_label(): list(line.get_ydata()) for axes in (left, right) for line in axes.lines[-3:]}
    assert lines["guessing"] == [2.1, 2.1]
    assert lines["training"] == [0.2, 0.6]
    assert lines["test"] == [0.3, 0.5]
    assert lines["test, counting words"] == [0.4, 0.4]
    assert list(left.lines[0].get_ydata()) == [2.5, 1.5]
    assert left.get_ylim()[0] == 0
    assert left.get_ylim()[1] > 2.6  # the highest point is not cut
