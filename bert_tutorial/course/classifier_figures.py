"""Figures of what a classifier makes of texts: its answers, how far to believe them, and where they come from."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .drawing import MISTAKE, NEGATIVE, POSITIVE, RIGHT, open_axes, shows_text_as_it_is, write_values


@shows_text_as_it_is
def plot_sentiment(sentences, positive, labels=None):
    """Draw the probability of being positive of each sentence, and which answers are mistakes.

    Parameters
    ----------
    sentences : list of str
    positive : sequence of float
        Probabilities, (len(sentences),).
    labels : sequence of int, optional
        What is true, 1 for positive, 0 for negative, (len(sentences),): bars then show which answers are right. If not
        given, they show which answers are positive.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axes,) = open_axes(7, 0.5 * len(sentences) + 1)
    rows = range(len(sentences))
    answers = [p > 0.5 for p in positive]
    values = [f"{p:.2f}" for p in positive]
    if labels is None:
        colours = [POSITIVE if answer else NEGATIVE for answer in answers]
    else:
        right = [answer == label for answer, label in zip(answers, labels, strict=True)]
        colours = [RIGHT if is_right else MISTAKE for is_right in right]
        values = [value if is_right else f"{value} ✗" for value, is_right in zip(values, right, strict=True)]
        key = [Patch(color=RIGHT, label="right"), Patch(color=MISTAKE, label="mistake ✗")]
        figure.legend(handles=key, loc="outside upper right", ncols=2, frameon=False)
    bars = axes.barh(rows, positive, color=colours, height=0.6)
    axes.axvline(0.5, color="gray", linewidth=1, linestyle="--", zorder=0)
    over_line = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(bars, labels=values, padding=3, bbox=over_line)
    axes.set_yticks(rows, sentences)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.1), xlabel="probability of being positive")
    return figure


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
    side = 2.4 + 0.4 * len(names)
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=matrix.sum(axis=1).max())
    few = len(names) == 2  # else their names would run into each other
    write_values(axes, matrix, matrix > matrix.sum(axis=1).max() / 2, "", fontsize=14 if few else 11)
    axes.set_xticks(range(len(names)), names, rotation=0 if few else 90)
    axes.set_yticks(range(len(names)), names, rotation=90 if few else 0, va="center")
    axes.set(xlabel="predicted", ylabel="true")
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
    figure, grid = open_axes(3.6 * len(panels) + 0.4, 3.6, len(panels), sharey=True)
    for axes, (title, bins) in zip(grid, panels.items(), strict=True):
        axes.plot([0.5, 1], [0.5, 1], color="gray", linestyle="--", linewidth=1, label="as often as sure", zorder=1)
        axes.plot(bins.confidence, bins.accuracy, color=POSITIVE, linewidth=1, zorder=2)
        axes.scatter(bins.confidence, bins.accuracy, s=15 + 4 * bins.count, color=POSITIVE, zorder=3)
        for x, y, count in zip(*bins, strict=True):
            axes.annotate(f"{count}", (x, y), xytext=(0, -12 - count**0.5), textcoords="offset points", ha="center")
        axes.set(title=title, xlabel="mean confidence", xlim=(0.48, 1.03), ylim=(-0.15, 1.1))
    grid[0].set_ylabel("share that is right")
    grid[0].legend(frameon=False, loc="lower right")
    return figure


@shows_text_as_it_is
def plot_text_pca(panels, labels):
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
    figure, grid = open_axes(4 * len(panels), 3.6, len(panels))
    for axes, (title, points) in zip(grid, panels.items(), strict=True):
        for label, name, colour, marker in ((0, "negative", NEGATIVE, "s"), (1, "positive", POSITIVE, "o")):
            x, y = zip(*(point for point, own in zip(points, labels, strict=True) if own == label), strict=True)
            axes.scatter(x, y, color=colour, marker=marker, s=18, alpha=0.7, linewidth=0, label=name)
        axes.set(title=title, xlabel="first component")
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
    figure, grid = open_axes(3 * len(attributions) + 1, 0.24 * len(tokens) + 1, len(attributions), sharey=True)
    rows = range(len(tokens))
    for axes, (name, values) in zip(grid, attributions.items(), strict=True):
        axes.barh(rows, values, color=[POSITIVE if value > 0 else NEGATIVE for value in values], height=0.7)
        axes.axvline(0, color="gray", linewidth=1)
        axes.set_title(name, fontsize=10)
        limit = 1.1 * max(map(abs, values)) or 1
        axes.set(xlabel="← negative    positive →", xlim=(-limit, limit))
        axes.locator_params(axis="x", nbins=5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(rows, tokens)
    grid[0].set_ylim(len(tokens) - 0.4, -0.6)
    return figure
