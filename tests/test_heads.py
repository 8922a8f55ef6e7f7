"""The two pre-training heads and the classifier."""

from bert_tutorial import BERTClassifier, BERTModel, MLMDecoder, NSClassifier, seed_everything

import gluonnlp as nlp
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


@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_classifier_takes_either_bert(backend):
    if backend == "ours":
        bert = BERTModel(30, 12, 24, 2, 1, 0.1, max_length=8)
    else:
        encoder = nlp.model.BERTEncoder(num_layers=1, units=12, hidden_size=24, num_heads=2, max_length=8, dropout=0.1)
        bert = nlp.model.BERTModel(
            encoder, 30, token_type_vocab_size=2, units=12, embed_size=12, use_decoder=False, use_classifier=False
        )
    bert.initialize()
    net = BERTClassifier(bert, 3)
    net.classifier.initialize()
    words, segments, lengths = nd.array([[3, 4, 5], [6, 7, 1]]), nd.zeros((2, 3)), nd.array([3, 2])
    plain = net(words, segments, lengths)
    assert plain.shape == (2, 3)
    net.hybridize(static_alloc=True)
    np.testing.assert_allclose(net(words, segments, lengths).asnumpy(), plain.asnumpy(), atol=1e-6)


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
def test_classifier_that_computes_only_cls_equals_the_whole_last_block(hybridize):
    """Logits and all gradients, against the pooled encoding of BERTModel's full output."""
    bert = BERTModel(vocab_size=30, units=8, hidden_size=16, num_heads=2, num_layers=2, dropout=0.0)
    net = BERTClassifier(bert, 2, dropout=0.0)
    net.initialize()
    for parameter in net.collect_params().values():  # weights that make the positions matter
        parameter.set_data(nd.random.normal(0, 0.5, shape=parameter.shape))
    words, segments = nd.array(np.random.randint(0, 30, (3, 6))), nd.zeros((3, 6))
    valid_length = nd.array([6, 2, 4])
    results = []
    for whole in (True, False):
        if hybridize and not whole:
            net.hybridize(static_alloc=True)
        with autograd.record():
            logits = (
                net.classifier(bert(words, segments, valid_length)[1]) if whole else net(words, segments, valid_length)
            )
            loss = (logits * nd.array([[1, -2], [3, 1], [-1, 2]])).sum()
        loss.backward()
        gradients = {name: p.grad().asnumpy() for name, p in net._collect_params_with_prefix().items()}
        results.append({"logits": logits.asnumpy(), **gradients})
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, atol=1e-4, err_msg=name)
    assert all(np.abs(value).max() > 0 for name, value in results[0].items() if "W_k.bias" not in name)
