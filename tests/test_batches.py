"""Encoding, padding and bucketing."""

from bert_tutorial import FastTokenizer, load_vocabulary
from bert_tutorial.batches import ROUND_LENGTH_TO, encode_dataset, make_loader

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def vocabulary(tiny_checkpoint):
    return load_vocabulary(tiny_checkpoint / "vocab.txt")


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(lengths=lengths, batch_size=st.integers(1, 9), shuffle=st.booleans())
def test_every_sample_comes_once_and_whole(vocabulary, lengths, batch_size, shuffle):
    dataset = [("a " * length, i) for i, length in enumerate(lengths)]
    encoded = encode_dataset(dataset, FastTokenizer(vocabulary), max_length=32)
    loader = make_loader(encoded, vocabulary, batch_size, shuffle)
    seen = []
    for words, valid_length, segments, labels in loader:
        assert words.shape == segments.shape
        assert words.shape[1] % ROUND_LENGTH_TO == 0
        assert len(words) <= batch_size
        assert not segments.asnumpy().any()
        for row, length, label in zip(words.asnumpy(), valid_length.asnumpy(), labels.asnumpy(), strict=True):
            expected = encoded[int(label)][0]
            assert length == len(expected) == min(lengths[int(label)] + 2, 32)
            np.testing.assert_array_equal(row[: int(length)], expected)
            assert (row[int(length) :] == vocabulary[vocabulary.padding_token]).all()
            seen.append(int(label))
    assert sorted(seen) == list(range(len(lengths)))
    assert len(loader) == -(-len(lengths) // batch_size)


def test_encoding_equals_gluonnlps_transform(vocabulary):
    text = "The film was not great, [SEP] the plot was awful; " * 3
    encoded = encode_dataset([(text, 1)], FastTokenizer(vocabulary), max_length=24)
    tokenizer = nlp.data.BERTTokenizer(vocabulary)
    expected = nlp.data.BERTSentenceTransform(tokenizer, 24, pad=False, pair=False)([text])
    for found, wanted in zip(encoded[0][:3], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_bucketing_saves_padding(vocabulary):
    dataset = [("a " * (5 if i % 2 else 60), 0) for i in range(64)]
    encoded = encode_dataset(dataset, FastTokenizer(vocabulary), max_length=64)
    sizes = [words.size for words, *_ in make_loader(encoded, vocabulary, 8, shuffle=True)]
    assert sorted(sizes) == [8 * 32] * 4 + [8 * 64] * 4


def test_shuffling_follows_the_seed(vocabulary):
    encoded = encode_dataset([("a " * (i % 7 + 1), i) for i in range(20)], FastTokenizer(vocabulary), max_length=32)

    def order(seed):
        np.random.seed(seed)
        return [labels.asnumpy().tolist() for *_, labels in make_loader(encoded, vocabulary, 4, shuffle=True)]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_bad_input(vocabulary):
    encoded = encode_dataset([("a", 0)], FastTokenizer(vocabulary), max_length=32)
    with pytest.raises(ValueError, match="empty"):
        make_loader([], vocabulary, 4, shuffle=False)
    with pytest.raises(ValueError, match="batch_size"):
        make_loader(encoded, vocabulary, 0, shuffle=False)
