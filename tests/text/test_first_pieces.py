"""The words of a sentence and their pieces."""

from bert_tutorial import FastTokenizer, load_vocabulary
from bert_tutorial.text.first_pieces import BEYOND, NO_PIECE, encode_words

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_texts import TEXTS


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return FastTokenizer(load_vocabulary(tiny_checkpoint / "vocab.txt"))


def test_an_example(tokenizer):
    words = ["the", "sets", "\0", "don't", "film"]
    ((ids, firsts),) = encode_words([words], tokenizer, 32)
    pieces = ["[CLS]", "the", "s", "##e", "##t", "##s", "d", "##o", "##n", "'", "t", "film", "[SEP]"]
    assert tokenizer.vocab.to_tokens(ids.tolist()) == pieces
    assert firsts.tolist() == [1, 2, NO_PIECE, 6, 11]
    ((cut, firsts),) = encode_words([words], tokenizer, 8)
    assert tokenizer.vocab.to_tokens(cut.tolist()) == [*pieces[:7], "[SEP]"]
    assert firsts.tolist() == [1, 2, NO_PIECE, 6, BEYOND]
    ((cut, firsts),) = encode_words([words], tokenizer, 7)
    assert firsts.tolist() == [1, 2, NO_PIECE, BEYOND, BEYOND]
    ((ids, firsts),) = encode_words([[]], tokenizer, 8)
    assert tokenizer.vocab.to_tokens(ids.tolist()) == ["[CLS]", "[SEP]"]
    assert firsts.tolist() == []
    assert encode_words([], tokenizer, 8) == []


@given(st.lists(st.lists(TEXTS, max_size=6), max_size=3), st.integers(3, 40))
def test_the_pieces_of_all_words_are_those_of_the_sentence(tokenizer, sentences, max_length):
    for words, (ids, firsts) in zip(sentences, encode_words(sentences, tokenizer, max_length), strict=True):
        (expected,) = tokenizer.encode_batch([" ".join(words)], max_length)
        np.testing.assert_array_equal(ids, expected)
        assert ids.dtype == expected.dtype
        assert len(firsts) == len(words)
        position = 1
        for word, first in zip(words, firsts, strict=True):
            pieces = tokenizer(word)
            if not pieces:
                assert first == NO_PIECE
            elif position >= max_length - 1:
                assert first == BEYOND
            else:
                assert first == position
                assert ids[first] == tokenizer.vocab[pieces[0]]
            position += len(pieces)
