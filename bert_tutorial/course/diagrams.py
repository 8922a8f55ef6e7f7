"""Diagrams of boxes and arrows that the notebooks show: BERT's parts and its input."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .drawing import BLUE, ORANGE, POSITIVE, YELLOW, shows_text_as_it_is

GRAY = "#EEEEEE"
SEGMENT_COLOURS = (BLUE, ORANGE)  # of sentence A, sentence B
PICKED_COLOUR = YELLOW  # of what is read or predicted
MASKING_COLOURS = {
    "as it was": "white",
    "hidden by [MASK]": BLUE,
    "replaced by another": ORANGE,
    "left, but to be predicted": YELLOW,
}
MONOSPACE = {"family": "monospace"}
SUM_STYLE = {"boxstyle": "circle,pad=0.05", "facecolor": "white", "edgecolor": "black"}


def _axes(width, height):
    """A figure of so many inches without margins or ticks, and its axes."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    return figure, axes


def _write(axes, x, y, text, **style):
    axes.text(x, y, text, **{"ha": "center", "va": "center"} | style)


def _box(axes, left, bottom, width, height, text="", colour="white", edge="black", **text_style):
    axes.add_patch(Rectangle((left, bottom), width, height, facecolor=colour, edgecolor=edge))
    _write(axes, left + width / 2, bottom + height / 2, text, **text_style)


def _arrow(axes, start, end, **style):
    style = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": "black"} | style
    axes.annotate("", end, start, arrowprops=style)


@shows_text_as_it_is
def draw_masking(tokens, masked, positions, columns=60):
    """Draw the word pieces that the network reads, and under those that were chosen what it must predict.

    Parameters
    ----------
    tokens, masked : list of str
        The example before and after masking, of equal length.
    positions : collection of int
        What was chosen.
    columns : int, default 60
        Characters of a line.

    Returns
    -------
    matplotlib.figure.Figure
    """
    boxes, line, column = [], 0, 0  # (position, line, column, width)
    for position, (token, shown) in enumerate(zip(tokens, masked, strict=True)):
        width = max(len(shown), len(token) if position in positions else 0) + 2
        if column + width > columns:
            line, column = line + 1, 0
        boxes.append((position, line, column, width))
        column += width
    kept, hidden, replaced, left = MASKING_COLOURS
    figure, axes = _axes(9, 0.62 * (line + 1) + 0.4)
    for position, line, column, width in boxes:
        token, shown = tokens[position], masked[position]
        kind = kept
        if position in positions:
            kind = hidden if shown == "[MASK]" else left if shown == token else replaced
            _write(axes, column + width / 2, line + 0.76, token, weight="bold", **MONOSPACE)
        colour, edge = MASKING_COLOURS[kind], "silver" if kind == kept else "black"
        _box(axes, column + 0.2, line + 0.08, width - 0.4, 0.4, shown, colour, edge, **MONOSPACE)
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(line + 1, -0.7))
    handles = [Patch(facecolor=colour, edgecolor="gray", label=kind) for kind, colour in MASKING_COLOURS.items()]
    axes.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, borderaxespad=0)
    return figure


@shows_text_as_it_is
def draw_lookups(word, tries):
    """Draw what WordPiece looks up to cut a word, one try in a line.

    Parameters
    ----------
    word : str
    tries : iterable of (int, int, bool)
        From `text.lookups`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    tries = list(tries)
    figure, axes = _axes(7, 0.28 * len(tries) + 0.6)
    for column, letter in enumerate(word):
        _write(axes, column + 0.5, -0.5, letter, weight="bold", **MONOSPACE)
    for row, (begin, end, found) in enumerate(tries):
        _box(axes, begin, row + 0.08, end - begin, 0.84, colour=POSITIVE if found else "#DDDDDD", edge="none")
        letters = {"color": "white", "weight": "bold"} if found else {"color": "#555555"}
        for column in range(begin, end):
            _write(axes, column + 0.5, row + 0.5, word[column], **MONOSPACE, **letters)
        if begin:
            _write(axes, begin - 0.1, row + 0.5, "##", color="#555555", ha="right", **MONOSPACE)
        verdict = "in the vocabulary" if found else "not there"
        axes.text(len(word) + 0.4, row + 0.5, verdict, va="center", weight="bold" if found else "normal")
    axes.set(xlim=(-1, len(word) + 5), ylim=(len(tries), -1))
    return figure


@shows_text_as_it_is
def draw_input(tokens, segments, valid_length):
    """Draw what BERT reads of one example: word pieces, segments, positions; padding is grey.

    Parameters
    ----------
    tokens : list of str
        Padding included.
    segments : sequence of int
        0 or 1 for each.
    valid_length : int

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes(9, 1.9)
    widths = [max(len(token), 2) + 1 for token in tokens]
    left = 0
    for position, (token, segment, width) in enumerate(zip(tokens, segments, widths, strict=True)):
        padding = position >= valid_length
        for row, text in enumerate((token, segment, position)):
            colour, ink = (GRAY, "#666666") if padding else (SEGMENT_COLOURS[segment], "black")
            style = {"color": ink, "fontsize": 9} | MONOSPACE
            _box(axes, left + 0.1, row + 0.1, width - 0.2, 0.8, text, colour, "none", **style)
        left += width
    for row, name in enumerate(("word pieces", "segments", "positions")):
        _write(axes, -0.5, row + 0.5, name, ha="right")
    kinds = zip((*SEGMENT_COLOURS, GRAY), ("segment 0", "segment 1", "padding"), strict=True)
    handles = [Patch(facecolor=colour, label=kind) for colour, kind in kinds]
    axes.legend(handles=handles, loc="upper center", ncols=3, frameon=False)
    axes.set(xlim=(-0.14 * left, left + 0.5), ylim=(3.1, -1))
    return figure


@shows_text_as_it_is
def draw_embeddings(tokens, segments):
    """Draw the three vectors that are summed at each position of BERT's input.

    Parameters
    ----------
    tokens : list of str
    segments : list of int, as long as tokens
        0 for sentence A, 1 for sentence B.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths = [max(len(token), 4) * 0.125 + 0.3 for token in tokens]  # inches
    starts = [1.35 + sum(widths[:place]) for place in range(len(tokens))]
    rows = [  # name, text and colour of each box
        ("word", tokens, ["white"] * len(tokens)),
        ("segment", ["AB"[segment] for segment in segments], [SEGMENT_COLOURS[segment] for segment in segments]),
        ("position", [str(place) for place in range(len(tokens))], [YELLOW] * len(tokens)),
        ("sum", [""] * len(tokens), [GRAY] * len(tokens)),
    ]
    figure, axes = _axes(starts[-1] + widths[-1] + 0.1, 2.9)
    for line, (name, texts, colours) in enumerate(rows):
        axes.text(0.1, line * 0.7 + 0.35, name, va="center", weight="bold")
        for text, colour, start, width in zip(texts, colours, starts, widths, strict=True):
            _box(axes, start, line * 0.7 + 0.15, width - 0.12, 0.4, text, colour, "gray", **MONOSPACE)
            if line < len(rows) - 1:
                middle = start + (width - 0.12) / 2
                _write(axes, middle, line * 0.7 + 0.7, "+" if line < 2 else "=")
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(2.85, -0.05))
    return figure


def draw_architecture():
    """Draw the encoder of the Transformer and BERT's side by side, and mark where they differ.

    Returns
    -------
    matplotlib.figure.Figure
    """
    same, changed = BLUE, ORANGE
    figure, axes = _axes(9.6, 7.6)
    axes.set(xlim=(0, 9.6), ylim=(0, 7.6))
    transformer = (("word\nvector", same), ("sines of the\nposition", same))
    bert = (("word\nvector", same), ("segment\nvector", changed), ("position\nvector", changed))
    for middle, title, inputs, terms, after_sum, activation, colour in (
        (2.6, "Transformer encoder", "words (B, L)", transformer, "dropout", "ReLU", same),
        (7.4, "BERT encoder", "words, segments (B, L)", bert, "LayerNorm, dropout", "GELU", changed),
    ):
        left = middle - 1.45
        _write(axes, middle, 7.35, title, weight="bold", size=12)
        _write(axes, middle, 6.95, "encodings (B, L, units)")
        _box(axes, left - 0.3, 2.65, 3.75, 3.7, colour=GRAY, edge="gray")
        _write(axes, left - 0.45, 4.9, "× num_layers", rotation=90)
        _write(axes, left - 0.4, 3.31, "mask", ha="right")
        _arrow(axes, (left - 0.38, 3.31), (left, 3.31))
        _box(axes, left, 3.1, 2.9, 0.42, "MultiHeadAttention", same)
        _box(axes, left, 3.85, 2.9, 0.42, "AddNorm", same)
        _box(axes, left, 4.9, 2.9, 0.42, f"PositionWiseFFN ({activation})", colour)
        _box(axes, left, 5.65, 2.9, 0.42, "AddNorm", same)
        _box(axes, left, 1.88, 2.9, 0.42, after_sum, colour)
        for start, end in ((1.6, 1.88), (2.3, 3.1), (3.52, 3.85), (4.27, 4.9), (5.32, 5.65), (6.07, 6.8)):
            _arrow(axes, (middle, start), (middle, end))
        for start, end in ((2.85, 4.06), (4.5, 5.86)):  # around a sublayer: the residual connections
            axes.plot([middle, left + 3.2, left + 3.2], [start, start, end], color="black", linewidth=1)
            _arrow(axes, (left + 3.2, end), (left + 2.9, end))
        _write(axes, middle, 1.47, "+", size=14, bbox=SUM_STYLE)
        width = (2.9 + 0.1) / len(terms)
        for number, (text, term_colour) in enumerate(terms):
            _box(axes, left + number * width, 0.75, width - 0.1, 0.52, text, term_colour)
            centre = left + number * width + (width - 0.1) / 2
            axes.plot([centre, centre, middle], [1.27, 1.47, 1.47], color="black", linewidth=1, zorder=0)
        _write(axes, middle, 0.5, inputs)
    handles = [
        Patch(facecolor=same, edgecolor="black", label="as in the Transformer"),
        Patch(facecolor=changed, edgecolor="black", label="new or different in BERT"),
    ]
    axes.legend(handles=handles, loc="lower center", ncols=2, frameon=False, borderaxespad=0)
    return figure


@shows_text_as_it_is
def draw_ns_classifier(tokens, segments):
    """Draw how the next-sentence classifier reads the encoding of [CLS] and no other.

    Parameters
    ----------
    tokens : list of str
        [CLS], A, [SEP], B, [SEP].
    segments : sequence of int
        0 or 1 for each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    count = len(tokens)
    figure, axes = _axes(0.95 * count + 0.3, 4.6)
    for x, (token, segment) in enumerate(zip(tokens, segments, strict=True)):
        _box(axes, x - 0.45, -0.25, 0.9, 0.5, token, SEGMENT_COLOURS[segment])
        _write(axes, x, -0.5, str(segment))
        _box(axes, x - 0.25, 2.15, 0.5, 0.5, colour=PICKED_COLOUR if x == 0 else "white")
        for low, high in ((0.25, 0.85), (1.55, 2.15)):
            _arrow(axes, (x, low), (x, high))
    _write(axes, -0.6, -0.5, "segment", ha="right")
    _write(axes, -0.6, 0, "input", ha="right")
    _write(axes, -0.6, 2.4, "encoding", ha="right")
    _write(axes, (count + 0.3) / 2, 2.95, "not read by the classifier", color="dimgray")
    _box(axes, -0.45, 0.85, count - 0.1, 0.7, "BERT encoder: every position looks at every other")
    for y, text in ((3.55, "dense, tanh"), (4.55, "dense, 1 output")):
        _arrow(axes, (0, y - 0.9 if y < 4 else y - 0.7), (0, y - 0.3))
        _box(axes, -0.45, y - 0.3, 2.1, 0.6, text)
    _arrow(axes, (1.65, 4.55), (2.3, 4.55))
    axes.text(2.4, 4.55, "logit > 0: B follows A (label 1)\nlogit < 0: it does not (label 0)", va="center")
    axes.set(xlim=(-1.7, count - 0.4), ylim=(-0.8, 5))
    return figure


def draw_mlm_decoder(masked_positions, num_samples, num_words):
    """Draw which encodings gather_nd picks, and what the decoder makes of them.

    Parameters
    ----------
    masked_positions : sequence of two lists of int
        Row 0 the samples, row 1 the positions.
    num_samples, num_words : int
        Of the encodings.

    Returns
    -------
    matplotlib.figure.Figure
    """
    picked = list(zip(*masked_positions, strict=True))
    figure, axes = _axes(9, 0.55 * max(num_samples, len(picked)) + 1.3)
    for sample in range(num_samples):
        _write(axes, -0.7, sample, f"sample {sample}", ha="right")
        for position in range(num_words):
            colour = PICKED_COLOUR if (sample, position) in picked else "white"
            _box(axes, position - 0.45, sample - 0.4, 0.9, 0.8, colour=colour)
    for position in range(num_words):
        _write(axes, position, -0.75, str(position))
    _write(axes, -0.7, -0.75, "position", ha="right")
    x = num_words + 3
    for row, (sample, position) in enumerate(picked):
        _box(axes, x - 0.85, row - 0.4, 1.7, 0.8, f"({sample}, {position})", PICKED_COLOUR)
        _arrow(axes, (position + 0.45, sample), (x - 0.85, row), connectionstyle="arc3,rad=-0.12", color="dimgray")
        _arrow(axes, (x + 0.85, row), (x + 1.8, row))
        _box(axes, x + 1.8, row - 0.4, 5, 0.8, "a score for each word piece")
    bottom = max(num_samples, len(picked)) - 0.2
    for centre, text in (
        ((num_words - 1) / 2, "encodings (samples, positions, units)"),
        (x, "gather_nd:\n(masked, units)"),
        (x + 4.3, "decoder:\n(masked, vocabulary)"),
    ):
        _write(axes, centre, bottom, text, va="top")
    axes.set(xlim=(-3, x + 7), ylim=(bottom + 0.9, -1.1))
    return figure


@shows_text_as_it_is
def draw_classifier(tokens, num_layers, pooling):
    """Draw BERT as a classifier: all word pieces go in, and one vector for the whole text goes on.

    Parameters
    ----------
    tokens : list of str
        Of one text, [CLS] and [SEP] included.
    num_layers : int
        Of BERT.
    pooling : {"pooler", "cls", "mean"}
        As for `BERTClassifier`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes(max(8, len(tokens)), 4.4)
    step, width, height, middle = 1.6, 1.36, 0.6, 0.68
    right = step * (len(tokens) - 1) + width
    read = range(len(tokens)) if pooling == "mean" else [0]
    centre, reach = (right / 2, right) if pooling == "mean" else (middle, 2.9 * step)

    def arrow(x, bottom, top, colour="black"):
        _arrow(axes, (x, bottom), (x, top), color=colour)

    for place, token in enumerate(tokens):
        left, colour, ink = place * step, *((BLUE, "black") if place in read else (GRAY, "gray"))
        _box(axes, left, 0, width, height, token, edge="gray", fontsize=9, **MONOSPACE)
        arrow(left + middle, 0.6, 1, "gray")
        arrow(left + middle, 2.2, 2.6, ink)
        _box(axes, left, 2.6, width, height, f"$h_{{{place}}}$", colour, "gray", parse_math=True)
    _box(axes, 0, 1, right, 1.2, f"BERT encoder, {num_layers} layers (pre-trained)", YELLOW, "gray")
    pooled = {
        "pooler": [("pooler: dense, tanh (pre-trained)", YELLOW)],
        "cls": [],
        "mean": [("mean of them all", BLUE)],
    }
    above = [*pooled[pooling], ("dropout, dense (new)", ORANGE), ("two scores: negative, positive", "white")]
    for row, (text, colour) in enumerate(above):
        for x in [centre] if row else [place * step + middle for place in read]:
            arrow(x, row + 3.2, row + 3.6)
        _box(axes, 0, row + 3.6, reach, height, text, colour, "gray")
    if pooling != "mean":
        _write(axes, (reach + right) / 2, 3.9, "the other vectors are not used", color="#555555")
    axes.set(xlim=(-0.2, right + 0.2), ylim=(-0.2, 6.4))
    return figure
