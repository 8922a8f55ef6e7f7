"""The figures that the notebooks show. Colours stay apart for the colour-blind; every figure has alt text."""

import inspect
import io

from IPython.display import Code, DisplayHandle, Image, display
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

POSITIVE, NEGATIVE = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
MASKING_COLOURS = {  # of the boxes; the last three, of those to predict, are Okabe and Ito's, made lighter
    "as it was": "#FFFFFF",
    "hidden by [MASK]": "#A9D3EE",
    "replaced by another": "#F3B98B",
    "left, but to be predicted": "#F5EBA0",
}


def show_source(thing):
    """Display the source of a class or function, highlighted."""
    display(Code(inspect.getsource(thing), language="python"))


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


def plot_masking(tokens, masked, positions, columns=60):
    """Draw the word pieces that the network reads, and under those that were chosen what it must predict.

    Parameters
    ----------
    tokens, masked : list of str
        The example before and after masking, of equal length.
    positions : collection of int
        What was chosen.
    columns : int, default 60
        Characters of a line.

    Returns
    -------
    matplotlib.figure.Figure
    """
    boxes, line, column = [], 0, 0  # (position, line, column, width)
    for position, (token, shown) in enumerate(zip(tokens, masked, strict=True)):
        width = max(len(shown), len(token) if position in positions else 0) + 2
        if column + width > columns:
            line, column = line + 1, 0
        boxes.append((position, line, column, width))
        column += width
    kept, hidden, replaced, left = MASKING_COLOURS
    figure = Figure(figsize=(9, 0.62 * (line + 1) + 0.4))
    axes = figure.add_axes((0, 0, 1, 1))
    style = {"ha": "center", "va": "center", "family": "monospace"}
    for position, line, column, width in boxes:
        token, shown = tokens[position], masked[position]
        kind = kept
        if position in positions:
            kind = hidden if shown == "[MASK]" else left if shown == token else replaced
            axes.text(column + width / 2, line + 0.76, token, weight="bold", **style)
        colour, edge = MASKING_COLOURS[kind], "silver" if kind == kept else "black"
        axes.add_patch(Rectangle((column + 0.2, line + 0.08), width - 0.4, 0.4, facecolor=colour, edgecolor=edge))
        axes.text(column + width / 2, line + 0.28, shown, **style)
    axes.set_xlim(-0.5, columns + 0.5)
    axes.set_ylim(line + 1, -0.7)
    axes.axis("off")
    handles = [Patch(facecolor=colour, edgecolor="gray", label=kind) for kind, colour in MASKING_COLOURS.items()]
    axes.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, borderaxespad=0)
    return figure
