"""The figures that the notebooks show. Colours stay apart for the colour-blind; every figure has alt text."""

import inspect
import io
from unittest.mock import patch

import numpy as np
from IPython.display import DisplayHandle, Image, display
from IPython.utils.capture import capture_output
from matplotlib import colormaps, cycler, rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

POSITIVE, NEGATIVE = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
LOOKS = (  # of curves that must be told apart: colour, also Okabe and Ito's, line, marker
    (POSITIVE, "-", "o"),
    (NEGATIVE, "--", "s"),
    ("#009E73", ":", "^"),
    ("#CC79A7", "-.", "D"),
    ("#000000", (0, (1, 3)), "v"),
    ("#E69F00", (0, (6, 2)), "P"),
    ("#56B4E9", (0, (5, 1, 1, 1, 1, 1)), "X"),
)

shows_text_as_it_is = rc_context({"text.parse_math": False})  # a decorator: "$" in somebody's words is a dollar


def show_source(thing):
    """Display the source of a class or function, highlighted."""
    source = inspect.getsource(thing)
    # IPython's Code leaves font, ink and background to the page, and then is hard to read in some
    pre = "font-family: monospace; padding: 0.5em; margin: 0; overflow-x: auto"
    look = HtmlFormatter(noclasses=True, cssstyles="color: black", prestyles=pre)
    display({"text/html": highlight(source, PythonLexer(), look), "text/plain": source}, raw=True)


def show(figure, alt):
    """Display a figure with alt text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What the figure says, for readers who cannot see it.
    """
    display(_image(figure, alt))


def _image(figure, alt):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    return Image(buffer.getvalue(), format="png", alt=alt)


def _with_looks(curves):
    """Yield (name, curve, (colour, line, marker)) of a dict of curves."""
    if len(curves) > len(LOOKS):
        raise ValueError(f"{len(curves)} curves cannot be told apart: draw at most {len(LOOKS)} in one figure")
    return zip(curves, curves.values(), LOOKS[: len(curves)], strict=True)


@shows_text_as_it_is
def plot_sentiment(sentences, positive):
    """Draw the probability of being positive of each sentence.

    Parameters
    ----------
    sentences : list of str
    positive : sequence of float
        Probabilities, (len(sentences),).

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(7, 0.5 * len(sentences) + 1), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(sentences))
    bars = axes.barh(rows, positive, color=[POSITIVE if p > 0.5 else NEGATIVE for p in positive], height=0.6)
    axes.axvline(0.5, color="gray", linewidth=1, linestyle="--", zorder=0)
    over_line = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(bars, labels=[f"{p:.2f}" for p in positive], padding=3, bbox=over_line)
    axes.set_yticks(rows, sentences)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    axes.set_xlabel("probability of being positive")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_lengths(lengths, max_length):
    """Draw how many texts there are of each length, and where they are cut.

    Parameters
    ----------
    lengths : sequence of int
        Word pieces of each text.
    max_length : int
        Longest sequence the model is given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(7, 2.5), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(lengths, bins=30, color=POSITIVE)
    axes.axvline(max_length, color=NEGATIVE, linestyle="--", label=f"cut at {max_length}")
    axes.set_xlabel("word pieces, [CLS] and [SEP] included")
    axes.set_ylabel("reviews")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_transfer(summary, num_classes):
    """Draw accuracy against the number of labels, for a pre-trained and a random start.

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
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for start, colour, marker in (("pre-trained", POSITIVE, "o"), ("random", NEGATIVE, "s")):
        counts = sorted(number for own, number in summary if own == start)
        means, spreads = zip(*(summary[start, number][:2] for number in counts), strict=True)
        axes.errorbar(counts, means, yerr=spreads, color=colour, marker=marker, capsize=3, label=f"{start} BERT")
    axes.axhline(1 / num_classes, color="gray", linewidth=1, linestyle="--", label="guessing")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, counts)
    axes.set_ylim(0, 1)
    axes.set_xlabel("labelled docstrings")
    axes.set_ylabel("test accuracy")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_pretraining(history):
    """Draw the losses of pre-training, and what is predicted right in held-out text.

    Parameters
    ----------
    history : list of dict
        From `pretrain_loop`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in history]
    for axes, mlm, ns in ((left, "mlm_loss", "ns_loss"), (right, "valid_mlm_accuracy", "valid_ns_accuracy")):
        axes.plot(steps, [row[mlm] for row in history], color=POSITIVE, marker="o", label="masked word pieces")
        axes.plot(steps, [row[ns] for row in history], color=NEGATIVE, marker="s", label="next sentences")
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("training loss")
    right.set_ylabel("right in held-out text")
    right.set_ylim(0, 1)
    left.legend(frameon=False)
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
        return _image(plot_pretraining(self.history), alt)


@shows_text_as_it_is
def plot_attention(maps, queries, keys):
    """Draw attention weights as heat maps: a row for each query, a column for each key.

    Parameters
    ----------
    maps : dict of str to np.ndarray
        From title to weights (Lq, Lk), 0 to 1. Up to six keys, each number is written into its square.
    queries : list of str
        Names of the rows, (Lq,).
    keys : list of str
        Names of the columns, (Lk,).

    Returns
    -------
    matplotlib.figure.Figure
    """
    small = len(keys) <= 6
    size = (0.65 if small else 0.24) * len(keys)  # inches
    height = size * len(queries) / len(keys)
    figure = Figure(figsize=((size + 1.2) * len(maps) + 0.8, height + 1.5), layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (title, weights) in zip(panels, maps.items(), strict=True):
        image = axes.imshow(weights, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # shows small weights too
        axes.set_xticks(range(len(keys)), keys, rotation=30 if small else 90)
        axes.set_yticks(range(len(queries)), queries)
        axes.set_xlabel("looks at")
        axes.set_title(title)
        if small:
            for (row, column), weight in np.ndenumerate(weights):
                colour = "white" if weight > 0.3 else "black"
                axes.text(column, row, f"{weight:.2f}", ha="center", va="center", color=colour)
    panels[0].set_ylabel("this word")
    figure.colorbar(image, ax=panels, label="weight", shrink=0.8)
    return figure


@shows_text_as_it_is
def plot_positions(tables):
    """Draw position vectors, and how much each is like each other (the cosine of their angle).

    Parameters
    ----------
    tables : dict
        Title to numpy.ndarray (positions, units).

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(8.5, 3.4 * len(tables)), layout="constrained")
    rows = figure.subplots(len(tables), 2, squeeze=False)
    for (left, right), (title, table) in zip(rows, tables.items(), strict=True):
        limit = np.quantile(abs(table), 0.99)  # a few extreme units would leave everything else pale
        vectors = left.imshow(table, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        left.set(title=title, xlabel="unit", ylabel="position")
        figure.colorbar(vectors, ax=left)
        normed = table / ((table**2).sum(axis=1, keepdims=True) ** 0.5)
        cosines = right.imshow(normed @ normed.T, cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
        right.set(title="how alike two positions are", xlabel="position", ylabel="position")
        figure.colorbar(cosines, ax=right, label="cosine")
    return figure


@shows_text_as_it_is
def plot_functions(x, functions):
    """Draw functions of one number.

    Parameters
    ----------
    x : numpy.ndarray
    functions : dict
        Name to values, an array as long as x; at most seven.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More than can be told apart.
    """
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot()
    for name, values, (colour, line, _) in _with_looks(functions):
        axes.plot(x, values, color=colour, linestyle=line, linewidth=2, label=name)
    axes.axhline(0, color="gray", linewidth=0.8, zorder=0)
    axes.set_xlabel("input")
    axes.set_ylabel("output")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


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
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    for name, values, (colour, line, _) in _with_looks(losses):
        axes.plot(range(1, len(values) + 1), values, color=colour, linestyle=line, label=name, linewidth=2)
    if guessing is not None:
        axes.axhline(guessing, color="gray", linewidth=1, linestyle="--", label="guessing", zorder=0)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@shows_text_as_it_is
def plot_cosines(cosines, labels=None):
    """Draw a heat map of the cosines between vectors.

    Parameters
    ----------
    cosines : np.ndarray
        (N, N).
    labels : list of str, optional
        What the vectors stand for, written with the numbers; positions 0 to N - 1 if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    size = len(cosines)
    figure = Figure(
        figsize=(5.6, 4.6) if labels is None else (0.62 * size + 4.6, 0.5 * size + 0.9), layout="constrained"
    )
    axes = figure.add_subplot()
    colours = colormaps["RdBu"].resampled(20)  # few colours make a small file
    image = axes.imshow(cosines, cmap=colours, vmin=-1, vmax=1, aspect="equal" if labels is None else "auto")
    figure.colorbar(image, label="cosine")
    if labels is None:
        axes.set_xlabel("position")
        axes.set_ylabel("position")
        return figure
    axes.set_yticks(range(size), [f"{label}  {i + 1}" for i, label in enumerate(labels)])
    axes.set_xticks(range(size), range(1, size + 1))
    for i in range(size):
        for j in range(size):
            colour = "white" if abs(cosines[i, j]) > 0.7 else "black"
            axes.text(j, i, f"{cosines[i, j]:.2f}", ha="center", va="center", color=colour)
    return figure


@shows_text_as_it_is
def plot_cosines_by_layer(curves):
    """Draw how the cosine between two vectors changes from layer to layer, on average over pairs.

    Parameters
    ----------
    curves : dict of str to np.ndarray
        (pairs, layers + 1) each; the first column is the embeddings. At most seven.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More than can be told apart.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, values, (colour, line, marker) in _with_looks(curves):
        layers = range(values.shape[1])
        axes.plot(layers, values.mean(axis=0), color=colour, marker=marker, linestyle=line, label=name)
        axes.fill_between(layers, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(layers, ["embed-\ndings", *layers[1:]])
    axes.set_xlabel("layer")
    axes.set_ylabel("cosine")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@shows_text_as_it_is
def plot_padding(ways):
    """Draw reviews as lines, batch after batch: word pieces, and the padding behind them.

    Parameters
    ----------
    ways : dict of str to list of (sequence of int, int)
        For each way to make batches, by name: the lengths of a batch's reviews, and the length they are padded to.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, len(ways), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (name, batches) in zip(panels, ways.items(), strict=True):
        lengths = [length for batch, _ in batches for length in batch]
        padded = [longest for batch, longest in batches for _ in batch]
        axes.stairs(padded, fill=True, orientation="horizontal", color="#F3B98B")
        axes.stairs(lengths, fill=True, orientation="horizontal", color=POSITIVE)
        share = 1 - sum(lengths) / sum(padded)
        axes.set_title(f"{name}\n{share:.0%} padding", fontsize=10)
        axes.set_xlabel("positions")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("reviews, batch after batch")
    panels[0].invert_yaxis()
    handles = [Patch(facecolor=POSITIVE, label="word pieces"), Patch(facecolor="#F3B98B", label="padding")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
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
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for name, values, (colour, line, _) in _with_looks(rates):
        axes.plot(range(1, len(values) + 1), values, color=colour, linestyle=line, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", scilimits=(0, 0))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
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
        self.handle.display(_image(self.animator.fig, "Learning curve, before the first epoch."))

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
            image = _image(self.animator.fig, f"Learning curve, one number for each epoch: {alt}.")
        self.handle.update(image)


@shows_text_as_it_is
def plot_confusion(matrix, names):
    """Draw how often each class was taken for each.

    Parameters
    ----------
    matrix : np.ndarray
        (K, K) counts: row the true class, column the predicted one.
    names : sequence of str
        Of the K classes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=matrix.sum(axis=1).max())
    for i, j in np.ndindex(matrix.shape):
        dark = matrix[i, j] > matrix.sum(axis=1).max() / 2
        axes.text(j, i, matrix[i, j], ha="center", va="center", fontsize=14, color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names, rotation=90, va="center")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


@shows_text_as_it_is
def plot_runs(histories):
    """Draw several trainings for two classes: the loss of each epoch, and the test accuracy in the end.

    Parameters
    ----------
    histories : dict of str to list of dict
        A name for each run, and what `train_loop` returned; at most seven.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More than can be told apart.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = range(len(histories))
    for row, (_, history, (colour, _, marker)) in enumerate(_with_looks(histories)):
        left.plot(
            [epoch["epoch"] for epoch in history],
            [epoch["train_loss"] for epoch in history],
            color=colour,
            marker=marker,
        )
        accuracy = history[-1]["test_accuracy"]
        right.barh(row, accuracy, color=colour, height=0.6)
        right.plot(0.03, row, color="white", marker=marker)
        right.text(accuracy + 0.02, row, f"{accuracy:.2f}", va="center")
    guessing = {"color": "gray", "linewidth": 1, "linestyle": "--", "zorder": 0}
    left.axhline(np.log(2), **guessing)
    left.set_xticks([epoch["epoch"] for epoch in max(histories.values(), key=len)])
    left.set_xlabel("epoch")
    left.set_ylabel(f"training loss; guessing: {np.log(2):.2f}")
    left.set_ylim(bottom=0)
    right.axvline(0.5, **guessing)
    right.set_yticks(rows, histories)
    right.invert_yaxis()
    right.set_xlim(0, 1.1)
    right.set_xlabel("test accuracy; guessing: 0.5")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_attention_grid(weights):
    """Draw the attention maps of all layers and heads, small, to compare their shapes.

    Parameters
    ----------
    weights : np.ndarray
        (layers, heads, L, L) of one text, rows as queries.

    Returns
    -------
    matplotlib.figure.Figure
    """
    num_layers, num_heads = weights.shape[:2]
    figure = Figure(figsize=(0.75 * num_heads + 0.5, 0.8 * num_layers + 0.3), layout="constrained")
    grid = figure.subplots(num_layers, num_heads, squeeze=False)
    for layer, row in enumerate(grid):
        for head, axes in enumerate(row):
            axes.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            if layer == 0:
                axes.set_title(f"head {head + 1}", fontsize=9)
            if head == 0:
                axes.set_ylabel(f"layer {layer + 1}", fontsize=9)
    return figure


@shows_text_as_it_is
def plot_reliability(panels):
    """Draw how often answers are right against how sure they are: reliability diagrams.

    Parameters
    ----------
    panels : dict
        From title to `calibration.Bins`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(3.6 * len(panels) + 0.4, 3.6), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, bins) in zip(grid, panels.items(), strict=True):
        axes.plot([0.5, 1], [0.5, 1], color="gray", linestyle="--", linewidth=1, label="as often as sure", zorder=1)
        axes.plot(bins.confidence, bins.accuracy, color=POSITIVE, linewidth=1, zorder=2)
        axes.scatter(bins.confidence, bins.accuracy, s=15 + 4 * bins.count, color=POSITIVE, zorder=3)
        for x, y, count in zip(*bins, strict=True):
            axes.annotate(f"{count}", (x, y), xytext=(0, -12 - count**0.5), textcoords="offset points", ha="center")
        axes.set_title(title)
        axes.set_xlabel("mean confidence")
        axes.set_xlim(0.48, 1.03)
        axes.set_ylim(-0.08, 1.1)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylabel("share that is right")
    grid[0].legend(frameon=False, loc="lower right")
    return figure


@shows_text_as_it_is
def plot_cls_pca(panels, labels):
    """Draw texts as points, one panel for each set of vectors.

    Parameters
    ----------
    panels : dict
        From title to points (n, 2), the first two principal components.
    labels : sequence of int
        1 for positive, 0 for negative, (n,).

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(4 * len(panels), 3.6), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, points) in zip(grid, panels.items(), strict=True):
        for label, name, colour, marker in ((0, "negative", NEGATIVE, "s"), (1, "positive", POSITIVE, "o")):
            x, y = zip(*(point for point, own in zip(points, labels, strict=True) if own == label), strict=True)
            axes.scatter(x, y, color=colour, marker=marker, s=18, alpha=0.7, linewidth=0, label=name)
        axes.set_title(title)
        axes.set_xlabel("first component")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylabel("second component")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


@shows_text_as_it_is
def plot_attributions(tokens, attributions):
    """Draw how much each word piece speaks for a class, by several methods side by side.

    Parameters
    ----------
    tokens : list of str
    attributions : dict
        From the method's name to values (L,), positive for the second class. Each has a scale of its own.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(3 * len(attributions) + 1, 0.24 * len(tokens) + 1), layout="constrained")
    grid = figure.subplots(1, len(attributions), squeeze=False, sharey=True)[0]
    rows = range(len(tokens))
    for axes, (name, values) in zip(grid, attributions.items(), strict=True):
        axes.barh(rows, values, color=[POSITIVE if value > 0 else NEGATIVE for value in values], height=0.7)
        axes.axvline(0, color="gray", linewidth=1)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("← negative    positive →")
        limit = 1.1 * max(map(abs, values)) or 1
        axes.set_xlim(-limit, limit)
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(rows, tokens)
    grid[0].set_ylim(len(tokens) - 0.4, -0.6)
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
    figure = Figure(figsize=(7, 0.45 * len(speeds) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(range(len(speeds)), list(speeds.values()), color=POSITIVE, height=0.6)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_yticks(range(len(speeds)), list(speeds))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
