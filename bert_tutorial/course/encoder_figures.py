"""Figures of the encoder: its activation, its positions, and how alike its vectors are."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from .drawing import open_axes, shows_text_as_it_is, with_looks, write_values


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
    figure, (axes,) = open_axes(5, 3)
    for name, values, (colour, line, _) in with_looks(functions):
        axes.plot(x, values, color=colour, linestyle=line, linewidth=2, label=name)
    axes.axhline(0, color="gray", linewidth=0.8, zorder=0)
    axes.set(xlabel="input", ylabel="output")
    axes.legend(frameon=False)
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
        axes.set(xlabel="position", ylabel="position")
        return figure
    axes.set_yticks(range(size), [f"{label}  {i + 1}" for i, label in enumerate(labels)])
    axes.set_xticks(range(size), range(1, size + 1))
    write_values(axes, cosines, abs(cosines) > 0.7, ".2f")
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
    figure, (axes,) = open_axes(7, 3.4)
    for name, values, (colour, line, marker) in with_looks(curves):
        layers = range(values.shape[1])
        axes.plot(layers, values.mean(axis=0), color=colour, marker=marker, linestyle=line, label=name)
        axes.fill_between(layers, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(layers, ["embed-\ndings", *layers[1:]])
    axes.set(xlabel="layer", ylabel="cosine")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
