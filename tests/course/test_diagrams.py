"""What the diagrams show."""

from bert_tutorial.course.diagrams import (
    MASKING_COLOURS,
    PICKED_COLOUR,
    SEGMENT_COLOURS,
    draw_architecture,
    draw_classifier,
    draw_embeddings,
    draw_input,
    draw_lookups,
    draw_masking,
    draw_mlm_decoder,
    draw_ns_classifier,
)

import pytest
from figure_text import written
from matplotlib.colors import to_rgba


def boxes(figure):
    """Kind of each box, in order."""
    kinds = {to_rgba(colour): kind for kind, colour in MASKING_COLOURS.items()}
    return [kinds[patch.get_facecolor()] for patch in figure.axes[0].patches]


def test_masking_shows_what_was_done_to_each_word_piece():
    tokens = ["[CLS]", "one", "two", "three", "four", "[SEP]"]
    masked = ["[CLS]", "[MASK]", "dog", "three", "four", "[SEP]"]
    figure = draw_masking(tokens, masked, [1, 2, 3])
    assert boxes(figure) == [
        "as it was",
        "hidden by [MASK]",
        "replaced by another",
        "left, but to be predicted",
        "as it was",
        "as it was",
    ]
    assert sorted(written(figure)) == sorted([*masked, "one", "two", "three"])


def test_masking_goes_on_in_the_next_line():
    figure = draw_masking(["word"] * 20, ["word"] * 20, [], columns=30)
    corners = [(patch.get_y(), patch.get_x()) for patch in figure.axes[0].patches]
    assert corners == sorted(corners)
    assert max(patch.get_x() + patch.get_width() for patch in figure.axes[0].patches) <= 30


def test_embeddings_show_word_segment_and_position_of_each_place():
    tokens, segments = ["[CLS]", "one", "[SEP]", "two", "[SEP]"], [0, 0, 0, 1, 1]
    texts = written(draw_embeddings(tokens, segments))
    boxes = [text for text in texts if text not in ("word", "segment", "position", "sum", "+", "=", "")]
    assert boxes == [*tokens, *"AAABB", *"01234"]


def test_architecture_marks_what_is_new_in_bert():
    figure = draw_architecture()
    legend = {text.get_text(): patch.get_facecolor() for text, patch in zip(*legend_of(figure), strict=True)}
    centres = {(p.get_x() + p.get_width() / 2, p.get_y() + p.get_height() / 2): p for p in figure.axes[0].patches}
    coloured = {
        (text.get_text(), text.get_position()[0] > 4.8): centres[text.get_position()].get_facecolor()
        for text in figure.axes[0].texts
        if text.get_position() in centres
    }
    new = {text for (text, _), colour in coloured.items() if colour == legend["new or different in BERT"]}
    assert new == {"segment\nvector", "position\nvector", "LayerNorm, dropout", "PositionWiseFFN (GELU)"}
    assert all(coloured[part, right] == legend["as in the Transformer"] for part, right in [("AddNorm", True)])


def legend_of(figure):
    legend = figure.axes[0].get_legend()
    return legend.get_texts(), legend.get_patches()


def coloured(figure, colour):
    """Centres of the boxes of a colour, from left to right."""
    boxes = [p for p in figure.axes[0].patches if p.get_facecolor() == to_rgba(colour) and hasattr(p, "get_xy")]
    return sorted((p.get_x() + p.get_width() / 2, p.get_y() + p.get_height() / 2) for p in boxes)


def test_classifier_reads_the_first_encoding_alone():
    figure = draw_ns_classifier(["[CLS]", "a", "[SEP]", "b", "[SEP]"], [0, 0, 0, 1, 1])
    assert [x for x, _ in coloured(figure, PICKED_COLOUR)] == [pytest.approx(0)]
    first, second = (coloured(figure, colour) for colour in SEGMENT_COLOURS)
    assert [round(x) for x, _ in first + second] == [0, 1, 2, 3, 4]


def test_decoder_reads_the_masked_positions():
    figure = draw_mlm_decoder([[0, 2], [4, 1]], 3, 6)
    grid = [(round(x), round(y)) for x, y in coloured(figure, PICKED_COLOUR) if x < 5.5]
    assert grid == [(1, 2), (4, 0)]  # x is the position, y the sample
    assert {"(0, 4)", "(2, 1)"} <= set(written(figure))


def test_lookups_show_what_was_found():
    figure = draw_lookups("abc", [(0, 3, False), (0, 2, True), (2, 3, True)])
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in figure.axes[0].patches]
    assert spans == [(0, 3), (0, 2), (2, 3)]
    assert written(figure).count("in the vocabulary") == 2
    assert written(figure).count("##") == 1


def test_input_shows_segments_and_padding():
    tokens = ["[CLS]", "a", "[SEP]", "b", "[SEP]", "[PAD]"]
    figure = draw_input(tokens, [0, 0, 0, 1, 1, 0], 5)
    colours = [p.get_facecolor() for p in figure.axes[0].patches][::3]
    assert colours[0] == colours[2] != colours[3] == colours[4]
    assert colours[5] not in colours[:5]
    assert [text for text in written(figure) if text in tokens] == tokens


@pytest.mark.parametrize(("pooling", "read"), [("pooler", 1), ("cls", 1), ("mean", 4)])
def test_classifier_shows_every_word_piece_and_what_is_read(pooling, read):
    tokens = ["[CLS]", "great", "film", "[SEP]"]
    figure = draw_classifier(tokens, 6, pooling)
    texts = written(figure)
    assert [text for text in texts if text in tokens] == tokens
    assert any("6 layers" in text for text in texts)
    assert [any(word in text for text in texts) for word in ("pooler", "mean")] == [
        pooling == "pooler",
        pooling == "mean",
    ]
    colours = [patch.get_facecolor() for patch in figure.axes[0].patches][1:8:2]  # of the vectors
    assert [colour == colours[0] for colour in colours] == [place < read for place in range(4)]
