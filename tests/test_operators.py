"""BERT's own CPU operators against the same functions in MXNet's operators: values, gradients, dropout."""

import os
import subprocess
import sys

from bert_tutorial import operators
from bert_tutorial.blocks import AddNorm, EncoderBlock, MultiHeadAttention, PositionWiseFFN

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, nd

pytestmark = pytest.mark.skipif(not operators.available(), reason=operators.status()[1])

sizes = st.integers(1, 70)


def array(*shape, seed=0):
    return nd.array(np.random.RandomState(seed).normal(size=shape))


def run(block, inputs, plain, train_mode=False):
    """Output, and the gradients of inputs and parameters, of sum(output * weights)."""
    parameters = [p for p in block.collect_params().values() if p.grad_req != "null"]
    for x in inputs:
        x.attach_grad()
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            patch.setattr(operators, "available", lambda: False)
        with autograd.record(train_mode=train_mode):
            out = block(*inputs)
            loss = (out * array(*out.shape, seed=9)).sum()
        loss.backward()
    return [out.asnumpy(), *(x.grad.asnumpy() for x in inputs), *(p.grad().asnumpy() for p in parameters)]


def assert_same(block, *inputs):
    block.initialize(mx.init.Normal(0.3))
    for ours, plain in zip(run(block, inputs, plain=False), run(block, inputs, plain=True), strict=True):
        scale = max(1, np.abs(plain).max())
        np.testing.assert_allclose(ours / scale, plain / scale, atol=3e-6)


@settings(max_examples=25)
@given(sizes, sizes, st.integers(1, 3), st.sampled_from([(1, 3), (2, 8), (3, 16), (2, 20), (1, 64)]), st.data())
def test_attention(num_queries, num_keys, num_samples, heads_and_size, data):
    heads, size = heads_and_size
    mask_rows = data.draw(st.sampled_from([1, num_queries]))
    mask = np.random.RandomState(1).uniform(size=(num_samples, mask_rows, num_keys)) < 0.7
    mask[:, :, 0] = True
    query, keys = array(num_samples, num_queries, heads * size), array(num_samples, num_keys, heads * size, seed=1)
    block = MultiHeadAttention(heads * size, heads, dropout=0.1)
    block.initialize(mx.init.Normal(0.3))
    results = []
    for plain in (False, True):
        for x in (query, keys):
            x.attach_grad()

        class Masked(mx.gluon.Block):  # the mask has no gradient
            def forward(self, query, keys):
                return block(query, keys, keys, nd.array(mask))

        masked = Masked()
        masked.register_child(block)
        results.append(run(masked, [query, keys], plain))
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-4 * max(1, np.abs(plain).max()))


@settings(max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=2), st.integers(8, 70))
def test_add_norm(shape, units):
    """From 8 units: the variance of fewer numbers can come so near 0 that rounding shows in any implementation."""
    assert_same(AddNorm(0.1, in_channels=units), array(*shape, units), array(*shape, units, seed=1))


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 150), st.sampled_from([1, 5, 64, 400, 800]))
def test_feed_forward(rows, units, hidden_size):
    assert_same(PositionWiseFFN(units, hidden_size), array(2, rows, units))


def test_gelu_in_the_tails():
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e4, 1e4]]).astype("float32")
    with_own = nd.bert_gelu(nd.array(x)).asnumpy()
    np.testing.assert_allclose(with_own, nd.LeakyReLU(nd.array(x), act_type="gelu").asnumpy(), atol=1e-6)


def test_not_a_number_is_passed_on():
    """Otherwise a training that diverges would not be noticed."""
    bad = nd.array([[[1, float("nan"), 3]]])
    good = nd.ones((1, 1, 3))
    norm = nd.bert_add_norm(bad, good, nd.ones(3), nd.zeros(3), nd.ones(1), dropout=0, epsilon=1e-12)[0]
    weighted = nd.bert_attention(good, good, bad, nd.ones((1, 1, 1)), nd.ones(1), num_heads=1, dropout=0)[0]
    for out in (norm, weighted, nd.bert_gelu(bad), nd.bert_dense(bad, nd.ones((2, 3)), nd.zeros(2))):
        assert np.isnan(out.asnumpy()).any()


@pytest.mark.parametrize("hybridize", [False, True])
def test_gradients_are_added_where_asked(hybridize):
    """grad_req="add", which accumulates gradients over several batches."""
    ffn, norm = PositionWiseFFN(8, 40), AddNorm(0.0, in_channels=8)
    block = mx.gluon.nn.HybridSequential()
    block.add(ffn)
    block.initialize(mx.init.Normal(0.3))
    norm.initialize(mx.init.Normal(0.3))
    if hybridize:
        block.hybridize(static_alloc=True)
        norm.hybridize(static_alloc=True)
    parameters = [*block.collect_params().values(), *norm.collect_params().values()]
    for parameter in parameters:
        parameter.grad_req = "add"
    X = array(3, 8)
    gradients = []
    for _ in range(2):
        with autograd.record():
            loss = (norm(X, block(X)) ** 2 * array(3, 8, seed=2)).sum()
        loss.backward()
        gradients.append([p.grad().asnumpy() for p in parameters])
    for once, twice in zip(*gradients, strict=True):
        np.testing.assert_allclose(2 * once, twice, rtol=1e-5, atol=1e-7)
    assert any(np.abs(g).max() > 1e-3 for g in gradients[0])


# --- dropout: the operators draw their own masks -----------------------------------------------------------------
RATE = 0.25


def dropped(seed, rows=400, units=50):
    """Which elements of Y LayerNorm(X + dropout(Y)) dropped, seen in the gradient of Y."""
    mx.random.seed(seed)
    X, Y = array(rows, units), array(rows, units, seed=1)
    Y.attach_grad()
    with autograd.record():
        out = nd.bert_add_norm(X, Y, nd.ones(units), nd.zeros(units), nd.zeros(1), dropout=RATE, epsilon=1e-12)[0]
        loss = (out * array(rows, units, seed=2)).sum()
    loss.backward()
    return Y.grad.asnumpy() == 0


def test_dropout_rate_and_seed():
    masks = dropped(1)
    assert abs(masks.mean() - RATE) < 4 * np.sqrt(RATE * (1 - RATE) / masks.size)
    np.testing.assert_array_equal(masks, dropped(1))
    assert (masks != dropped(2)).any()
    # neither rows nor columns nor neighbours share their fate
    assert abs(np.corrcoef(masks[:, :-1].ravel(), masks[:, 1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(masks[:-1].ravel(), masks[1:].ravel())[0, 1]) < 0.03
    assert masks.mean(axis=0).std() < 2 * np.sqrt(RATE * (1 - RATE) / masks.shape[0])
    assert masks.mean(axis=1).std() < 2 * np.sqrt(RATE * (1 - RATE) / masks.shape[1])


def test_attention_dropout_keeps_the_mean_and_gives_the_right_gradient():
    mx.random.seed(3)
    length, units = 64, 16
    query, key, value = array(2, length, units), array(2, length, units, seed=1), nd.ones((2, length, units))
    mask = nd.ones((2, 1, length))

    def attend(value, mode):
        return nd.bert_attention(query, key, value, mask, mode, num_heads=2, dropout=RATE)[0]

    value.attach_grad()
    with autograd.record():
        out = attend(value, nd.zeros(1))
        total = out.sum()
    total.backward()
    assert abs(out.asnumpy().mean() - 1) < 0.05  # the sums of the weights, 1 on average
    assert out.asnumpy().std() > 0.02
    # linear in the value: <dO/dV, V> = sum of O, only if both passes drop the same weights
    np.testing.assert_allclose((value.grad * value).sum().asscalar(), total.asscalar(), rtol=1e-4)
    np.testing.assert_allclose(attend(value, nd.ones(1)).asnumpy(), 1, rtol=1e-5)  # predicting: none is dropped


def test_attention_gradient_with_dropout_by_differences():
    length, units, step = 6, 4, 1e-2
    arrays = [array(1, length, units, seed=i) for i in range(3)]
    weights = array(1, length, units, seed=7)
    mask = nd.ones((1, 1, length))

    def loss():
        mx.random.seed(5)  # the same mask each time
        out = nd.bert_attention(*arrays, mask, nd.zeros(1), num_heads=2, dropout=RATE)[0]
        return (out * weights).sum()

    for x in arrays:
        x.attach_grad()
    with autograd.record():
        total = loss()
    total.backward()
    for x in arrays:
        gradient = x.grad.asnumpy()
        values = x.asnumpy()
        for at in [(0, 0, 0), (0, 3, 2), (0, 5, 3)]:
            ends = []
            for sign in (1, -1):
                shifted = values.copy()
                shifted[at] += sign * step
                x[:] = shifted
                ends.append(loss().asscalar())
            x[:] = values
            assert abs((ends[0] - ends[1]) / (2 * step) - gradient[at]) < 2e-3


# --- loading ----------------------------------------------------------------------------------------------------
def status_in_new_process(**environment):
    code = "from bert_tutorial import operators; print(operators.status())"
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout.strip().splitlines()[-1]


def test_plain_operators_on_request():
    assert status_in_new_process(BERT_TUTORIAL_OPERATORS="plain").startswith("(False")


def test_a_failing_compiler_is_no_error(monkeypatch, tmp_path):
    operators.status.cache_clear()
    monkeypatch.setattr(operators, "_library_path", lambda: tmp_path / "operators.so")
    monkeypatch.setenv("CXX", f"{sys.executable} -c 'raise SystemExit(1)'")
    try:
        loaded, reason = operators.status()
    finally:
        operators.status.cache_clear()
    assert not loaded
    assert "compile" in reason
    assert list(tmp_path.iterdir()) == []


def test_wrong_shapes_are_named():
    with pytest.raises(mx.MXNetError, match="same shape"):
        nd.bert_add_norm(nd.ones((2, 3)), nd.ones((2, 4)), nd.ones(3), nd.ones(3), nd.ones(1), dropout=0, epsilon=1e-5)
    X = nd.ones((2, 5, 4))
    with pytest.raises(mx.MXNetError, match="mask"):
        nd.bert_attention(X, X, X, nd.ones((2, 1, 4)), nd.ones(1), num_heads=2, dropout=0)


@pytest.mark.parametrize("hybridize", [False, True])
def test_inputs_that_need_no_gradient(hybridize):
    """MXNet may give the operator no memory for a gradient that nobody asked for."""
    block = EncoderBlock(units=8, hidden_size=16, num_heads=2, dropout=0.1)
    block.initialize(mx.init.Normal(0.3))
    if hybridize:
        block.hybridize(static_alloc=True)
    parameters = block.collect_params()
    frozen = [p for name, p in parameters.items() if not name.endswith("gamma")]
    for parameter in frozen:
        parameter.grad_req = "null"
    for _ in range(3):
        with autograd.record():
            loss = (block(array(300, 5, 8), nd.ones((300, 1, 5))) ** 2).sum()
        loss.backward()
        assert all(np.abs(p.grad().asnumpy()).max() > 0 for p in parameters.values() if p not in frozen)
