"""Figures of answers: marked in their text, and where they might begin and end."""

from .drawing import NEGATIVE, POSITIVE, YELLOW, open_axes, shows_text_as_it_is

LINE, LINE_HEIGHT, LETTER_WIDTH = 92, 0.2, 0.088  # letters; inches
UNLIKELY = 0.05  # probabilities below are drawn, but not named


@shows_text_as_it_is
def plot_answer(words, start, end, answer=None):
    """Draw a text with the answer marked in it, and for each word how likely the answer begins and ends there.

    Parameters
    ----------
    words : sequence of str
        Of the text, n.
    start, end : sequence of float
        Probabilities that the answer begins, and that it ends, in each word, (n,).
    answer : (int, int), optional
        Its first and last word. None if there is none.

    Returns
    -------
    matplotlib.figure.Figure
    """
    inside = range(answer[0], answer[1] + 1) if answer else ()
    lines = _lines(words)
    width = LINE * LETTER_WIDTH
    figure, (text, bars) = open_axes(
        width, LINE_HEIGHT * len(lines) + 2.4, rows=2, height_ratios=(LINE_HEIGHT * len(lines) + 0.1, 2.2)
    )
    text.set(xlim=(0, LINE), ylim=(len(lines), 0))
    text.axis("off")
    for row, line in enumerate(lines):
        for number, column in line:
            box = {"facecolor": YELLOW, "edgecolor": "none", "pad": 1.5} if number in inside else None
            text.text(column, row + 0.7, words[number], family="monospace", fontsize=9, va="baseline", bbox=box)
    places = range(len(words))
    bars.bar(places, start, width=0.8, color=POSITIVE, label="begins here")
    bars.bar(places, [-p for p in end], width=0.8, color=NEGATIVE, label="ends here")
    bars.axhline(0, color="gray", linewidth=1)
    for place, (first, last) in enumerate(zip(start, end, strict=True)):
        if max(first, last) >= UNLIKELY:
            above = first >= last
            bars.annotate(
                words[place],
                (place, first if above else -last),
                xytext=(0, 3 if above else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=9,
            )
    bars.set(xlim=(-1, len(words)), ylim=(-1.25, 1.25), xlabel="words of the text", ylabel="probability")
    bars.set_yticks([-1, -0.5, 0, 0.5, 1], ["1", "0.5", "0", "0.5", "1"])
    bars.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return figure


def _lines(words):
    """Lines of (word's number, column where it begins), as many letters wide as fit."""
    lines, column = [[]], 0
    for number, word in enumerate(words):
        if column and column + len(word) > LINE:
            lines.append([])
            column = 0
        lines[-1].append((number, column))
        column += len(word) + 1
    return lines
