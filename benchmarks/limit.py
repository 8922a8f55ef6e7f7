"""The machine's limit: BERT's matrix products alone, each by the fastest of MXNet's ways to compute it."""

import time

from mxnet import nd


def layer_products(batch_size, length, units, hidden_size, num_heads, training):
    """The matrix products of one encoder layer.

    Parameters
    ----------
    batch_size, length, units, hidden_size, num_heads : int
    training : bool
        Add those of the backward pass: two for each of the forward pass, one for each factor's gradient.

    Returns
    -------
    list of callables
        Each computes one product, as an NDArray that may still be under way.
    """
    tokens, heads, head_units = batch_size * length, batch_size * num_heads, units // num_heads
    sizes = [  # batch, rows, columns, inner size
        (1, tokens, 3 * units, units),  # query, key and value at once
        (1, tokens, units, units),
        (1, tokens, hidden_size, units),
        (1, tokens, units, hidden_size),
        (heads, length, length, head_units),  # scores
        (heads, length, head_units, length),  # weighted values
    ]
    if training:
        sizes += [gradient for batch, m, n, k in sizes for gradient in ((batch, m, k, n), (batch, n, k, m))]
    return [_fastest(*size) for size in sizes]


def _fastest(batch, m, n, k):
    """The fastest way to `batch` products (m, k) x (k, n), whatever the layout of the factors."""
    stack = () if batch == 1 else (batch,)
    a, a_t, b, b_t = (nd.random.normal(shape=(*stack, *shape)) for shape in ((m, k), (k, m), (k, n), (n, k)))
    nd.waitall()
    dot = nd.dot if batch == 1 else nd.batch_dot
    ways = [lambda: dot(a, b), lambda: dot(a, b_t, transpose_b=True), lambda: dot(a_t, b, transpose_a=True)]
    if batch == 1:
        ways.append(lambda: nd.FullyConnected(a, b_t, num_hidden=n, no_bias=True))
    for way in ways:
        _seconds(way)  # the first run allocates
    return min(ways, key=_seconds)


def _seconds(way):
    start = time.perf_counter()
    way().wait_to_read()
    return time.perf_counter() - start
