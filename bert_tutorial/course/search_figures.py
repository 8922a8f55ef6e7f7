"""Figures of search: passages on a map, which text finds which, and how far down the right ones stand."""

import numpy as np

from .drawing import NEGATIVE, open_axes, shows_text_as_it_is, with_looks

REST = "lightgray"  # the colour of what has no group of its own
AWAY = 16  # points of print from a passage to its number


@shows_text_as_it_is
def plot_search_map(points, groups, question, nearest):
    """Draw passages as points, in the colours of their groups, and where a question lies among them.

    Parameters
    ----------
    points : np.ndarray
        (n, 2), where each passage lies on the map.
    groups : sequence of str or None
        What each passage is about, (n,): at most seven different ones; None are the others.
    question : np.ndarray
        (2,), where the question lies.
    nearest : sequence of int
        The numbers of the passages that were found, the best first; they are joined to the question.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axes,) = open_axes(8, 5.2)
    places = {name: [i for i, own in enumerate(groups) if own == name] for name in sorted({*groups} - {None})}
    others = [i for i, own in enumerate(groups) if own is None]
    axes.scatter(*points[others].T, color=REST, s=14, linewidth=0, label="others")
    for name, own, (colour, _, marker) in with_looks(places):
        axes.scatter(*points[own].T, color=colour, marker=marker, s=18, alpha=0.8, linewidth=0, label=name)
    axes.scatter(*question, marker="*", s=140, color=NEGATIVE, edgecolor="black", zorder=3, label="the question")
    for place, i in enumerate(nearest, start=1):
        away = points[i] - question
        away = AWAY * away / (np.linalg.norm(away) or 1)
        axes.plot(*np.stack([question, points[i]]).T, color="black", linewidth=0.8)
        axes.annotate(
            f"{place}",
            points[i],
            away,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8},
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


@shows_text_as_it_is
def plot_scores(panels, names):
    """Draw how alike each first text of some pairs and each second one are: the partners are on the diagonal.

    Parameters
    ----------
    panels : dict
        From title to cosines (n, n): a row for each first text, a column for each second one.
    names : sequence of str
        Of the n first texts.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, grid = open_axes(3.2 * len(panels) + 3, 3.6, len(panels), sharey=True)
    for axes, (title, scores) in zip(grid, panels.items(), strict=True):
        image = axes.imshow(scores, cmap="viridis", vmin=0, vmax=1)
        axes.set(title=title, xticks=range(len(names)), xlabel="number of the second text")
        axes.set_xticklabels(range(1, len(names) + 1), fontsize=8)
    grid[0].set_yticks(range(len(names)), [f"{name}  {i}" for i, name in enumerate(names, start=1)], fontsize=8)
    figure.colorbar(image, ax=grid, label="cosine", shrink=0.8)
    return figure


@shows_text_as_it_is
def plot_recall(curves):
    """Draw which share of questions has a right passage among the first k.

    Parameters
    ----------
    curves : dict
        From the name of a search to its recall (K,): at 1, at 2, and so on.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axes,) = open_axes(6.5, 3.4)
    for name, recall, (colour, line, _) in with_looks(curves):
        axes.step(range(1, len(recall) + 1), recall, where="post", color=colour, linestyle=line, label=name)
    axes.set(xscale="log", xlabel="k: so many passages are read", ylabel="recall@k", ylim=(0, 1.02))
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= max(map(len, curves.values()))]
    axes.set_xticks(ticks, ticks)
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, loc="lower right")
    return figure
