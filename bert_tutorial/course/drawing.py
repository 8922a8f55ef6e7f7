"""What the figures share, and how they and source are shown.

Colours stay apart for the colour-blind; every figure has alt text.
"""

import inspect
import io

import numpy as np
from IPython.display import Image, display
from matplotlib import rc_context
from matplotlib.figure import Figure
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

POSITIVE, NEGATIVE = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
BLUE, ORANGE, YELLOW = "#A9D3EE", "#F3B98B", "#F5EBA0"  # theirs too, made lighter, to write on
RIGHT, MISTAKE = "#009E73", "#E69F00"  # and these: bluish green and orange
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
    display(image_of(figure, alt))


def image_of(figure, alt):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    return Image(buffer.getvalue(), format="png", alt=alt)


def open_axes(width, height, columns=1, rows=1, **shared):
    """A figure of so many inches, and its axes as one reads, each open at the top and the right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def write_values(axes, values, dark, form, **style):
    """Write each value into its square of a heat map, in white where the square is dark."""
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if dark[row, column] else "black"
        axes.text(column, row, format(value, form), ha="center", va="center", color=colour, **style)


def with_looks(curves):
    """Yield (name, curve, (colour, line, marker)) of a dict of curves."""
    if len(curves) > len(LOOKS):
        raise ValueError(f"{len(curves)} curves cannot be told apart: draw at most {len(LOOKS)} in one figure")
    return zip(curves, curves.values(), LOOKS[: len(curves)], strict=True)
