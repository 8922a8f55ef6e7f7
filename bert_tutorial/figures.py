"""The figures that the notebooks show. Colours stay apart for the colour-blind; every figure has alt text."""

import io

from IPython.display import Image, display
from matplotlib.figure import Figure

POSITIVE, NEGATIVE = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion


def show(figure, alt):
    """Display a figure with alt text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What the figure says, for readers who cannot see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    display(Image(buffer.getvalue(), format="png", alt=alt))


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
