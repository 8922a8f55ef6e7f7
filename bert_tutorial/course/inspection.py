"""Look inside a trained BERT: where its heads look, and which words an answer hangs on.

In the shape comments: B samples, L positions, H heads, C units, N layers.
"""

import numpy as np
from mxnet import autograd, nd

from ..encoder import cls_encoding, mask_from_lengths


def attention_weights(bert, words, segments, valid_length=None):
    """Attention weights of every layer and head.

    Parameters
    ----------
    bert : BERTModel
    words : mxnet.nd.NDArray
        Word ids (B, L).
    segments : mxnet.nd.NDArray
        (B, L), 0 or 1.
    valid_length : mxnet.nd.NDArray, optional
        (B,)

    Returns
    -------
    np.ndarray
        (N, B, H, L, L); entry (n, b, h, i, j) says how much position i takes from position j. Each row sums to 1.

    Raises
    ------
    IndexError, ValueError
        As for `BERTEncoder`.

    Source: Vaswani et al. 2017, section 3.2.
    """
    encoder = bert.encoder
    words, segments, mask = encoder.prepare(words, segments, valid_length)
    states = _hidden_states(encoder, encoder.word_embed(words), segments, mask)
    return np.stack(
        [head_weights(blk.attention, X, mask).asnumpy() for blk, X in zip(encoder.blks, states[:-1], strict=True)]
    )


def head_weights(attention, X, mask):
    """Attention weights of one layer's self-attention.

    Parameters
    ----------
    attention : MultiHeadAttention
    X : mxnet.nd.NDArray
        What goes into the layer, (B, L, C).
    mask : mxnet.nd.NDArray
        0/1 array (B, 1 or L, L).

    Returns
    -------
    mxnet.nd.NDArray
        (B, H, L, L)
    """
    query, key = (attention.split_heads(nd, dense(X)) for dense in (attention.W_q, attention.W_k))  # (B * H, L, C / H)
    # with one-hot values, what attention takes from each position is its weight
    one_hot = nd.broadcast_axis(nd.eye(X.shape[1], ctx=X.context).expand_dims(0), axis=0, size=len(query))
    weights = attention.attention(query, key, one_hot, nd.repeat(mask, attention.num_heads, axis=0))  # (B * H, L, L)
    return weights.reshape((-4, -1, attention.num_heads, 0, 0))  # (B, H, L, L)


def scores_from_vectors(net, word_vectors, segments, valid_length=None):
    """What a classifier answers if its word vectors are these: `net` without the look-up of the words.

    Parameters
    ----------
    net : BERTClassifier
        With our `BERTModel` inside.
    word_vectors : mxnet.nd.NDArray
        (B, L, units), in place of `net.bert.encoder.word_embed(words)`.
    segments : mxnet.nd.NDArray
        (B, L), 0 or 1.
    valid_length : mxnet.nd.NDArray, optional
        (B,)

    Returns
    -------
    mxnet.nd.NDArray
        Logits (B, number of classes).

    Raises
    ------
    ValueError
        The word vectors' shape does not fit the segments and the network.
    """
    encoder = net.bert.encoder
    expected = (*segments.shape, encoder.pos_encoding.units)
    if word_vectors.shape != expected:
        raise ValueError(f"word_vectors must have the shape {expected} for these segments; got {word_vectors.shape}")
    mask = mask_from_lengths(nd, segments, valid_length)
    *_, encodings = _hidden_states(encoder, word_vectors, segments, mask)
    return net.classify(nd, encodings, net.bert.pooler(cls_encoding(encodings)), valid_length)


def _hidden_states(encoder, word_vectors, segments, mask):
    """What goes into each block, and what comes out of the last."""
    states = [encoder.embed(nd, word_vectors, segments)]  # (B, L, C)
    for blk in encoder.blks:
        states.append(blk(states[-1], mask))
    return states


def log_odds(scores):
    """How much the second class, the positive one, leads: 0 is undecided.

    Parameters
    ----------
    scores : mxnet.nd.NDArray
        Logits (B, 2).

    Returns
    -------
    mxnet.nd.NDArray
        log(p / (1 - p)) of the second class's probability p, (B,).
    """
    return scores[:, 1] - scores[:, 0]


def gradient_times_input(net, words, segments):
    """How much each position's word vector adds to the log-odds, taking the network for a linear one.

    Parameters
    ----------
    net : BERTClassifier
    words : mxnet.nd.NDArray
        Word ids (B, L), without padding.
    segments : mxnet.nd.NDArray
        (B, L), 0 or 1.

    Returns
    -------
    np.ndarray
        (B, L); positive numbers speak for the second class.

    Source: Shrikumar et al. 2016, "Not Just a Black Box"; Sundararajan et al. 2017, section 1, for its limits.
    """
    word_vectors = net.bert.encoder.word_embed(words)  # (B, L, C)
    word_vectors.attach_grad()
    with autograd.record(train_mode=False):
        answer = log_odds(scores_from_vectors(net, word_vectors, segments))
    (gradient,) = autograd.grad(answer, [word_vectors], train_mode=False)
    return (gradient * word_vectors).sum(axis=2).asnumpy()


def leave_one_out(net, words, segments):
    """How much the log-odds fall when a position is left out of the text.

    Parameters
    ----------
    net : BERTClassifier
    words : mxnet.nd.NDArray
        Word ids of one text, (1, L), without padding.
    segments : mxnet.nd.NDArray
        (1, L), 0 or 1.

    Returns
    -------
    np.ndarray
        (L,); positive numbers speak for the second class. The first and last position, [CLS] and [SEP], stay: 0.

    Raises
    ------
    ValueError
        Not one text, or no position to leave out.

    Source: Li et al. 2016, "Understanding Neural Networks through Representation Erasure".
    """
    if len(words) != 1 or words.shape[1] < 3:
        raise ValueError(f"words must be one text, [CLS], word pieces, [SEP], of shape (1, L); got {words.shape}")
    ids, types = words.asnumpy()[0], segments.asnumpy()[0]
    inner = range(1, len(ids) - 1)
    shorter = [
        nd.array(np.stack([np.delete(row, i) for i in inner]), words.context) for row in (ids, types)
    ]  # (L - 2, L - 1)
    effects = np.zeros(len(ids), dtype="float32")
    effects[1:-1] = (log_odds(net(words, segments)) - log_odds(net(*shorter))).asnumpy()
    return effects
