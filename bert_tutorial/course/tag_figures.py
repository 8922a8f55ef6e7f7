"""Tags of words, marked in their sentences: what was found, what was missed, and what is wrong."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..text.bio import entities
from .drawing import NEGATIVE, shows_text_as_it_is

# light enough to write on, apart for the colour-blind as far as eight can be; the name stands below as well
MARKERS = ("#A9D3EE", "#F5EBA0", "#F3B98B", "#B7E3D0", "#E5C6DA", "#D9D9D9", "#D8E8B0", "#C9C3E6")
CHARACTER = 0.075  # inches that a character of the text is wide
LINE = 0.6  # inches from a sentence to the next


@shows_text_as_it_is
def plot_tags(sentences, expected, answered):
    """Draw sentences with their entities: those answered as coloured boxes, their type below them.

    An answer that is no entity of the expected tags, in type and every word, has a thick edge and a cross. An expected
    one that was not answered has a dashed box, and its type above.

    Parameters
    ----------
    sentences : list of (list of str)
        The words of each.
    expected, answered : list of (list of str)
        Tags in BIO, one for each word. The first may be given as the second, too: then nothing is wrong.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        More types of entities than can be told apart.
    """
    kinds = sorted({kind for column in (expected, answered) for tags in column for kind, _, _ in entities(tags)})
    if len(kinds) > len(MARKERS):
        raise ValueError(f"{len(kinds)} types of entities cannot be told apart: draw at most {len(MARKERS)}")
    colours = dict(zip(kinds, MARKERS, strict=False))
    longest = max(len(" ".join(words)) for words in sentences)
    figure = Figure(figsize=(CHARACTER * (longest + 2), LINE * len(sentences) + 0.1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, longest + 1), ylim=(len(sentences) - 0.4, -0.6))
    axes.axis("off")
    for row, (words, tags, answers) in enumerate(zip(sentences, expected, answered, strict=True)):
        for word, x in zip(words, _starts(words), strict=True):
            axes.text(x, row, word, family="monospace", size=8.9, va="center")
        true, found = set(entities(tags)), set(entities(answers))
        for entity in sorted(true | found):
            _mark(axes, row, words, entity, colours, is_true=entity in true, is_found=entity in found)
    return figure


def _starts(words):
    """How many characters stand before each word, and before the end, if one space stands between them."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    return starts[:-1]


def _mark(axes, row, words, entity, colours, is_true, is_found):
    kind, first, after = entity
    starts = _starts(words)
    begin, end = starts[first] - 0.3, starts[after - 1] + len(words[after - 1]) + 0.3
    if not is_found:  # another answer may stand in its place: drawn around that
        look = {"facecolor": "none", "edgecolor": "black", "linewidth": 1, "linestyle": "--", "zorder": 1}
        axes.add_patch(Rectangle((begin, row - 0.29), end - begin, 0.58, **look))
        axes.text(begin, row - 0.42, kind, size=6.5, va="center", style="italic")
        return
    look = {"edgecolor": "none"} if is_true else {"edgecolor": NEGATIVE, "linewidth": 2}
    axes.add_patch(Rectangle((begin, row - 0.22), end - begin, 0.44, facecolor=colours[kind], zorder=0, **look))
    axes.text(begin, row + 0.42, kind if is_true else f"✗ {kind}", size=6.5, va="center")
