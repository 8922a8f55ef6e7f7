"""What is read out of a network is what the network does."""

from bert_tutorial import BERTClassifier, BERTModel, seed_everything
from bert_tutorial.course.inspection import (
    attention_weights,
    gradient_times_input,
    leave_one_out,
    log_odds,
    scores_from_vectors,
)
from bert_tutorial.heads import POOLINGS

import numpy as np
import pytest
from mxnet import autograd, nd

VALID = [9, 4, 1]


def classifier(hybridized=False, pooling="pooler"):
    """Weights are larger than BERT's, so that heads differ and words matter."""
    seed_everything(5)
    bert = BERTModel(30, 16, 32, num_heads=2, num_layers=3, dropout=0.1, max_length=12)
    net = BERTClassifier(bert, 2, pooling=pooling)
    net.initialize()
    for parameter in net.collect_params(".*weight").values():
        parameter.set_data(nd.random.normal(0, 0.4, shape=parameter.shape))
    if hybridized:
        net.hybridize(static_alloc=True)
    return net


@pytest.fixture(params=[False, True], ids=["plain", "hybridized"])
def net(request):
    return classifier(request.param)


@pytest.fixture
def batch():
    words = nd.array(np.random.RandomState(2).randint(0, 30, (3, 9)))
    return words, nd.zeros_like(words), nd.array(VALID)


def test_each_row_sums_to_one_and_padding_gets_nothing(net, batch):
    weights = attention_weights(net.bert, *batch)
    assert weights.shape == (3, 3, 2, 9, 9)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    for sample, length in enumerate(VALID):
        assert (weights[:, sample, :, :, length:] == 0).all()
        assert (weights[:, sample, :, :, :length] > 0).all()


def test_without_lengths_every_position_is_looked_at(net, batch):
    words, segments, _ = batch
    assert (attention_weights(net.bert, words, segments) > 0).all()


def test_the_weights_give_what_the_blocks_compute(net, batch):
    weights = attention_weights(net.bert, *batch)
    passed = []  # what went into each block's attention and what came out
    plain = classifier()  # a hybridized network shows its blocks no arrays
    for blk in plain.bert.encoder.blks:
        blk.attention.register_forward_hook(lambda block, inputs, output: passed.append((block, inputs[0], output)))
    plain.bert(*batch)
    assert len(passed) == len(weights) == 3
    for (attention, X, output), layer_weights in zip(passed, weights, strict=True):
        value = attention.W_v(X).asnumpy().reshape(3, 9, 2, 8)  # (B, L, H, C / H)
        context = np.einsum("bhij,bjhc->bihc", layer_weights, value).reshape(3, 9, 16)
        np.testing.assert_allclose(attention.W_o(nd.array(context)).asnumpy(), output.asnumpy(), atol=1e-5)


def test_looking_changes_nothing(net, batch):
    before = net(*batch).asnumpy()
    attention_weights(net.bert, *batch)
    np.testing.assert_array_equal(net(*batch).asnumpy(), before)


def test_attention_of_bad_input_is_refused(net, batch):
    words, segments, _ = batch
    with pytest.raises(IndexError, match="word id"):
        attention_weights(net.bert, words + 30, segments)
    with pytest.raises(ValueError, match="valid lengths"):
        attention_weights(net.bert, words, segments, nd.array([10, 1, 1]))


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_scores_from_the_words_own_vectors_are_the_networks(pooling, hybridized, batch):
    net = classifier(hybridized, pooling)
    words, segments, valid_length = batch
    vectors = net.bert.encoder.word_embed(words)
    for lengths in (valid_length, None):
        scores = scores_from_vectors(net, vectors, segments, lengths)
        np.testing.assert_allclose(scores.asnumpy(), net(words, segments, lengths).asnumpy(), atol=1e-5)


def test_vectors_that_do_not_fit_are_refused(net, batch):
    words, segments, _ = batch
    vectors = net.bert.encoder.word_embed(words)
    for wrong in (vectors[:, 1:], vectors[:, :, 1:], vectors[:2]):
        with pytest.raises(ValueError, match="word_vectors"):
            scores_from_vectors(net, wrong, segments)


def test_gradient_times_input_is_the_slope_towards_longer_word_vectors(net, batch):
    words, segments, _ = batch
    found = gradient_times_input(net, words, segments)
    vectors, step = net.bert.encoder.word_embed(words).asnumpy(), 1e-2
    for position in range(words.shape[1]):
        ends = []
        for sign in (1, -1):
            moved = vectors.copy()
            moved[:, position] *= 1 + sign * step
            ends.append(log_odds(scores_from_vectors(net, nd.array(moved), segments)).asnumpy())
        np.testing.assert_allclose(found[:, position], (ends[0] - ends[1]) / (2 * step), rtol=0.02, atol=0.02)


def test_gradient_times_input_leaves_the_parameters_gradients_alone(net, batch):
    words, segments, valid_length = batch
    with autograd.record():
        loss = net(words, segments, valid_length).sum()
    loss.backward()
    before = net.classifier.weight.grad().asnumpy()
    gradient_times_input(net, words, segments)
    np.testing.assert_array_equal(net.classifier.weight.grad().asnumpy(), before)


def test_leave_one_out_is_the_difference_to_the_shorter_text(net, batch):
    words, segments = (array[:1] for array in batch[:2])
    effects = leave_one_out(net, words, segments)
    assert effects.shape == (9,)
    assert effects[0] == effects[-1] == 0
    whole = log_odds(net(words, segments)).asscalar()
    for position in range(1, 8):
        shorter = nd.array(np.delete(words.asnumpy(), position, axis=1))
        expected = whole - log_odds(net(shorter, nd.zeros_like(shorter))).asscalar()
        assert effects[position] == pytest.approx(expected, abs=1e-5)


def test_leave_one_out_takes_one_text_with_something_to_leave_out(net, batch):
    words, segments, _ = batch
    with pytest.raises(ValueError, match="one text"):
        leave_one_out(net, words, segments)
    with pytest.raises(ValueError, match="one text"):
        leave_one_out(net, words[:1, :2], segments[:1, :2])
    assert leave_one_out(net, words[:1, :3], segments[:1, :3]).shape == (3,)
