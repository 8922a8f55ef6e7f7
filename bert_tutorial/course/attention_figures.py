"""Figures of attention: who looks at whom."""

from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from .drawing import shows_text_as_it_is, write_values


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
        axes.set(xlabel="looks at", title=title)
        if small:
            write_values(axes, weights, weights > 0.3, ".2f")
    panels[0].set_ylabel("this word")
    figure.colorbar(image, ax=panels, label="weight", shrink=0.8)
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
