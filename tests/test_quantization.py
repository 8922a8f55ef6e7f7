"""Dense layers in int8: near the float ones, and in the whole classifier."""

from bert_tutorial import BERTClassifier, BERTModel, load_pretrained, seed_everything
from bert_tutorial.heads import POOLINGS
from bert_tutorial.machine import operators
from bert_tutorial.machine.cpu import cpu_flags
from bert_tutorial.quantization import VNNI, QuantizedDense, quantize

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import init, nd
from mxnet.gluon import nn

needs_vnni = pytest.mark.skipif(
    not (cpu_flags() & VNNI and operators.available()), reason="int8 needs VNNI and BERT's own operators"
)


@pytest.fixture(autouse=True)
def seed():
    seed_everything(3)


def dense_layer(units, in_units):
    layer = nn.Dense(units, in_units=in_units, flatten=False, bias_initializer=init.Normal(1))
    layer.initialize(init.Normal(1))
    return layer


def error_bound(layer, X):
    """Largest error that rounding X and W by half a step can make: |e_X W| + |X e_W| + |e_X e_W|."""
    W, X = np.abs(layer.weight.data().asnumpy()), np.abs(X.asnumpy())
    half_X = X.max(axis=-1, keepdims=True) / 127 / 2  # (..., 1): a scale for each row
    half_W = W.max(axis=1) / 127 / 2  # (units,): a scale for each output channel
    return half_X * W.sum(axis=1) + X.sum(axis=-1, keepdims=True) * half_W + W.shape[1] * half_X * half_W


@needs_vnni
@settings(max_examples=30)
@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.floats(0.01, 100), st.booleans()
)
def test_int8_layer_errs_no_more_than_rounding_does(samples, length, in_units, units, size, hybridize):
    layer = dense_layer(units, in_units)
    X = nd.random.uniform(-size, size, shape=(samples, length, in_units))
    quantized = QuantizedDense(layer)
    quantized.hybridize(hybridize)
    error = np.abs((quantized(X) - layer(X)).asnumpy())
    assert (error <= error_bound(layer, X) * 1.001 + 1e-5 * size).all()


@needs_vnni
def test_each_output_channel_has_its_own_scale():
    layer = dense_layer(2, 64)
    layer.weight.set_data(layer.weight.data() * nd.array([[1000], [0.001]]))
    layer.bias.set_data(nd.zeros(2))
    X = nd.random.normal(shape=(1, 8, 64))
    quantized, exact = QuantizedDense(layer)(X).asnumpy(), layer(X).asnumpy()
    error = np.linalg.norm(quantized - exact, axis=(0, 1)) / np.linalg.norm(exact, axis=(0, 1))
    assert (error < 0.03).all()


@needs_vnni
def test_one_large_word_does_not_coarsen_the_others():
    layer = dense_layer(8, 64)
    X = nd.random.normal(shape=(1, 8, 64))
    quantized = QuantizedDense(layer)
    alone = quantized(X).asnumpy()
    X[0, 0, 0] = 1e4
    np.testing.assert_array_equal(quantized(X).asnumpy()[:, 1:], alone[:, 1:])


@needs_vnni
def test_a_row_of_zeros_gives_the_bias():
    layer = dense_layer(5, 7)
    np.testing.assert_allclose(QuantizedDense(layer)(nd.zeros((1, 2, 7))).asnumpy()[0, 1], layer.bias.data().asnumpy())


@needs_vnni
def test_shapes_may_change_from_call_to_call():
    layer = dense_layer(24, 16)
    quantized = QuantizedDense(layer)
    quantized.hybridize(static_alloc=True)
    for shape in ((2, 30, 16), (1, 1, 16), (5, 64, 16), (2, 30, 16)):
        X = nd.random.normal(shape=shape)
        error = (quantized(X) - layer(X)).norm() / layer(X).norm()
        assert error.asscalar() < 0.03, shape


def classifier(tiny_checkpoint, pooling="pooler"):
    bert, vocabulary = load_pretrained(tiny_checkpoint)
    net = BERTClassifier(bert, 2, pooling=pooling)
    net.classifier.initialize(init.Normal(0.5))
    return net, len(vocabulary)


def batch(vocab_size, samples=6, length=20):
    words = nd.array(np.random.randint(0, vocab_size, (samples, length)))
    return words, nd.array(np.random.randint(1, length + 1, samples)), nd.zeros((samples, length)), nd.zeros(samples)


@needs_vnni
@pytest.mark.parametrize("pooling", POOLINGS)
def test_int8_classifier_stays_close_to_the_float_one(tiny_checkpoint, pooling):
    net, vocab_size = classifier(tiny_checkpoint, pooling)
    tests = [(words, segments, lengths) for words, lengths, segments, _ in (batch(vocab_size), batch(vocab_size, 2, 9))]
    exact = [net(*arrays).softmax().asnumpy() for arrays in tests]
    quantize(net)
    for arrays, expected in zip(tests, exact, strict=True):
        got = net(*arrays).softmax().asnumpy()
        assert not np.array_equal(got, expected), "nothing was quantised"
        np.testing.assert_allclose(got, expected, atol=0.05)


@needs_vnni
def test_only_the_encoders_dense_layers_are_replaced(tiny_checkpoint):
    net, _ = classifier(tiny_checkpoint)
    quantize(net)
    for block in net.bert.encoder.blks:
        attention, ffn = block.attention, block.ffn
        layers = [attention.W_q, attention.W_k, attention.W_v, attention.W_o, ffn.dense1, ffn.dense2]
        assert all(isinstance(layer, QuantizedDense) for layer in layers)
    assert type(net.classifier) is type(net.bert.pooler) is nn.Dense


@needs_vnni
def test_quantize_says_what_it_cannot_take(tiny_checkpoint):
    net, _ = classifier(tiny_checkpoint)
    with pytest.raises(TypeError, match="Dense"):
        quantize(nn.Dense(2))
    foreign, _ = load_pretrained(tiny_checkpoint, backend="gluonnlp")
    with pytest.raises(TypeError, match="BERTClassifier"):
        quantize(BERTClassifier(foreign, 2))
    quantize(net)
    with pytest.raises(ValueError, match="already"):
        quantize(net)


@pytest.mark.parametrize("flags", [{"avx2", "avx512f"}, {"asimd", "asimddp", "i8mm"}])
def test_a_cpu_without_vnni_is_refused(monkeypatch, flags):
    monkeypatch.setattr("bert_tutorial.quantization.cpu_flags", lambda: flags)
    net = BERTClassifier(BERTModel(30, 16, 32, 2, 1, 0.1, 64), 2)
    with pytest.raises(NotImplementedError, match="VNNI"):
        quantize(net)


@needs_vnni
def test_without_our_operators_it_says_why(tiny_checkpoint, monkeypatch):
    net, _ = classifier(tiny_checkpoint)
    monkeypatch.setattr("bert_tutorial.machine.operators.status", lambda: (False, "no compiler"))
    with pytest.raises(NotImplementedError, match="no compiler"):
        quantize(net)
