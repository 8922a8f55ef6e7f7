"""The two pre-training heads and the classifier."""

import warnings

from bert_tutorial import (
    BERTClassifier,
    BERTModel,
    MLMDecoder,
    NSClassifier,
    SentenceEncoder,
    seed_everything,
    train_loop,
)
from bert_tutorial.blocks import EncoderBlock
from bert_tutorial.heads import POOLINGS

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon, nd


@pytest.fixture(autouse=True)
def seed():
    seed_everything(5)


def encodings(samples=2, length=8, units=12):
    return nd.random.normal(shape=(samples, length, units))


@pytest.mark.parametrize("hybridize", [False, True])
def test_next_sentence_classifier_reads_the_first_position_only(hybridize):
    head = NSClassifier(units=12)
    head.initialize()
    if hybridize:
        head.hybridize()
    X = encodings()
    logits = head(X)
    assert logits.shape == (2, 1)
    X[:, 1:] = 0
    np.testing.assert_array_equal(head(X).asnumpy(), logits.asnumpy())
    loss = gluon.loss.SigmoidBinaryCrossEntropyLoss()(logits, nd.array([0, 1]))
    assert np.isfinite(loss.asnumpy()).all()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7)), min_size=1, max_size=12))
def test_decoder_scores_exactly_the_masked_positions(pairs):
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    X = encodings()
    logits = decoder(X, nd.array(np.array(pairs).T))
    assert logits.shape == (len(pairs), 30)
    for row, (sample, position) in zip(logits, pairs, strict=True):
        alone = decoder.decoder(X[sample, position].reshape((1, -1)))
        np.testing.assert_allclose(row.asnumpy(), alone[0].asnumpy(), atol=1e-6)


def test_the_seeds_wrong_position_raises_at_the_call():
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    with pytest.raises(IndexError, match="position 8"):
        decoder(encodings(), nd.array([[0, 1], [4, 8]]))


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pair", [(2, 0), (-1, 0), (0, 8), (1, -1)])
def test_out_of_range_positions_raise(hybridize, pair):
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    if hybridize:
        decoder.hybridize()
        decoder(encodings(), nd.array([[0], [0]]))
    with pytest.raises(IndexError, match=str(pair[1])):
        decoder(encodings(), nd.array([[0, pair[0]], [0, pair[1]]]))


@pytest.mark.parametrize("shape", [(3, 2), (2,), (1, 2, 2)])
def test_positions_of_a_wrong_shape_raise(shape):
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    with pytest.raises(ValueError, match=r"\(2, M\)"):
        decoder(encodings(), nd.zeros(shape))


def test_tied_decoder_trains_the_word_embedding_from_both_sides():
    bert = BERTModel(30, 12, 24, 2, 1, 0.0, max_length=8)
    bert.initialize()
    decoder = MLMDecoder(30, 12, word_embed=bert.encoder.word_embed)
    assert decoder.decoder[3].weight is bert.encoder.word_embed.weight
    for layer in decoder.decoder[:3]:
        layer.initialize()
    decoder.decoder[3].bias.initialize()
    words = nd.array([[3, 4, 5]])
    with autograd.record():
        sequence, _ = bert(words, nd.zeros((1, 3)), None)
        loss = gluon.loss.SoftmaxCELoss()(decoder(sequence, nd.array([[0], [1]])), nd.array([9])).sum()
    loss.backward()
    gradient = bert.encoder.word_embed.weight.grad().asnumpy()
    assert abs(gradient[9]).max() > 0  # as an output
    assert abs(gradient[3]).max() > 0  # as an input


def make_bert(backend="ours", layers=1):
    """With weights that make the positions matter."""
    sizes = {"units": 12, "hidden_size": 24, "num_heads": 2, "num_layers": layers, "dropout": 0.1, "max_length": 8}
    if backend == "ours":
        bert = BERTModel(30, **sizes)
    else:
        encoder = nlp.model.BERTEncoder(**sizes)
        bert = nlp.model.BERTModel(
            encoder, 30, token_type_vocab_size=2, units=12, embed_size=12, use_decoder=False, use_classifier=False
        )
    bert.initialize(mx.init.Normal(0.5))
    return bert


WORDS, SEGMENTS, LENGTHS = [[3, 4, 5, 9], [6, 7, 1, 1], [2, 8, 9, 1]], np.zeros((3, 4)), [4, 2, 3]


def batch():
    return nd.array(WORDS), nd.array(SEGMENTS), nd.array(LENGTHS)


def vectors(pooling, sequence, pooled, lengths):
    """What each pooling gives of BERT's outputs, by hand."""
    if pooling == "mean":
        return np.stack([row[:length].mean(axis=0) for row, length in zip(sequence, lengths, strict=True)])
    return pooled if pooling == "pooler" else sequence[:, 0]


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_classifier_takes_either_bert(backend, pooling, hybridize):
    net = BERTClassifier(make_bert(backend), 3, pooling=pooling)
    net.classifier.initialize(mx.init.Normal(0.5))
    words, segments, lengths = batch()
    expected = []
    for valid_length, counted in ((lengths, LENGTHS), (None, [4, 4, 4])):
        sequence, pooled = (array.asnumpy() for array in net.bert(words, segments, valid_length))
        X = vectors(pooling, sequence, pooled, counted)
        expected.append(X @ net.classifier.weight.data().asnumpy().T + net.classifier.bias.data().asnumpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as Gluon's of a parameter that is not used
        if hybridize:
            net.hybridize(static_alloc=True)
        for valid_length, logits in zip((lengths, None), expected, strict=True):
            np.testing.assert_allclose(net(words, segments, valid_length).asnumpy(), logits, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_hybridized_classifier_finds_the_sizes_that_gluonnlp_leaves_open(pooling):
    net = BERTClassifier(make_bert("gluonnlp"), 3, pooling=pooling)
    net.classifier.initialize()
    net.hybridize(static_alloc=True)
    first = net(*batch()).asnumpy()
    net.hybridize(False)
    np.testing.assert_allclose(net(*batch()).asnumpy(), first, atol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_sentence_encoder_takes_either_bert(backend, pooling, hybridize):
    net = SentenceEncoder(make_bert(backend), pooling)
    words, segments, lengths = batch()
    expected = []
    for valid_length, counted in ((lengths, LENGTHS), (None, [4, 4, 4])):
        sequence, pooled = (array.asnumpy() for array in net.bert(words, segments, valid_length))
        X = vectors(pooling, sequence, pooled, counted)
        expected.append(X / np.linalg.norm(X, axis=1, keepdims=True))
    if hybridize:
        net.hybridize(static_alloc=True)
    for valid_length, X in zip((lengths, None), expected, strict=True):
        np.testing.assert_allclose(net(words, segments, valid_length).asnumpy(), X, atol=1e-6)


@pytest.mark.parametrize("make", [lambda bert, **how: BERTClassifier(bert, 3, **how), SentenceEncoder])
def test_an_unknown_pooling_is_refused(make):
    with pytest.raises(ValueError, match="pooling must be one of pooler, cls, mean; got 'max'"):
        make(make_bert(), pooling="max")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_stands_in_the_padding_does_not_matter(pooling):
    net = BERTClassifier(make_bert(), 3, pooling=pooling)
    net.classifier.initialize()
    words, segments, lengths = batch()
    logits = net(words, segments, lengths).asnumpy()
    words[1, 2:] = 20
    np.testing.assert_allclose(net(words, segments, lengths).asnumpy(), logits, atol=1e-6)
    alone = net(words[1:2, :2], segments[1:2, :2])
    np.testing.assert_allclose(alone.asnumpy(), logits[1:2], atol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_training_leaves_a_pooler_alone_that_nobody_reads(backend, pooling, hybridize):
    net = BERTClassifier(make_bert(backend), 2, pooling=pooling)
    net.classifier.initialize()
    words, segments, lengths = batch()
    net(words, segments, lengths)  # GluonNLP's layers wait to see their input's size
    if hybridize:
        net.hybridize(static_alloc=True)
    before = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    data = [(words, lengths, segments, nd.array([0, 1, 1]))]
    train_loop(net, data, None, 2, 1e-2, mx.cpu(), gluon.loss.SoftmaxCELoss(), seed=1)
    after = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == (set() if pooling == "pooler" else {"bert.pooler.weight", "bert.pooler.bias"})


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_last_block_computes_no_more_than_is_read(pooling, monkeypatch):
    net = BERTClassifier(make_bert(layers=2), 2, pooling=pooling)
    net.classifier.initialize()
    calls, encode_cls = [], EncoderBlock.encode_cls
    monkeypatch.setattr(EncoderBlock, "encode_cls", lambda *args: calls.append(1) or encode_cls(*args))
    net(*batch())
    assert len(calls) == (pooling != "mean")


def test_classifier_raises_out_of_range_even_when_hybridized():
    bert = BERTModel(30, 12, 24, 2, 1, 0.1, max_length=8)
    net = BERTClassifier(bert, 2)
    net.initialize()
    net.hybridize(static_alloc=True)
    segments = nd.zeros((1, 3))
    net(nd.array([[3, 4, 5]]), segments)
    with pytest.raises(IndexError, match="30"):
        net(nd.array([[3, 4, 30]]), segments)


def test_classifier_drops_out_in_training_only():
    bert = BERTModel(30, 12, 24, 2, 1, 0.0, max_length=8)
    net = BERTClassifier(bert, 2, dropout=0.9)
    net.initialize()
    inputs = nd.array([[3, 4, 5]]), nd.zeros((1, 3))
    np.testing.assert_array_equal(net(*inputs).asnumpy(), net(*inputs).asnumpy())
    with autograd.train_mode():
        outputs = {net(*inputs).asnumpy().tobytes() for _ in range(8)}
    assert len(outputs) > 1


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_classifier_equals_what_is_computed_from_the_whole_output(pooling, hybridize):
    """Logits and all gradients, against BERTModel's full output, also where the last block computes [CLS] alone."""
    bert = BERTModel(vocab_size=30, units=8, hidden_size=16, num_heads=2, num_layers=2, dropout=0.0)
    net = BERTClassifier(bert, 2, dropout=0.0, pooling=pooling)
    net.initialize()
    for parameter in net.collect_params().values():  # weights that make the positions matter
        parameter.set_data(nd.random.normal(0, 0.5, shape=parameter.shape))
    words, segments = nd.array(np.random.randint(0, 30, (3, 6))), nd.zeros((3, 6))
    valid_length = nd.array([6, 2, 4])
    results = []

    def from_whole_output():
        sequence, pooled = bert(words, segments, valid_length)
        means = [sequence[i, :length].mean(axis=0, keepdims=True) for i, length in enumerate((6, 2, 4))]
        means = nd.concat(*means, dim=0)
        return net.classifier({"pooler": pooled, "cls": sequence[:, 0], "mean": means}[pooling])

    for whole in (True, False):
        if hybridize and not whole:
            net.hybridize(static_alloc=True)
        with autograd.record():
            logits = from_whole_output() if whole else net(words, segments, valid_length)
            loss = (logits * nd.array([[1, -2], [3, 1], [-1, 2]])).sum()
        loss.backward()
        gradients = {name: p.grad().asnumpy() for name, p in net._collect_params_with_prefix().items()}
        results.append({"logits": logits.asnumpy(), **gradients})
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, atol=1e-4, err_msg=name)
    unused = {name for name, value in results[0].items() if np.abs(value).max() == 0 and "W_k.bias" not in name}
    assert unused == ({"bert.pooler.weight", "bert.pooler.bias"} if pooling != "pooler" else set())
