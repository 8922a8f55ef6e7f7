"""Tokenised corpora, and the pairs drawn from them."""

from itertools import pairwise
from types import SimpleNamespace

from bert_tutorial.text.sentence_pairs import make_pairs, tokenize_corpus
from bert_tutorial.text.wordpiece import FastTokenizer

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_corpora import DEVIATIONS, VOCABULARY, corpus_of, documents, max_lengths, seeds


def document_bounds(corpus):
    ends = corpus.sentence_ends[corpus.document_ends - 1]
    return np.append(0, ends[:-1]), ends


def document_of(corpus, begin, end):
    """The number of the document that holds the non-empty stretch."""
    assert 0 <= begin < end <= len(corpus.ids)
    begins, ends = document_bounds(corpus)
    document = int(np.searchsorted(ends, begin, side="right"))
    assert begins[document] <= begin < end <= ends[document]
    return document


@given(documents=documents, max_length=max_lengths, seed=seeds)
def test_pairs(documents, max_length, seed):
    assume(max(map(len, documents)) > 1)
    corpus = corpus_of(documents)
    pairs = make_pairs(corpus, max_length, np.random.RandomState(seed))
    room = max_length - 3
    used = set()
    assert pairs.shape[1] == 5
    for a_begin, a_end, b_begin, b_end, label in pairs:
        a, b = document_of(corpus, a_begin, a_end), document_of(corpus, b_begin, b_end)
        length = a_end - a_begin + b_end - b_begin
        assert length <= room
        assert len(documents[a]) > 1
        assert label in (0, 1)
        assert (a == b) == bool(label)
        if label:
            # A's end and B's begin may both have been cut, but only if the example is full
            assert a_end == b_begin if length < room else a_end <= b_begin
        if length < room:  # nothing was cut, so only whole sentences
            assert np.isin([a_end, b_end], corpus.sentence_ends).all()
            assert np.isin([a_begin, b_begin], np.append(0, corpus.sentence_ends)).all()
        used.add(a)
    assert used == {i for i, document in enumerate(documents) if len(document) > 1}
    np.testing.assert_array_equal(pairs, make_pairs(corpus, max_length, np.random.RandomState(seed)))


@given(documents=documents, seed=seeds)
def test_a_true_next_sentence_begins_where_a_ends(documents, seed):
    assume(max(map(len, documents)) > 1)
    corpus = corpus_of(documents)
    pairs = make_pairs(corpus, 1000, np.random.RandomState(seed))  # room for every document, so nothing is cut
    begins, ends = document_bounds(corpus)
    for a_begin, a_end, b_begin, b_end, label in pairs:
        if label:
            assert a_end == b_begin
            assert b_end == ends[document_of(corpus, a_begin, a_end)]
    # what would have been B is used again: the A of a document follow each other without a gap
    for document in set(np.searchsorted(ends, pairs[:, 0], side="right")):
        ours = pairs[(pairs[:, 0] >= begins[document]) & (pairs[:, 0] < ends[document])]
        ours = ours[ours[:, 0].argsort()]
        assert ours[0, 0] == begins[document]
        np.testing.assert_array_equal(ours[1:, 0], ours[:-1, 1])
        assert not ours[:-1, 4].any()


@given(document=st.lists(st.integers(1, 12), min_size=3, max_size=30), max_length=max_lengths, seed=seeds)
def test_the_only_document_gives_b_from_another_place(document, max_length, seed):
    assume(sum(document[:-1]) >= max_length - 3)
    pairs = make_pairs(corpus_of([document]), max_length, np.random.RandomState(seed))
    assert len(pairs)
    for a_begin, a_end, b_begin, b_end, label in pairs:
        assert a_begin < a_end
        assert b_begin < b_end
        if label == 0:
            assert b_end <= a_begin or a_end < b_begin


@given(documents=documents, max_length=st.integers(3, 40), seed=seeds)
def test_stretches_without_a_next_sentence(documents, max_length, seed):
    corpus = corpus_of(documents)
    pairs = make_pairs(corpus, max_length, np.random.RandomState(seed), next_sentence=False)
    assert not pairs[:, 2:].any()
    assert {document_of(corpus, begin, end) for begin, end in pairs[:, :2]} == set(range(len(documents)))
    assert (pairs[:, 1] - pairs[:, 0]).max() <= max_length - 2
    whole = make_pairs(corpus, 1000, np.random.RandomState(seed), next_sentence=False)
    np.testing.assert_array_equal(np.sort(whole[:, :2], axis=0).T, document_bounds(corpus))


def large_corpus():
    random = np.random.RandomState(1)
    return corpus_of([random.randint(1, 40, random.randint(1, 40)).tolist() for _ in range(600)])


def test_half_of_the_pairs_are_true_and_lengths_do_not_tell():
    pairs = make_pairs(large_corpus(), 128, np.random.RandomState(2))
    labels, n = pairs[:, 4], len(pairs)
    assert n > 2000
    assert abs(labels.sum() - n / 2) < DEVIATIONS * np.sqrt(n) / 2
    lengths = pairs[:, 1] - pairs[:, 0] + pairs[:, 3] - pairs[:, 2]
    for some in (lengths < 60, lengths < 100, lengths == 125, pairs[:, 3] - pairs[:, 2] < 40):
        # were the labels independent, their standard deviation would be this; a little more is left, by construction
        bound = DEVIATIONS * np.sqrt(some.mean() * (1 - some.mean()) * 4 / n)
        assert abs(some[labels == 0].mean() - some[labels == 1].mean()) < bound + 0.01


def test_a_random_b_at_the_end_of_a_document_is_as_long_as_the_true_one():
    random = np.random.RandomState(1)
    corpus = corpus_of([random.randint(1, 60, 6).tolist() for _ in range(4000)])
    pairs = make_pairs(corpus, 1000, np.random.RandomState(2))  # every stretch ends with its document
    lengths = pairs[:, 3] - pairs[:, 2]
    drawn, true = lengths[pairs[:, 4] == 0], lengths[pairs[:, 4] == 1]
    assert abs(drawn.mean() - true.mean()) < DEVIATIONS * np.sqrt(drawn.var() / len(drawn) + true.var() / len(true))


def test_pairs_are_shuffled():
    begins = make_pairs(large_corpus(), 128, np.random.RandomState(2))[:, 0]
    assert abs(np.corrcoef(begins, np.arange(len(begins)))[0, 1]) < DEVIATIONS / np.sqrt(len(begins))


def test_each_end_is_cut():
    corpus = corpus_of([[50, 50]] * 400)
    pairs = make_pairs(corpus, 43, np.random.RandomState(3))
    cut_at_front = pairs[:, 0:4:2] % 50  # of 30 word pieces cut off A and 30 off B
    assert (pairs[:, 1:4:2] - pairs[:, 0:4:2] == 20).all()
    n = cut_at_front.size * 30
    assert abs(cut_at_front.sum() - n / 2) < DEVIATIONS * np.sqrt(n) / 2


@pytest.mark.parametrize(
    ("documents", "max_length", "next_sentence", "named"),
    [
        ([[1, 1], [1, 1]], 4, True, "at least 5"),
        ([[1, 1], [1, 1]], 2, False, "at least 3"),
        ([[3], [4], [5]], 20, True, "next_sentence=False"),
        ([[3]], 20, True, "next_sentence=False"),
        ([[5, 5, 5]], 14, True, "11 word pieces"),
        ([[50, 50]], 14, True, "3 sentences"),
    ],
)
def test_impossible_pairs(documents, max_length, next_sentence, named):
    with pytest.raises(ValueError, match=named):
        make_pairs(corpus_of(documents), max_length, np.random.RandomState(0), next_sentence)


texts = st.text("adfg ", max_size=6)


@given(st.lists(st.lists(texts, max_size=4), max_size=6))
def test_a_corpus_holds_every_sentence(documents):
    tokenizer = FastTokenizer(VOCABULARY)
    expected = [[VOCABULARY[tokenizer(text)] for text in document if tokenizer(text)] for document in documents]
    expected = [document for document in expected if document]
    documents = (SimpleNamespace(sentences=tuple(document)) for document in documents)
    if not expected:
        with pytest.raises(ValueError, match="no text"):
            tokenize_corpus(documents, tokenizer)
        return
    corpus = tokenize_corpus(documents, tokenizer)
    assert corpus.ids.dtype == np.int32
    sentences = [ids.tolist() for ids in np.split(corpus.ids, corpus.sentence_ends)[:-1]]
    bounds = [0, *corpus.document_ends]
    assert [sentences[i:j] for i, j in pairwise(bounds)] == expected


def test_sentences_that_are_one_string():
    with pytest.raises(TypeError, match="list"):
        tokenize_corpus([SimpleNamespace(sentences="a d")], FastTokenizer(VOCABULARY))
