"""Entities as they are marked in sentences."""

from bert_tutorial.course.drawing import NEGATIVE
from bert_tutorial.course.tag_figures import MARKERS, plot_tags

import pytest
from figure_text import written
from matplotlib.colors import to_hex

WORDS = ["two", "for", "The", "Last", "Tuesday"]
TAGS = ["B-seats", "O", "B-film", "I-film", "I-film"]


def boxes(figure):
    """From the characters that a box goes over to (face, edge, line style)."""
    return {
        (round(box.get_x() + 0.3, 6), round(box.get_x() + box.get_width() - 0.3, 6)): box
        for box in figure.axes[0].patches
    }


def test_right_answers_have_a_colour_for_each_type_and_its_name():
    figure = plot_tags([WORDS], [TAGS], [TAGS])
    assert written(figure) == [*WORDS, "film", "seats"]
    found = boxes(figure)
    assert set(found) == {(0, 3), (8, 24)}
    colours = {to_hex(box.get_facecolor()).upper() for box in found.values()}
    assert len(colours) == 2
    assert colours < set(MARKERS)


def test_a_wrong_answer_has_an_edge_and_what_was_missed_a_dashed_box():
    answers = ["B-seats", "O", "O", "O", "B-day"]
    figure = plot_tags([WORDS], [TAGS], [answers])
    assert written(figure)[5:] == ["✗ day", "film", "seats"]
    (film,) = (text for text in figure.axes[0].texts if text.get_text() == "film")
    assert film.get_position()[1] < 0  # above its sentence
    assert film.get_style() == "italic"
    found = boxes(figure)
    wrong, missed, right = found[17, 24], found[8, 24], found[0, 3]
    assert to_hex(wrong.get_edgecolor()).upper() == NEGATIVE
    assert missed.get_linestyle() == "--"
    assert missed.get_facecolor()[3] == 0
    assert right.get_edgecolor()[3] == 0


def test_each_sentence_has_a_line_of_its_own():
    figure = plot_tags([WORDS, ["hi"]], [TAGS, ["O"]], [TAGS, ["O"]])
    rows = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert rows["Tuesday"] == 0
    assert rows["hi"] == 1


def test_more_types_than_colours_are_refused():
    tags = [f"B-{number}" for number in range(len(MARKERS) + 1)]
    with pytest.raises(ValueError, match="9 types of entities cannot be told apart: draw at most 8"):
        plot_tags([["x"] * len(tags)], [tags], [tags])
