"""BERT itself: the encoder, and the model with the pooler that published weights come with.

In the shape comments: B samples, L positions, C units.

Source: Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers", section 3.
"""

from mxnet import cpu, nd, sym
from mxnet.gluon import HybridBlock, nn
from mxnet.ndarray import NDArray

from .blocks import LAYER_NORM_EPSILON, WEIGHT_INITIALIZER, EncoderBlock, PositionalEncoding, dense, is_position_wise
from .machine import operators
from .machine.untouched import is_untouched

NUM_SEGMENTS = 2  # sentence A, sentence B


class BERTEncoder(HybridBlock):
    """Word, segment and position embeddings, summed and normalised, then `num_layers` encoder blocks.

    Parameters
    ----------
    vocab_size : int
        Number of word pieces.
    units : int
        Size of every vector, a multiple of `num_heads`.
    hidden_size : int
        Size of the feed-forward networks' inner layer.
    num_heads : int
    num_layers : int
    dropout : float
        Probability, used everywhere.
    max_length : int, default 512
        Number of positions.

    Inputs:
        - **words**: ids (B, L) from 0 to vocab_size - 1
        - **segments**: (B, L), 0 for sentence A, 1 for sentence B
        - **mask**: None (every position is a word), valid lengths (B,), or a 0/1 array (B, L, L) whose
          entry (b, i, j) says whether position i of sample b may look at position j; of any number type

    Outputs:
        - encodings (B, L, units)

    Raises
    ------
    IndexError
        A word, segment or position out of range. MXNet itself would clip it in silence. Checked at the
        call; not checked where a hybridized parent block calls the encoder symbolically.
    ValueError
        Shapes that do not fit together, or a valid length outside 1..L.

    Source: Devlin et al. 2018, section 3, "Model Architecture" and figure 2.
    """

    def __init__(self, vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length=512, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.word_embed = nn.Embedding(vocab_size, units, weight_initializer=WEIGHT_INITIALIZER)
        self.segment_embed = nn.Embedding(NUM_SEGMENTS, units, weight_initializer=WEIGHT_INITIALIZER)
        # BERT drops out after the LayerNorm that follows the sum, so not here
        self.pos_encoding = PositionalEncoding(units, dropout=0, max_length=max_length)
        self.norm = nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, in_channels=units)
        self.dropout = nn.Dropout(dropout)  # of the normalised sum; the terms of the sum have none
        self.blks = nn.HybridSequential()
        for _ in range(num_layers):
            self.blks.add(EncoderBlock(units, hidden_size, num_heads, dropout))

    def forward(self, words, segments, mask=None):
        """See the class."""
        words, segments, mask = self.prepare(words, segments, mask)
        return super().forward(words, segments, mask)

    def hybrid_forward(self, F, words, segments, mask):
        X = self.embed(F, self.word_embed(words), segments)
        for blk in self.blks:
            X = blk(X, mask)
        return X

    def encode_cls(self, words, segments, mask=None):
        """The encoding of [CLS], the first position, alone, (B, units): a last block of ours computes nothing else."""
        F = nd if isinstance(words, NDArray) else sym
        words, segments, mask = self.prepare(words, segments, mask)
        X = self.embed(F, self.word_embed(words), segments)
        *blks, last = self.blks
        for blk in blks:
            X = blk(X, mask)
        X = last.encode_cls(X, mask) if is_position_wise(last) else last(X, mask)  # (B, 1 or L, C)
        return cls_encoding(X)

    def embed(self, F, word_vectors, segments):
        """What goes into the first block, (B, L, units), from the words' vectors of the same shape."""
        X = self.pos_encoding(self.segment_embed(segments))  # (B, L, C)
        if operators.can_add_norm(self.norm):
            X = operators.bert_add_norm(F, word_vectors, X, self.norm)
        else:
            X = self.norm(word_vectors + X)
        return self.dropout(X)

    def prepare(self, words, segments, mask=None):
        """Check the arguments of `forward`, and make the mask that the blocks take, a 0/1 array (B, 1 or L, L)."""
        if not isinstance(words, NDArray):  # inside a hybridized parent: a symbol has no shape, so these are lengths
            return words, segments, mask_from_lengths(sym, words, mask)
        words, segments, mask = map(leave_shared_memory, (words, segments, mask))
        self.check(words, segments, mask)
        if mask is None or mask.ndim == 1:
            mask = mask_from_lengths(nd, words, mask)
        return words, segments, mask

    def check(self, words, segments, mask):
        """Raise what `forward` raises for these arguments."""
        if words.ndim != 2 or segments.shape != words.shape:
            raise ValueError(
                f"words and segments must both have the shape (batch, length); got {words.shape} and {segments.shape}"
            )
        num_samples, length = words.shape
        if isinstance(self.pos_encoding, PositionalEncoding):
            self.pos_encoding.check_length(length)
        _check_range("word id", words.asnumpy(), self.vocab_size)
        _check_range("segment", segments.asnumpy(), NUM_SEGMENTS)
        if mask is None:
            return
        if mask.shape == (num_samples,):
            lengths = mask.asnumpy()
            if lengths.min() < 1 or lengths.max() > length:
                raise ValueError(
                    f"valid lengths must lie between 1 and {length}; got {lengths.min()} to {lengths.max()}"
                )
        elif mask.shape != (num_samples, length, length):
            raise ValueError(
                f"mask must be None, valid lengths of shape ({num_samples},) or an array of shape "
                f"({num_samples}, {length}, {length}); got {mask.shape}"
            )


class BERTModel(HybridBlock):
    """The encoder, and the pooler: a dense layer with tanh on the encoding of [CLS].

    Parameters
    ----------
    vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length
        As for `BERTEncoder`.

    Inputs:
        - **inputs**: word ids (B, L)
        - **segment_types**: (B, L), 0 or 1
        - **valid_length**: (B,) or None

    Outputs:
        - sequence encoding (B, L, units)
        - pooled encoding (B, units)

    Raises
    ------
    IndexError, ValueError
        As for `BERTEncoder`.

    Source: Devlin et al. 2018, sections 3 and 4.1; the pooler is in the authors' published code.
    """

    def __init__(self, vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length=512, **kwargs):
        super().__init__(**kwargs)
        self.encoder = BERTEncoder(vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length)
        self.pooler = dense(units, in_units=units, activation="tanh")

    def forward(self, inputs, segment_types, valid_length=None):
        """See the class."""
        if isinstance(inputs, NDArray):
            inputs, segment_types, valid_length = graph_inputs(self.encoder, inputs, segment_types, valid_length)
            if valid_length.ndim == 3:  # a mask; the graph is made for lengths
                return self.hybrid_forward(nd, inputs, segment_types, valid_length)
        return super().forward(inputs, segment_types, valid_length)

    def hybrid_forward(self, F, inputs, segment_types, valid_length=None):
        encodings = self.encoder(inputs, segment_types, valid_length)
        return encodings, self.pooler(cls_encoding(encodings))

    def forward_cls(self, inputs, segment_types, valid_length=None):
        """As `forward`, but of the first position alone, (B, 1, units): the last block spares its work on others."""
        if is_untouched(self.encoder, BERTEncoder):
            encoding = self.encoder.encode_cls(inputs, segment_types, valid_length)
        else:
            encoding = cls_encoding(self.encoder(inputs, segment_types, valid_length))
        return encoding.expand_dims(axis=1), self.pooler(encoding)


def cls_encoding(encodings):
    """(B, L, C) -> (B, C): the encoding of [CLS]."""
    return encodings.slice_axis(axis=1, begin=0, end=1).reshape((0, -1))


def mean_encoding(F, encodings, valid_length):
    """(B, L, C) -> (B, C): the mean over a text's words, [CLS] and [SEP] among them, without the padding."""
    if valid_length is None:
        return F.mean(encodings, axis=1)
    ones = F.ones_like(F.slice_axis(encodings, axis=2, begin=0, end=1))  # (B, L, 1), of the encodings' number type
    is_word = F.SequenceMask(ones, valid_length, use_sequence_length=True, axis=1)
    return F.broadcast_div(F.sum(F.broadcast_mul(encodings, is_word), axis=1), F.sum(is_word, axis=1))


def graph_inputs(encoder, inputs, segment_types, valid_length):
    """What a hybridized model around this encoder takes: arrays of one device, and lengths, all L where none are given.

    They are checked here, for in the hybridized graph the checks of `BERTEncoder` do not run.
    """
    if valid_length is None:
        valid_length = nd.full(inputs.shape[0], inputs.shape[1], ctx=inputs.context)
    arrays = tuple(map(leave_shared_memory, (inputs, segment_types, valid_length)))
    if isinstance(encoder, BERTEncoder):
        encoder.check(*arrays)
    return arrays


def leave_shared_memory(array):
    """GluonNLP's batchify puts arrays into shared memory, which a hybridized block takes for a device of its own."""
    return array.as_in_context(cpu()) if array is not None and array.context.device_type == "cpu_shared" else array


def mask_from_lengths(F, words, valid_length):
    """0/1 array (B, 1, L): 1 up to each sample's valid length; all 1 for None."""
    if valid_length is None:
        return F.expand_dims(F.ones_like(words), axis=1).astype("float32")
    positions = F.contrib.arange_like(words, axis=1)  # (L,)
    valid_length = F.reshape(valid_length, shape=(-1, 1)).astype("float32")
    mask = F.broadcast_lesser(F.expand_dims(positions, axis=0).astype("float32"), valid_length)  # (B, L)
    return F.expand_dims(mask, axis=1)


def _check_range(what, values, size):
    if values.size == 0:
        raise ValueError(f"an empty batch: no {what} at all")
    out_of_range = values[(values < 0) | (values >= size)]
    if out_of_range.size:
        raise IndexError(f"{what} {out_of_range[0]:.0f} is out of range: ids go from 0 to {size - 1}")
