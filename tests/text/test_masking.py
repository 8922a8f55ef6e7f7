"""Which word pieces are masked, and with what."""

from bert_tutorial.text.masking import Masking
from bert_tutorial.text.vocabulary import SPECIAL_TOKENS

import numpy as np
import pytest
from random_corpora import CLS, DEVIATIONS, MASK, ORDINARY_IDS, SEP, VOCABULARY, vocabulary_of


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
