"""Figures of texts on their way into batches: their lengths, and what is padded."""

from matplotlib.patches import Patch

from .drawing import NEGATIVE, ORANGE, POSITIVE, open_axes, shows_text_as_it_is


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
    figure, (axes,) = open_axes(7, 2.5)
    axes.hist(lengths, bins=30, color=POSITIVE)
    axes.axvline(max_length, color=NEGATIVE, linestyle="--", label=f"cut at {max_length}")
    axes.set(xlabel="word pieces, [CLS] and [SEP] included", ylabel="reviews")
    axes.legend(frameon=False)
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
    figure, panels = open_axes(8, 3.6, len(ways), sharey=True, sharex=True)
    for axes, (name, batches) in zip(panels, ways.items(), strict=True):
        lengths = [length for batch, _ in batches for length in batch]
        padded = [longest for batch, longest in batches for _ in batch]
        axes.stairs(padded, fill=True, orientation="horizontal", color=ORANGE)
        axes.stairs(lengths, fill=True, orientation="horizontal", color=POSITIVE)
        share = 1 - sum(lengths) / sum(padded)
        axes.set_title(f"{name}\n{share:.0%} padding", fontsize=10)
        axes.set_xlabel("positions")
    panels[0].set_ylabel("reviews, batch after batch")
    panels[0].invert_yaxis()
    handles = [Patch(facecolor=POSITIVE, label="word pieces"), Patch(facecolor=ORANGE, label="padding")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure
