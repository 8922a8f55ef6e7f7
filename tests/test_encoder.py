"""BERTEncoder and BERTModel: the seed's calls, masks, ranges, hybrid form."""

from bert_tutorial import BERTEncoder, BERTModel, seed_everything

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, nd

VOCAB, UNITS = 40, 8


def build(cls=BERTEncoder, max_length=16, dropout=0.1):
    seed_everything(3)
    block = cls(
        vocab_size=VOCAB, units=UNITS, hidden_size=16, num_heads=2, num_layers=2, dropout=dropout, max_length=max_length
    )
    block.initialize()
    for parameter in block.collect_params().values():
        if parameter.name.endswith("weight"):
            parameter.set_data(nd.random.normal(0, 0.5, shape=parameter.shape))
    return block


def batch(samples=2, length=6):
    words = nd.array(np.random.randint(0, VOCAB, (samples, length)), dtype="int32")
    return words, nd.array(np.random.randint(0, 2, (samples, length)), dtype="int32")


def test_the_seeds_example():
    encoder = BERTEncoder(vocab_size=30000, units=768, hidden_size=3072, num_heads=12, num_layers=1, dropout=0.1)
    encoder.initialize()
    words = nd.random.randint(low=0, high=30000, shape=(2, 8))
    segments = nd.array([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]])
    assert encoder(words, segments, None).shape == (2, 8, 768)


def test_number_of_parameters_is_berts():
    """BERT base has 109,482,240 parameters with its pooler: the published figure is 110 M."""
    bert = BERTModel(30522, 768, 3072, 12, 12, 0.1)
    assert sum(np.prod(p.shape) for p in bert.collect_params().values()) == 109_482_240


@pytest.mark.parametrize("hybridize", [False, True])
def test_the_three_masks_say_the_same(hybridize):
    encoder = build()
    if hybridize:
        encoder.hybridize(static_alloc=True)
    words, segments = batch()
    everything = encoder(words, segments, None).asnumpy()
    np.testing.assert_allclose(encoder(words, segments, nd.array([6, 6])).asnumpy(), everything, atol=1e-6)
    np.testing.assert_allclose(encoder(words, segments, nd.ones((2, 6, 6))).asnumpy(), everything, atol=1e-6)
    lengths = encoder(words, segments, nd.array([6, 4])).asnumpy()
    array = np.ones((2, 6, 6))
    array[1, :, 4:] = 0
    np.testing.assert_allclose(encoder(words, segments, nd.array(array)).asnumpy(), lengths, atol=1e-6)
    assert abs(lengths[1] - everything[1]).max() > 1e-3


@settings(max_examples=25)
@given(length=st.integers(1, 10), padding=st.integers(0, 6), filler=st.integers(0, VOCAB - 1))
def test_padding_never_leaks(length, padding, filler):
    model = build(BERTModel)
    words, segments = batch(1, length)
    padded_words = nd.concat(words, nd.full((1, padding), filler, dtype="int32"), dim=1) if padding else words
    padded_segments = nd.concat(segments, nd.ones((1, padding), dtype="int32"), dim=1) if padding else segments
    alone, alone_pooled = model(words, segments, nd.array([length]))
    padded, padded_pooled = model(padded_words, padded_segments, nd.array([length]))
    np.testing.assert_allclose(padded[:, :length].asnumpy(), alone.asnumpy(), atol=2e-5)
    np.testing.assert_allclose(padded_pooled.asnumpy(), alone_pooled.asnumpy(), atol=2e-5)


def test_pooled_encoding_is_tanh_of_the_first_position():
    model = build(BERTModel)
    words, segments = batch()
    sequence, pooled = model(words, segments)
    dense = model.pooler
    expected = np.tanh(sequence.asnumpy()[:, 0] @ dense.weight.data().asnumpy().T + dense.bias.data().asnumpy())
    np.testing.assert_allclose(pooled.asnumpy(), expected, atol=1e-5)


def test_segments_and_order_matter():
    encoder = build()
    words, segments = batch()
    plain = encoder(words, segments, None).asnumpy()
    assert abs(encoder(words, 1 - segments, None).asnumpy() - plain).max() > 1e-2
    turned = encoder(words.flip(axis=1), segments, None).asnumpy()
    assert abs(turned[:, ::-1] - plain).max() > 1e-2


@pytest.mark.parametrize("cls", [BERTEncoder, BERTModel])
@pytest.mark.parametrize("hybridize", [False, True])
def test_out_of_range_raises(cls, hybridize):
    model = build(cls)
    words, segments = batch()
    if hybridize:
        model.hybridize(static_alloc=True)
        model(words, segments, None)
    wrong = words.copy()
    for bad in (VOCAB, -1):
        wrong[1, 2] = bad
        with pytest.raises(IndexError, match=str(bad)):
            model(wrong, segments, None)
    wrong = segments.copy()
    wrong[0, 0] = 2
    with pytest.raises(IndexError, match="segment 2"):
        model(words, wrong, None)
    with pytest.raises(IndexError, match="17"):
        model(*batch(length=17), None)


@pytest.mark.parametrize("lengths", [[0, 6], [7, 6], [3], [[6, 6]]])
def test_impossible_lengths_raise(lengths):
    words, segments = batch()
    with pytest.raises(ValueError, match=r"mask|lengths"):
        build()(words, segments, nd.array(lengths))


def test_batches_from_shared_memory_are_welcome():
    model = build(BERTModel)
    model.hybridize(static_alloc=True)
    words, segments = batch()
    lengths = nd.array([6, 4])
    expected = model(words, segments, lengths)[1].asnumpy()
    shared = mx.Context("cpu_shared", 0)
    found = model(words.as_in_context(shared), segments.as_in_context(shared), lengths)[1].asnumpy()
    np.testing.assert_array_equal(found, expected)


def test_shapes_that_do_not_fit_raise():
    words, segments = batch()
    with pytest.raises(ValueError, match="shape"):
        build()(words, segments[:, :5], None)
    with pytest.raises(ValueError, match="shape"):
        build()(words[0], segments[0], None)


def test_trains_through_the_hybrid_graph():
    gradients = []
    for hybridize in (False, True):
        model = build(BERTModel, dropout=0)
        if hybridize:
            model.hybridize(static_alloc=True)
        np.random.seed(0)
        words, segments = batch()
        with autograd.record():
            sequence, pooled = model(words, segments, nd.array([6, 3]))
            loss = (sequence[:, :3] ** 2).sum() + pooled.sum()
        loss.backward()
        gradients.append({k: p.grad().asnumpy() for k, p in model._collect_params_with_prefix().items()})
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], gradient, atol=1e-4, err_msg=name)
        # a shift of all keys moves no softmax, so W_k's bias has no gradient
        assert name.endswith("W_k.bias") or abs(gradient).max() > 0, name
