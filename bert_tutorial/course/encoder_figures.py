"""Figures of attention, of positions, and of vectors and how alike they are."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from .drawing import shows_text_as_it_is, with_looks


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
    for name, values, (colour, line, _) in with_looks(functions):
        axes.plot(x, values, color=colour, linestyle=line, linewidth=2, label=name)
    axes.axhline(0, color="gray", linewidth=0.8, zorder=0)
    axes.set_xlabel("input")
    axes.set_ylabel("output")
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
    for name, values, (colour, line, marker) in with_looks(curves):
        layers = range(values.shape[1])
        axes.plot(layers, values.mean(axis=0), color=colour, marker=marker, linestyle=line, label=name)
        axes.fill_between(layers, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(layers, ["embed-\ndings", *layers[1:]])
    axes.set_xlabel("layer")
    axes.set_ylabel("cosine")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
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
