"""Tags in BIO."""

from bert_tutorial.text.bio import begins, entities, is_iob1, mark, score_tags, to_bio, with_tag_before

import pytest
from hypothesis import given
from hypothesis import strategies as st

KINDS = ["film", "day", "x-y"]


@st.composite
def spans(draw, min_size=0):
    """(number of words, entities in their order)."""
    pieces = draw(
        st.lists(st.tuples(st.sampled_from([None, *KINDS]), st.integers(1, 3)), min_size=min_size, max_size=8)
    )
    found, end = [], 0
    for kind, length in pieces:
        if kind:
            found.append((kind, end, end + length))
        end += length
    return end, found


def in_bio(length, found):
    tags = ["O"] * length
    for kind, begin, end in found:
        tags[begin:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - begin - 1)
    return tags


def in_iob1(length, found):
    """B-x only where an entity follows another of its type."""
    tags = in_bio(length, found)
    ends = {(kind, end) for kind, _, end in found}
    for kind, begin, _ in found:
        if (kind, begin) not in ends:
            tags[begin] = f"I-{kind}"
    return tags


ANY_TAG = st.sampled_from(["O", *(f"{begin}-{kind}" for kind in KINDS for begin in "BI")])
ANY_TAGS = st.lists(ANY_TAG, max_size=12)


@given(spans())
def test_entities_are_those_that_were_written(sentence):
    _, found = sentence
    for written in (in_bio, in_iob1):
        assert entities(written(*sentence)) == found


@given(st.lists(spans(), min_size=1))
def test_iob1_is_recognised_and_turned_into_bio(sentences):
    bio = [in_bio(*sentence) for sentence in sentences]
    iob1 = [in_iob1(*sentence) for sentence in sentences]
    assert not is_iob1(bio)
    assert is_iob1(iob1) == any(found for _, found in sentences)
    assert list(map(to_bio, iob1)) == bio


def test_a_mistake_does_not_make_bio_iob1():
    assert not is_iob1([["B-day", "I-day"], ["O", "I-day"]])
    assert not is_iob1([["I-day", "I-day"], ["O", "B-day"]])
    assert is_iob1([["I-day", "B-day"], ["O", "I-film", "I-day"]])


@given(ANY_TAGS)
def test_what_is_not_well_formed_is_read_as_if_it_were(tags):
    assert entities(to_bio(tags)) == entities(tags)
    assert [begin for _, begin, _ in entities(tags)] == [
        place for place, pair in enumerate(with_tag_before(tags)) if begins(*pair)
    ]


@given(st.lists(st.lists(st.tuples(ANY_TAG, ANY_TAG), min_size=1), min_size=1))
def test_scores_are_seqevals(sentences):
    metrics = pytest.importorskip("seqeval.metrics")
    expected, answered = ([[pair[i] for pair in sentence] for sentence in sentences] for i in (0, 1))
    score = score_tags(expected, answered)
    for name in ("precision", "recall", "f1"):
        theirs = getattr(metrics, f"{name}_score")(expected, answered, zero_division=0)
        assert score[name] == pytest.approx(theirs), name
    assert score["accuracy"] == pytest.approx(metrics.accuracy_score(expected, answered))


@given(ANY_TAGS)
def test_entities_are_seqevals(tags):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    assert entities(tags) == [(kind, begin, last + 1) for kind, begin, last in labeling.get_entities(tags)]


def test_the_example_of_seqeval():
    """Its README's: one of two entities is right."""
    expected = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    answered = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert score_tags(expected, answered) == {"accuracy": 0.8, "precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 2}


def test_scores_by_hand():
    """A type that is wrong, a word too many, one entity that is missing, one too many, and one that is right."""
    expected = [["B-a", "O", "B-a", "I-a"], ["B-b", "O"], ["O", "B-b"]]
    answered = [["B-b", "O", "B-a", "O"], ["O", "B-a"], ["O", "B-b"]]
    score = score_tags(expected, answered)
    assert score == {"accuracy": 4 / 8, "precision": 1 / 4, "recall": 1 / 4, "f1": 1 / 4, "count": 3}
    score = score_tags([["O", "B-a"]], [["O", "O"]])
    assert score == {"accuracy": 0.5, "precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 1}
    assert score_tags([["O"]], [["O"]]) == {"accuracy": 1, "precision": 0, "recall": 0, "f1": 0, "count": 1}


def test_marked_texts():
    text = "is  is-land on, at\tthe Odeon?"
    tokens = ["is", "is-land", "on", ",", "at", "the", "Odeon", "?"]
    tags = ["O", "B-film", "O", "O", "O", "B-cinema", "I-cinema", "O"]
    assert mark(text, tokens, tags) == "is  [film is-land] on, at\t[cinema the Odeon]?"
    assert mark(text, tokens, ["O"] * 8) == text
    assert mark("a b", ["a", "b"], ["B-x", "B-x"]) == "[x a] [x b]"
    text = "two seats for The Last Tuesday"
    assert (
        mark(text, text.split(), ["O"] * 3 + ["B-film", "I-film", "I-film"]) == "two seats for [film The Last Tuesday]"
    )
