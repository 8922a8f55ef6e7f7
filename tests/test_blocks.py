"""The blocks against the paper's formulas in plain NumPy, their gradients, and their hybrid form."""

import math

from bert_tutorial import (
    AddNorm,
    DotProductAttention,
    EncoderBlock,
    MultiHeadAttention,
    PositionalEncoding,
    PositionWiseFFN,
    seed_everything,
)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, nd


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def random(*shape):
    return np.random.randn(*shape).astype("float32")


def linear(layer, x):
    return x @ layer.weight.data().asnumpy().T + layer.bias.data().asnumpy()


def initialised(block):
    """Random parameters large enough that a wrong one shows."""
    block.initialize()
    for parameter in block.collect_params().values():
        if parameter.shape and 0 not in parameter.shape:
            parameter.set_data(nd.array(random(*parameter.shape) * 0.5))
    return block


@pytest.fixture(autouse=True)
def seed():
    seed_everything(7)


shapes = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7), st.integers(1, 9))


@settings(max_examples=30)
@given(shapes, st.booleans())
def test_dot_product_attention_is_the_papers_formula(shape, masked):
    n, lq, lk, d = shape
    query, key, value = random(n, lq, d), random(n, lk, d), random(n, lk, d)
    mask = np.random.randint(0, 2, (n, lq, lk))
    mask[..., 0] = 1  # every query sees something
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(d)
    if masked:
        scores = np.where(mask, scores, -np.inf)
    inputs = [nd.array(x) for x in (query, key, value)] + ([nd.array(mask)] if masked else [])
    found = DotProductAttention(dropout=0.5)(*inputs)  # no dropout outside training
    np.testing.assert_allclose(found.asnumpy(), softmax(scores) @ value, atol=2e-5)


def test_multi_head_attention_joins_the_heads():
    units, heads, length = 12, 3, 5
    block = initialised(MultiHeadAttention(units, heads, dropout=0.1))
    x = random(2, length, units)
    query, key, value = (linear(layer, x) for layer in (block.W_q, block.W_k, block.W_v))
    size = units // heads
    context = [
        softmax(query[..., h : h + size] @ key[..., h : h + size].transpose(0, 2, 1) / math.sqrt(size))
        @ value[..., h : h + size]
        for h in range(0, units, size)
    ]
    expected = linear(block.W_o, np.concatenate(context, axis=-1))
    X = nd.array(x)
    np.testing.assert_allclose(block(X, X, X).asnumpy(), expected, atol=1e-4)


def test_query_and_key_may_differ_in_length():
    block = initialised(MultiHeadAttention(8, 2, dropout=0))
    query, key = nd.array(random(3, 4, 8)), nd.array(random(3, 6, 8))
    assert block(query, key, key).shape == (3, 4, 8)


def test_units_must_divide_into_heads():
    with pytest.raises(ValueError, match=r"10.*3"):
        MultiHeadAttention(10, 3, dropout=0)


def test_position_wise_ffn_uses_the_erf_gelu():
    block = initialised(PositionWiseFFN(6, 10))
    x = random(2, 3, 6)
    expected = linear(block.dense2, gelu(linear(block.dense1, x)))
    np.testing.assert_allclose(block(nd.array(x)).asnumpy(), expected, atol=1e-4)


def test_add_norm_has_berts_epsilon():
    block = AddNorm(dropout=0.3)
    block.initialize()
    x, y = random(2, 3, 6) * 1e-4, random(2, 3, 6) * 1e-4  # so small that Gluon's 1e-5 would show
    np.testing.assert_allclose(block(nd.array(x), nd.array(y)).asnumpy(), layer_norm(x + y), atol=1e-3)


def test_positional_encoding_adds_the_table():
    block = initialised(PositionalEncoding(6, dropout=0, max_length=9))
    x = random(2, 5, 6)
    expected = x + block.weight.data().asnumpy()[:5]
    np.testing.assert_allclose(block(nd.array(x)).asnumpy(), expected, atol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
def test_positions_beyond_the_table_raise(hybridize):
    block = initialised(PositionalEncoding(6, dropout=0, max_length=9))
    if hybridize:
        block.hybridize()
    assert block(nd.ones((1, 9, 6))).shape == (1, 9, 6)
    with pytest.raises(IndexError, match="10"):
        block(nd.ones((1, 10, 6)))


def encoder_block(x, block):
    attention = block.attention(*[nd.array(x)] * 3).asnumpy()

    def norm(sublayer, y):
        return layer_norm(y) * sublayer.norm.gamma.data().asnumpy() + sublayer.norm.beta.data().asnumpy()

    x = norm(block.addnorm1, x + attention)
    return norm(block.addnorm2, x + block.ffn(nd.array(x)).asnumpy())


def test_encoder_block_is_attention_and_ffn_with_residuals():
    block = initialised(EncoderBlock(8, 16, 2, dropout=0.1))
    x = random(2, 5, 8)
    np.testing.assert_allclose(block(nd.array(x)).asnumpy(), encoder_block(x, block), atol=1e-4)


def test_a_hidden_position_changes_nothing():
    block = initialised(EncoderBlock(8, 16, 2, dropout=0))
    x = random(1, 5, 8)
    mask = nd.array([[[1, 1, 1, 0, 1]]])
    before = block(nd.array(x), mask).asnumpy()
    x[0, 3] += 5
    after = block(nd.array(x), mask).asnumpy()
    visible = [0, 1, 2, 4]
    np.testing.assert_allclose(after[0, visible], before[0, visible], atol=1e-6)
    assert abs(after[0, 3] - before[0, 3]).max() > 0.1


def test_hybridized_equals_plain():
    block = initialised(EncoderBlock(8, 16, 2, dropout=0.1))
    inputs = nd.array(random(2, 5, 8)), nd.array(np.tril(np.ones((2, 5, 5))))
    plain = block(*inputs).asnumpy()
    block.hybridize(static_alloc=True)
    np.testing.assert_allclose(block(*inputs).asnumpy(), plain, atol=1e-6)


def test_gradient_equals_finite_differences():
    block = initialised(EncoderBlock(4, 6, 2, dropout=0))
    X, mask, weight = nd.array(random(2, 3, 4)), nd.array([[[1, 1, 0]], [[1, 1, 1]]]), nd.array(random(2, 3, 4))
    parameter = block.attention.W_k.weight

    def loss():
        return (block(X, mask) * weight).sum()

    with autograd.record():
        value = loss()
    value.backward()
    gradient = parameter.grad().asnumpy()
    start = parameter.data().asnumpy()
    step = 1e-2
    for index in np.ndindex(*start.shape):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * step
            parameter.set_data(nd.array(moved))
            ends.append(loss().asscalar())
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-2)


def test_dropout_acts_in_training_only():
    block = initialised(EncoderBlock(8, 16, 2, dropout=0.5))
    X = nd.array(random(2, 5, 8))
    with autograd.record():
        first, second = block(X).asnumpy(), block(X).asnumpy()
    assert abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(block(X).asnumpy(), block(X).asnumpy())
