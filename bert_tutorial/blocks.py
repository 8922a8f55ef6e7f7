"""The blocks BERT is made of, bottom up: dense layers, attention, feed-forward, residuals, positions, encoder block.

In the shape comments: B samples, L positions, H heads, C units (the paper calls them the hidden size).
A mask is a 0/1 array; 0 hides a key position from a query. Where a formula has one of `operators` beside it, that
computes the same faster: read the formula.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3, with BERT's own choices
(Devlin et al. 2018, section 3): biases everywhere, erf GELU, learned positions.
"""

from mxnet.gluon import HybridBlock, nn
from mxnet.initializer import Normal

from .machine import operators
from .machine.untouched import is_untouched

LAYER_NORM_EPSILON = 1e-12  # what published BERT weights were trained with; Gluon's default is 1e-5
HIDDEN_SCORE = -1e4  # exp(-1e4) is 0, and -1e4 still fits float16
WEIGHT_INITIALIZER = Normal(0.02)  # BERT's deviation; the authors also cut the normal off at two deviations


def dense(units, in_units, **kwargs):
    """Linear map of the last axis, initialised as BERT's."""
    return nn.Dense(units, in_units=in_units, flatten=False, weight_initializer=WEIGHT_INITIALIZER, **kwargs)


class PositionWiseDense(nn.Dense):
    """Linear map of every position's vector, initialised as BERT's: in these layers most of a step's time goes.

    `set_precision` chooses the number type of the product. The parameters, and what goes in and out, stay float32.

    Inputs:
        - **X**: (..., in_units)

    Outputs:
        - (..., units)
    """

    product_dtype = None  # float32

    def __init__(self, units, in_units, **kwargs):
        super().__init__(units, in_units=in_units, flatten=False, weight_initializer=WEIGHT_INITIALIZER, **kwargs)

    def hybrid_forward(self, F, X, weight, bias=None):
        if self.product_dtype is None:
            return super().hybrid_forward(F, X, weight, bias)
        # amp_cast cannot add its gradient to others, as grad_req="add" asks; the copy can. The sum of X's gradients is
        # also faster with it.
        arrays = [X, weight] if bias is None else [X, weight, bias]
        arrays = [F.amp_cast(F.identity(array), dtype=self.product_dtype) for array in arrays]
        product = F.FullyConnected(*arrays, no_bias=bias is None, num_hidden=self._units, flatten=False)
        product = F.amp_cast(product, dtype="float32")
        return product if self.act is None else self.act(product)


def hidden_scores(F, mask, scores):
    """What is added to the scores: 0 where the mask is 1, HIDDEN_SCORE where it is 0."""
    zeros = F.zeros_like(F.slice_like(scores, mask))  # the mask's shape, the scores' number type
    return F.where(F.cast(mask, dtype="float32"), zeros, zeros + HIDDEN_SCORE)  # `where` takes no bool


class DotProductAttention(HybridBlock):
    """Scaled dot-product attention, softmax(Q K^T / sqrt(d)) V.

    Parameters
    ----------
    dropout : float
        Probability of dropping an attention weight.

    Inputs:
        - **query**: (N, Lq, d)
        - **key**: (N, Lk, d)
        - **value**: (N, Lk, dv)
        - **mask**: None or 0/1 array (N, 1 or Lq, Lk), of any number type

    Outputs:
        - (N, Lq, dv)

    Source: Vaswani et al. 2017, section 3.2.1.
    """

    def __init__(self, dropout, **kwargs):
        super().__init__(**kwargs)
        self.dropout = nn.Dropout(dropout)

    def hybrid_forward(self, F, query, key, value, mask=None):
        # scaling the query touches Lk / d times fewer numbers than scaling the scores
        scores = F.batch_dot(F.contrib.div_sqrt_dim(query), key, transpose_b=True)  # (N, Lq, Lk)
        if mask is not None:
            scores = F.broadcast_add(scores, hidden_scores(F, mask, scores))
        weights = self.dropout(F.softmax(scores, axis=-1))
        return F.batch_dot(weights, value)  # (N, Lq, dv)


class MultiHeadAttention(HybridBlock):
    """Attention in `num_heads` subspaces at once, joined by an output projection.

    Parameters
    ----------
    units : int
        Size of the input and output vectors, a multiple of `num_heads`.
    num_heads : int
    dropout : float
        Probability of dropping an attention weight.

    Inputs:
        - **query**: (B, Lq, units)
        - **key**, **value**: (B, Lk, units)
        - **mask**: None or 0/1 array (B, 1 or Lq, Lk), of any number type

    Outputs:
        - (B, Lq, units)

    Raises
    ------
    ValueError
        `units` is not a multiple of `num_heads`.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, units, num_heads, dropout, **kwargs):
        super().__init__(**kwargs)
        if units % num_heads:
            raise ValueError(f"units ({units}) must be a multiple of num_heads ({num_heads})")
        self.num_heads = num_heads
        self.W_q = PositionWiseDense(units, in_units=units)
        self.W_k = PositionWiseDense(units, in_units=units)
        self.W_v = PositionWiseDense(units, in_units=units)
        self.W_o = PositionWiseDense(units, in_units=units)
        self.attention = DotProductAttention(dropout)

    def hybrid_forward(self, F, query, key, value, mask=None):
        if mask is None:
            mask = F.expand_dims(F.ones_like(F.max(key, axis=2)), axis=1)  # (B, 1, Lk)
        query, key, value = self.W_q(query), self.W_k(key), self.W_v(value)
        if operators.can_take(query) and is_untouched(self.attention, DotProductAttention, dropout=nn.Dropout):
            context = operators.bert_attention(F, query, key, value, mask, self.num_heads, self.attention.dropout)
        else:
            context = self._attend(F, query, key, value, mask)
        return self.W_o(context)

    def _attend(self, F, query, key, value, mask):
        query, key, value = (self.split_heads(F, X) for X in (query, key, value))
        mask = F.repeat(mask, repeats=self.num_heads, axis=0)  # (B * H, 1 or Lq, Lk)
        context = self.attention(query, key, value, mask)  # (B * H, Lq, C / H)
        context = F.reshape(context, shape=(-4, -1, self.num_heads, 0, 0))  # (B, H, Lq, C / H)
        return F.reshape(F.transpose(context, axes=(0, 2, 1, 3)), shape=(0, 0, -3))  # (B, Lq, C)

    def split_heads(self, F, X):
        """Cut the units into heads, and make each head of each sample a sample: (B, L, C) to (B * H, L, C / H)."""
        X = F.reshape(X, shape=(0, 0, -4, self.num_heads, -1))  # (B, L, H, C / H)
        return F.reshape(F.transpose(X, axes=(0, 2, 1, 3)), shape=(-3, 0, 0))  # (B * H, L, C / H)


class GELU(nn.GELU):
    """Gaussian error linear unit: X times the normal distribution function of X.

    Inputs:
        - **X**: any shape

    Outputs:
        - the shape of X

    Source: Hendrycks and Gimpel 2016; the exact form, as in published BERT.
    """

    def hybrid_forward(self, F, X):
        return operators.bert_gelu(F, X) if operators.can_take(X) else super().hybrid_forward(F, X)


class NarrowingDense(PositionWiseDense):
    """A dense layer with many more inputs than outputs: a case that MXNet's own product computes slowly."""

    def hybrid_forward(self, F, X, weight, bias=None):
        is_plain = self.product_dtype is None and self.act is None and bias is not None
        if is_plain and operators.can_take(weight):
            return operators.bert_dense(F, X, weight, bias)
        return super().hybrid_forward(F, X, weight, bias)


class PositionWiseFFN(HybridBlock):
    """The same two-layer network with GELU at every position.

    Parameters
    ----------
    units : int
        Size of the input and output vectors.
    hidden_size : int
        Size of the layer between, 4 x `units` in published models.

    Inputs:
        - **X**: (B, L, units)

    Outputs:
        - (B, L, units)

    Source: Vaswani et al. 2017, section 3.3; GELU: Hendrycks and Gimpel 2016.
    """

    def __init__(self, units, hidden_size, **kwargs):
        super().__init__(**kwargs)
        self.dense1 = PositionWiseDense(hidden_size, in_units=units)
        self.gelu = GELU()
        self.dense2 = NarrowingDense(units, in_units=hidden_size)

    def hybrid_forward(self, F, X):
        return self.dense2(self.gelu(self.dense1(X)))


class AddNorm(HybridBlock):
    """Residual connection around a sublayer, then LayerNorm: norm(X + dropout(Y)).

    Parameters
    ----------
    dropout : float
        Probability of dropping an element of the sublayer's output.
    in_channels : int, default 0
        Size of the last axis; 0 reads it off the first input.

    Inputs:
        - **X**: what went into the sublayer, any shape
        - **Y**: what came out of it, the same shape

    Outputs:
        - the shape of X

    Source: Vaswani et al. 2017, sections 3.1 and 5.4; LayerNorm: Ba et al. 2016.
    """

    def __init__(self, dropout, in_channels=0, **kwargs):
        super().__init__(**kwargs)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, in_channels=in_channels)

    def hybrid_forward(self, F, X, Y):
        if operators.can_add_norm(self.norm, self.dropout):
            return operators.bert_add_norm(F, X, Y, self.norm, self.dropout)
        return self.norm(X + self.dropout(Y))


class PositionalEncoding(HybridBlock):
    """Adds a learned vector for each position, then applies dropout.

    The Transformer uses fixed sines here; BERT learns the table.

    Parameters
    ----------
    units : int
        Size of the vectors.
    dropout : float
        Probability of dropping an element of the sum.
    max_length : int, default 512
        Number of positions in the table.

    Inputs:
        - **X**: (B, L, units), L at most `max_length`

    Outputs:
        - (B, L, units)

    Raises
    ------
    IndexError
        X has more than `max_length` positions.

    Source: Devlin et al. 2018, section 3 and figure 2.
    """

    def __init__(self, units, dropout, max_length=512, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length
        self.units = units
        self.weight = self.params.get("weight", shape=(max_length, units), init=WEIGHT_INITIALIZER)
        self.dropout = nn.Dropout(dropout)

    def forward(self, X):
        """See the class."""
        if hasattr(X, "shape"):  # a symbol, inside a hybridized parent, has none
            self.check_length(X.shape[1])
        return super().forward(X)

    def check_length(self, length):
        """Raise IndexError if `length` positions do not fit: Embedding would clip them without a word."""
        if length > self.max_length:
            raise IndexError(f"{length} positions, but the table ends at {self.max_length}; shorten the text")

    def hybrid_forward(self, F, X, weight):
        positions = F.Embedding(F.contrib.arange_like(X, axis=1), weight, self.max_length, self.units)  # (L, C)
        return self.dropout(F.broadcast_add(X, F.expand_dims(positions, axis=0)))  # (B, L, C)


class EncoderBlock(HybridBlock):
    """One layer of BERT: self-attention and a feed-forward network, each with AddNorm around it.

    Parameters
    ----------
    units : int
        Size of the input and output vectors.
    hidden_size : int
        Size of the feed-forward network's inner layer.
    num_heads : int
    dropout : float
        Probability for attention weights and for both sublayers' outputs.

    Inputs:
        - **X**: (B, L, units)
        - **mask**: None or 0/1 array (B, 1 or L, L)

    Outputs:
        - (B, L, units)

    Source: Vaswani et al. 2017, figure 1 (left); Devlin et al. 2018, section 3.
    """

    def __init__(self, units, hidden_size, num_heads, dropout, **kwargs):
        super().__init__(**kwargs)
        self.attention = MultiHeadAttention(units, num_heads, dropout)
        self.addnorm1 = AddNorm(dropout, in_channels=units)
        self.ffn = PositionWiseFFN(units, hidden_size)
        self.addnorm2 = AddNorm(dropout, in_channels=units)

    def hybrid_forward(self, F, X, mask=None):
        return self._sublayers(X, X, mask)

    def encode_cls(self, X, mask):
        """What comes out at [CLS] alone, (B, 1, units): one query and one position of the feed-forward network do."""
        first_mask = mask.slice_axis(axis=1, begin=0, end=1)  # (B, 1, L)
        return self._sublayers(X.slice_axis(axis=1, begin=0, end=1), X, first_mask)

    def _sublayers(self, X, keys, mask):
        X = self.addnorm1(X, self.attention(X, keys, keys, mask))
        return self.addnorm2(X, self.ffn(X))


# Each position of what these put out needs no other position of X (of keys and values, the attentions need all)
POSITION_WISE = {
    *(EncoderBlock, MultiHeadAttention, DotProductAttention, AddNorm, PositionWiseFFN),
    *(PositionWiseDense, NarrowingDense, GELU, nn.LayerNorm, nn.Dropout, nn.Activation),
}


def is_position_wise(block):
    """Whether `EncoderBlock.encode_cls` gives what the whole block would, and nobody watches the difference."""
    return (
        type(block) in POSITION_WISE
        and is_untouched(block, type(block))
        and all(map(is_position_wise, block._children.values()))
    )
