"""Pre-training examples: sentence pairs, masking and batches."""

from itertools import pairwise
from types import SimpleNamespace

from bert_tutorial.text.masking import Masking
from bert_tutorial.text.pretraining_examples import make_batch
from bert_tutorial.text.sentence_pairs import TokenizedCorpus, make_pairs, tokenize_corpus
from bert_tutorial.text.vocabulary import SPECIAL_TOKENS
from bert_tutorial.text.wordpiece import FastTokenizer

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

DEVIATIONS = 5  # standard deviations that a random count may be off


def vocabulary_of(*tokens):
    return nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx={token: i for i, token in enumerate(tokens)})


# the special tokens not at their usual ids
VOCABULARY = vocabulary_of("a", "##b", "##c", *SPECIAL_TOKENS, "d", "##e", "f", "g")
PAD, UNK, CLS, SEP, MASK = SPECIAL_IDS = VOCABULARY[list(SPECIAL_TOKENS)]
ORDINARY_IDS = [i for i in range(len(VOCABULARY)) if i not in SPECIAL_IDS]


def corpus_of(documents):
    """A corpus of documents given as lists of sentence lengths, of random ids, one in thirty unknown."""
    lengths = np.concatenate(documents)
    ids = np.random.RandomState(0).choice([*ORDINARY_IDS * 5, UNK], lengths.sum()).astype("int32")
    return TokenizedCorpus(ids, np.cumsum(lengths), np.cumsum([len(document) for document in documents]))


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


documents = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=12), min_size=2, max_size=8)
max_lengths = st.integers(5, 40)
seeds = st.integers(0, 2**32 - 1)


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


def words_in(row):
    """Positions of each word in a row of ids."""
    found = []
    for i, token in enumerate(VOCABULARY.idx_to_token[k] for k in row):
        if token not in SPECIAL_TOKENS:
            if token.startswith("##") and found and found[-1][-1] == i - 1:
                found[-1].append(i)
            else:
                found.append([i])
    return found


@given(
    documents=documents,
    max_length=max_lengths,
    seed=seeds,
    next_sentence=st.booleans(),
    whole_words=st.booleans(),
    mask_ratio=st.sampled_from([0.01, 0.15, 0.5, 1]),
)
@settings(max_examples=300)
def test_batch(documents, max_length, seed, next_sentence, whole_words, mask_ratio):
    assume(max(map(len, documents)) > 1)
    corpus, random = corpus_of(documents), np.random.RandomState(seed)
    pairs = make_pairs(corpus, max_length, random, next_sentence)
    masking = Masking(VOCABULARY, whole_words, mask_ratio)
    batch = make_batch(corpus, pairs, max_length, masking, random)
    samples, slots = len(pairs), int(np.ceil(mask_ratio * max_length))
    assert [(x.shape, x.dtype.name) for x in batch] == [
        ((samples, max_length), "int32"),
        ((samples, max_length), "int32"),
        ((samples,), "float32"),
        ((2, samples * slots), "int32"),
        ((samples * slots,), "float32"),
        ((samples * slots,), "float32"),
        ((samples,), "float32"),
    ]
    np.testing.assert_array_equal(batch.ns_labels, pairs[:, 4])
    np.testing.assert_array_equal(batch.masked_positions[0], np.repeat(np.arange(samples), slots))
    used = batch.masked_weights == 1
    assert not batch.masked_weights[~used].any()
    assert not batch.masked_labels[~used].any()
    assert not batch.masked_positions[1, ~used].any()
    restored = batch.words.copy()
    restored[tuple(batch.masked_positions[:, used])] = batch.masked_labels[used]
    for k, (a_begin, a_end, b_begin, b_end, _) in enumerate(pairs):
        a, b = corpus.ids[a_begin:a_end].tolist(), corpus.ids[b_begin:b_end].tolist()
        text = [CLS, *a, SEP, *b, SEP] if next_sentence else [CLS, *a, SEP]
        assert batch.valid_length[k] == len(text)
        assert restored[k].tolist() == text + [PAD] * (max_length - len(text))
        in_b = len(b) + 1 if next_sentence else 0
        assert batch.segments[k].tolist() == [0] * (len(a) + 2) + [1] * in_b + [0] * (max_length - len(text))

        chosen = batch.masked_positions[1, used & (batch.masked_positions[0] == k)].tolist()
        assert len(set(chosen)) == len(chosen)
        ordinary = [i for i, token in enumerate(text) if token not in SPECIAL_IDS]
        assert set(chosen) <= set(ordinary)
        assert (batch.words[k, chosen] == MASK).sum() == (batch.words[k] == MASK).sum()
        assert not np.isin(batch.words[k, chosen], [PAD, UNK, CLS, SEP]).any()
        number = max(1, round(mask_ratio * len(ordinary))) if ordinary else 0
        if not whole_words:
            assert len(chosen) == number
            continue
        words = words_in(text)
        left_out = [word for word in words if not set(word) <= set(chosen)]
        assert all(set(word).isdisjoint(chosen) for word in left_out)  # whole words or none of them
        shortest = min(map(len, words), default=0)
        assert len(chosen) <= max(number, shortest)
        # no word was left out that still fitted
        assert all(len(word) > min(max(number, shortest), slots) - len(chosen) for word in left_out)


def fresh_batch(masking, random, rows=400):
    words = np.random.RandomState(4).choice(ORDINARY_IDS, (rows, 100))
    words[:, [0, 50, 99]] = CLS, SEP, SEP
    return words, *masking(words, random)


@pytest.mark.parametrize("whole_words", [False, True])
def test_shares(whole_words):
    before, after, positions, labels, weights = fresh_batch(
        Masking(VOCABULARY, whole_words=whole_words), np.random.RandomState(5)
    )
    used = weights == 1
    assert used.reshape(400, -1).sum(axis=1).tolist() == [15] * 400 or whole_words  # round(0.15 * 97) of 97
    assert 0.97 < used.sum() / (400 * 0.15 * 97) < 1.04
    found = after[tuple(positions[:, used])]
    np.testing.assert_array_equal(before[tuple(positions[:, used])], labels[used])
    n, v = used.sum(), len(ORDINARY_IDS)
    for share, count in ((0.8, (found == MASK).sum()), (0.1 + 0.1 / v, (found == labels[used]).sum())):
        assert abs(count - share * n) < DEVIATIONS * np.sqrt(share * (1 - share) * n)
    random_pieces = found[(found != MASK) & (found != labels[used])]
    assert set(random_pieces) == set(ORDINARY_IDS)


def test_every_piece_is_as_likely():
    _, _, positions, _, weights = fresh_batch(Masking(VOCABULARY), np.random.RandomState(6), rows=2000)
    counts = np.bincount(positions[1, weights == 1], minlength=100)
    assert counts[[0, 50, 99]].tolist() == [0, 0, 0]
    share = 15 / 97
    bound = DEVIATIONS * np.sqrt(2000 * share * (1 - share))
    assert (abs(np.delete(counts, [0, 50, 99]) - 2000 * share) < bound).all()


def test_masks_are_fresh_in_each_call_and_reproducible():
    masking, random = Masking(VOCABULARY), np.random.RandomState(7)
    first, second = fresh_batch(masking, random), fresh_batch(masking, random)
    again = fresh_batch(masking, np.random.RandomState(7))
    np.testing.assert_array_equal(first[0], second[0])  # the masking did not write into its input
    assert (first[1] != second[1]).any()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def mask_tokens(tokens, vocabulary=VOCABULARY, **settings):
    _, positions, _, weights = Masking(vocabulary, **settings)(np.array([vocabulary[tokens]]), np.random.RandomState(8))
    return sorted(positions[1, weights == 1])


def test_one_word_piece_is_chosen():
    assert mask_tokens(["[CLS]", "a", "[SEP]", "[PAD]"]) == [1]


def test_nothing_to_choose():
    assert mask_tokens(["[CLS]", "[UNK]", "[SEP]", "[PAD]"]) == []


def test_a_word_longer_than_the_share_is_chosen_if_it_has_slots():
    word = ["[CLS]", "a", "##b", "##c", "[SEP]"]
    assert mask_tokens([*word, *["[PAD]"] * 15], whole_words=True) == [1, 2, 3]  # 3 slots
    assert mask_tokens(word, whole_words=True) == []  # 1 slot


def test_a_word_does_not_reach_over_a_special_token():
    # B was cut at its front and begins inside of a word
    tokens = ["[CLS]", "[UNK]", "a", "[SEP]", "##b", "[SEP]"]
    assert len(mask_tokens(tokens, whole_words=True)) == 1


def test_whole_words_without_continuing_pieces():
    vocabulary = vocabulary_of(*SPECIAL_TOKENS, "a", "d")
    words = np.full((50, 40), vocabulary["a"])
    one, other = (Masking(vocabulary, whole)(words, np.random.RandomState(9)) for whole in (False, True))
    for x, y in zip(one, other, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("mask_ratio", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none(mask_ratio):
    with pytest.raises(ValueError, match="mask_ratio"):
        Masking(VOCABULARY, mask_ratio=mask_ratio)


def test_a_vocabulary_without_word_pieces():
    with pytest.raises(ValueError, match="special tokens only"):
        Masking(vocabulary_of(*SPECIAL_TOKENS))


def test_a_batch_of_other_settings():
    corpus = corpus_of([[20, 20], [20, 20]])
    pairs, random = make_pairs(corpus, 30, np.random.RandomState(0)), np.random.RandomState(0)
    with pytest.raises(ValueError, match="max_length=29"):
        make_batch(corpus, pairs, 29, Masking(VOCABULARY), random)
    with pytest.raises(ValueError, match="vocabulary"):
        make_batch(corpus, pairs, 30, Masking(vocabulary_of(*SPECIAL_TOKENS, "a")), random)
