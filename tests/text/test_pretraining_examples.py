"""Batches of pre-training examples."""

from bert_tutorial.text.masking import Masking
from bert_tutorial.text.pretraining_examples import make_batch
from bert_tutorial.text.sentence_pairs import make_pairs
from bert_tutorial.text.vocabulary import SPECIAL_TOKENS

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_corpora import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL_IDS,
    UNK,
    VOCABULARY,
    corpus_of,
    documents,
    max_lengths,
    seeds,
    vocabulary_of,
)


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


def test_a_batch_of_other_settings():
    corpus = corpus_of([[20, 20], [20, 20]])
    pairs, random = make_pairs(corpus, 30, np.random.RandomState(0)), np.random.RandomState(0)
    with pytest.raises(ValueError, match="max_length=29"):
        make_batch(corpus, pairs, 29, Masking(VOCABULARY), random)
    with pytest.raises(ValueError, match="vocabulary"):
        make_batch(corpus, pairs, 30, Masking(vocabulary_of(*SPECIAL_TOKENS, "a")), random)
