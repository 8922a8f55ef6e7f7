"""Figures of trainings: losses, rates, learning curves, and what came of them."""

from unittest.mock import patch

import numpy as np
from IPython.display import DisplayHandle
from IPython.utils.capture import capture_output
from matplotlib import cycler, rc_context

from .drawing import NEGATIVE, POSITIVE, image_of, open_axes, shows_text_as_it_is, with_looks


def plot_pretraining(history):
    """Draw the losses of pre-training, and below them what is predicted right in held-out text.

    Each task has axes of its own. Those of the next sentences always show the coin and what is well above it, so that
    chance looks small.

    Parameters
    ----------
    history : list of dict
        From `pretrain_loop`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, panels = open_axes(8, 4.6, columns=2, rows=2, sharex=True)
    mlm_loss, ns_loss, mlm_right, ns_right = panels
    steps = [row["step"] for row in history]
    for axes, name in zip(panels, ("mlm_loss", "ns_loss", "valid_mlm_accuracy", "valid_ns_accuracy"), strict=True):
        colour, marker = (NEGATIVE, "s") if "ns" in name else (POSITIVE, "o")
        axes.plot(steps, [row[name] for row in history], color=colour, marker=marker)
    mlm_loss.set(title="masked word pieces", ylabel="training loss")
    mlm_right.set(xlabel="step", ylabel="right in held-out text")
    ns_loss.set(title="next sentences")
    ns_right.set(xlabel="step")
    for axes, coin, other in ((ns_loss, np.log(2), 0.45), (ns_right, 0.5, 0.75)):
        axes.axhline(coin, color="gray", linewidth=1, linestyle="--", label="a coin", zorder=0)
        axes.update_datalim([(steps[0] if steps else 0, other)], updatex=False)
        axes.autoscale_view()
    ns_loss.legend(frameon=False)
    return figure


class PretrainingCurve:
    """`plot_pretraining`, drawn anew in the same place after each round: `pretrain_loop(..., on_round=curve)`.

    d2l's Animator does the same, but its picture has no alt text and takes the lines printed beside it away.
    """

    def __init__(self):
        self.history = []
        self.handle = DisplayHandle()
        self.handle.display(self._draw())

    def __call__(self, row):
        """Add a round.

        Parameters
        ----------
        row : dict
            As in the history of `pretrain_loop`.
        """
        self.history.append(row)
        self.handle.update(self._draw())

    def _draw(self):
        alt = "Curves of pre-training, after each round: training loss, and what is right in held-out text."
        if self.history:
            first, last = self.history[0], self.history[-1]
            alt += (
                f" From step {first['step']} to {last['step']}, masked word pieces: loss {first['mlm_loss']:.2f} to "
                f"{last['mlm_loss']:.2f}, right {first['valid_mlm_accuracy']:.2f} to {last['valid_mlm_accuracy']:.2f}; "
                f"next sentences: loss {first['ns_loss']:.2f} to {last['ns_loss']:.2f}, right "
                f"{first['valid_ns_accuracy']:.2f} to {last['valid_ns_accuracy']:.2f}."
            )
        return image_of(plot_pretraining(self.history), alt)


@shows_text_as_it_is
def plot_losses(losses, guessing=None):
    """Draw losses, step by step.

    Parameters
    ----------
    losses : dict of str to sequence of float
        At most seven curves.
    guessing : float, optional
        The loss of guessing, as a dashed line.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More than can be told apart.
    """
    figure, (axes,) = open_axes(6, 3)
    for name, values, (colour, line, _) in with_looks(losses):
        axes.plot(range(1, len(values) + 1), values, color=colour, linestyle=line, label=name, linewidth=2)
    if guessing is not None:
        axes.axhline(guessing, color="gray", linewidth=1, linestyle="--", label="guessing", zorder=0)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


@shows_text_as_it_is
def plot_learning_rate(rates):
    """Draw the learning rate of each step.

    Parameters
    ----------
    rates : dict of str to sequence of float
        A name for each line, and its learning rates from step 1 on; at most seven.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More than can be told apart.
    """
    figure, (axes,) = open_axes(6, 2.8)
    for name, values, (colour, line, _) in with_looks(rates):
        axes.plot(range(1, len(values) + 1), values, color=colour, linestyle=line, label=name)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    axes.ticklabel_format(axis="y", scilimits=(0, 0))
    axes.legend(frameon=False)
    return figure


class LearningCurve:
    """d2l's Animator, drawn anew in the same place after each epoch: `train_loop(..., on_epoch=curve)`.

    The Animator draws; the picture is shown from here, because it has no alt text there and takes the lines printed
    beside it away.

    Parameters
    ----------
    num_epoch : int
    """

    NAMES = ("training loss", "training accuracy", "test accuracy")

    def __init__(self, num_epoch):
        from d2l import mxnet as d2l  # brings pandas and pyplot with it

        style = {"xlim": [0.8, num_epoch + 0.2], "ylim": [0, 1], "fmts": ("C0o-", "C1s--", "C2^-."), "figsize": (6, 3)}
        # d2l would ask for SVG by a function that IPython has no more; no picture of its own is shown here
        with patch.object(d2l, "use_svg_display"):
            self.animator = d2l.Animator("epoch", legend=self.NAMES, **style)
        d2l.plt.close(self.animator.fig)  # or pyplot shows it a second time at the end of the cell
        self.handle = DisplayHandle()
        self.handle.display(image_of(self.animator.fig, "Learning curve, before the first epoch."))

    def __call__(self, row):
        """Add an epoch.

        Parameters
        ----------
        row : dict
            As in the history of `train_loop`, with a test.
        """
        with capture_output(), rc_context({"axes.prop_cycle": cycler(color=(POSITIVE, NEGATIVE, "black"))}):
            self.animator.add(row["epoch"], (row["train_loss"], row["train_accuracy"], row["test_accuracy"]))
            self.animator.axes[0].locator_params(axis="x", integer=True)
            lines = zip(self.NAMES, self.animator.Y, strict=True)
            alt = "; ".join(f"{name} {', '.join(f'{y:.2f}' for y in line)}" for name, line in lines)
            image = image_of(self.animator.fig, f"Learning curve, one number for each epoch: {alt}.")
        self.handle.update(image)


@shows_text_as_it_is
def plot_runs(histories, baseline):
    """Draw several trainings for two classes, each with one or more seeds: losses, and the test accuracies in the end.

    Parameters
    ----------
    histories : dict of str to list of list of dict
        A name for each training, and what `train_loop` returned for each seed; at most seven names.
    baseline : tuple of str and float
        What to compare with, and its test accuracy.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More than can be told apart.
    """
    figure, (left, right) = open_axes(9, 0.35 * len(histories) + 1.6, 2)
    for row, (_, seeds, (colour, line, marker)) in enumerate(with_looks(histories)):
        for history in seeds:
            epochs, losses = ([epoch[name] for epoch in history] for name in ("epoch", "train_loss"))
            left.plot(epochs, losses, color=colour, linestyle=line, marker=marker, linewidth=1)
        accuracies = [history[-1]["test_accuracy"] for history in seeds]
        right.plot(accuracies, [row] * len(seeds), color=colour, linestyle="", marker=marker, alpha=0.8)
        right.text(1.04, row, " ".join(f"{accuracy:.2f}" for accuracy in accuracies), va="center")
    guessing = {"color": "gray", "linewidth": 1, "linestyle": "--", "zorder": 0}
    left.axhline(np.log(2), **guessing)
    left.set_xticks([epoch["epoch"] for epoch in max((seed for runs in histories.values() for seed in runs), key=len)])
    left.set(xlabel="epoch", ylabel=f"training loss; guessing: {np.log(2):.2f}", ylim=(0, None))
    right.axvline(0.5, label="guessing", **guessing)
    right.axvline(baseline[1], color="black", linewidth=1, linestyle=":", zorder=0, label=baseline[0])
    right.set_yticks(range(len(histories)), histories)
    right.set(xlim=(0.4, 1.02), ylim=(len(histories) - 0.5, -0.5), xlabel="test accuracy, a point for each seed")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return figure


@shows_text_as_it_is
def plot_chart(history, guessing, counting):
    """Draw one training of a classifier: its loss, and its accuracy in training and test.

    Parameters
    ----------
    history : list of dict
        From `train_loop`, with a test.
    guessing : float
        The loss of saying how frequent each class is.
    counting : float
        The test accuracy of counting words.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (left, right) = open_axes(8, 2.6, 2)
    epochs = [row["epoch"] for row in history]
    names = {"train_accuracy": "training", "test_accuracy": "test"}
    losses = [row["train_loss"] for row in history]
    left.plot(epochs, losses, color=POSITIVE, marker="o")
    left.axhline(guessing, color="gray", linewidth=1, linestyle="--", label="guessing", zorder=0)
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, 1.1 * max(*losses, guessing)))
    curves = {label: [row[name] for row in history] for name, label in names.items()}
    for name, values, (colour, line, marker) in with_looks(curves):
        right.plot(epochs, values, color=colour, linestyle=line, marker=marker, label=name)
    right.axhline(counting, color="black", linewidth=1, linestyle=":", label="test, counting words", zorder=0)
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.05))
    for axes in (left, right):
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
    return figure


def plot_transfer(summary, num_classes):
    """Draw each learner's accuracy against the number of labels, with the lowest and highest over the seeds.

    Parameters
    ----------
    summary : dict
        From `transfer.summarize`.
    num_classes : int
        Of the task; guessing is right once in so many times.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axes,) = open_axes(6, 3.5)
    counts = sorted({number for _, number in summary})
    curves = {learner: [summary[learner, number] for number in counts] for learner, _ in summary}
    for place, (learner, cells, (colour, line, marker)) in enumerate(with_looks(curves)):
        spread = [cell.mean - cell.low for cell in cells], [cell.high - cell.mean for cell in cells]
        beside = [number * 1.03**place for number in counts]  # or the bars hide each other
        look = {"color": colour, "linestyle": line, "marker": marker, "capsize": 3, "label": learner}
        axes.errorbar(beside, [cell.mean for cell in cells], yerr=spread, **look)
    axes.axhline(1 / num_classes, color="gray", linewidth=1, linestyle="--", label="guessing")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, counts)
    axes.set(xlabel="labelled docstrings", ylabel="test accuracy", ylim=(0, None))
    axes.minorticks_off()
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@shows_text_as_it_is
def plot_speeds(speeds, label):
    """Draw speeds, or other numbers, as bars beside their names.

    Parameters
    ----------
    speeds : dict of str to float
    label : str
        What the numbers are.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axes,) = open_axes(7, 0.45 * len(speeds) + 0.8)
    bars = axes.barh(range(len(speeds)), list(speeds.values()), color=POSITIVE, height=0.6)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_yticks(range(len(speeds)), list(speeds))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    return figure
