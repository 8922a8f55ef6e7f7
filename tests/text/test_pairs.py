"""Texts and pairs of texts as BERT reads them."""

from bert_tutorial import FastTokenizer
from bert_tutorial.text.examples import Example, unlabelled
from bert_tutorial.text.pairs import cut_pair, encode_examples, join

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 50))
def test_pairs_are_cut_as_the_authors_do(length, length_b, room):
    first, second = list(range(length)), list(range(length_b))
    while len(first) + len(second) > room:  # their code's loop
        longer = first if len(first) > len(second) else second
        longer.pop()
    assert cut_pair(length, length_b, room) == (len(first), len(second))


WORDS = st.lists(st.sampled_from(["the", "film", "was", "great", "dull", "and", "a"]), min_size=1, max_size=30).map(
    " ".join
)


@pytest.fixture(scope="module")
def tokenizer(small_vocabulary):
    return FastTokenizer(small_vocabulary)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.integers(5, 64))
def test_a_pair_is_gluonnlps(tokenizer, texts, max_length):
    transform = nlp.data.BERTSentenceTransform(tokenizer, max_length, vocab=tokenizer.vocab, pad=False, pair=True)
    encoded = encode_examples(unlabelled(*zip(*texts, strict=True)), range(len(texts)), tokenizer, max_length)
    for number, (pair, (words, length, segments, label)) in enumerate(zip(texts, encoded, strict=True)):
        expected = transform(pair)
        np.testing.assert_array_equal(words, expected[0])
        assert length == expected[1]
        np.testing.assert_array_equal(segments, expected[2])
        assert label == number


def test_a_text_alone(tokenizer):
    ((words, length, segments, label),) = encode_examples(unlabelled(["the film"]), [7], tokenizer, 64)
    np.testing.assert_array_equal(words, tokenizer.encode_batch(["the film"], 64)[0])
    assert (length, segments.tolist(), label) == (len(words), [0] * len(words), 7)


def test_segments_begin_after_the_first_separator():
    words, segments = join(np.array([1, 10, 11, 2]), np.array([1, 20, 2]), 20)
    assert words.tolist() == [1, 10, 11, 2, 20, 2]
    assert segments.tolist() == [0, 0, 0, 0, 1, 1]


def test_no_room_for_two(tokenizer):
    with pytest.raises(ValueError, match="at least 5"):
        encode_examples([Example("a", "b", 0, "")], [0], tokenizer, 4)
