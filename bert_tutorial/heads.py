"""What sits on top of BERT: the two heads of pre-training and their losses, and those of fine-tuning.

In the shape comments: B samples, L positions, C units, M masked positions, V word pieces.
"""

import re
import warnings

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon import Block, HybridBlock, nn
from mxnet.ndarray import NDArray

from .blocks import GELU, LAYER_NORM_EPSILON, PositionWiseDense, dense
from .encoder import BERTModel, cls_encoding, graph_inputs, leave_shared_memory, mean_encoding
from .machine.untouched import is_untouched


class NSClassifier(HybridBlock):
    """Next sentence prediction from the encoding of the first token, [CLS].

    One logit: positive says that sentence B truly follows A (label 1), negative that it does not (label 0).
    GluonNLP's pre-training data uses the opposite labels. Published heads have two outputs; their difference,
    IsNext - NotNext, is this logit.

    Parameters
    ----------
    units : int, default 768
        Size of the encodings.
    pooler : mxnet.gluon.nn.Dense, optional
        Share its parameters with the head's first layer, as BERT does with its pooler.

    Inputs:
        - **encodings**: (B, L, units)

    Outputs:
        - logits (B, 1)

    Source: Devlin et al. 2018, section 3.1, task 2.
    """

    def __init__(self, units=768, pooler=None, **kwargs):
        super().__init__(**kwargs)
        shared = {} if pooler is None else {"params": pooler.params}
        self.classifier = nn.HybridSequential()
        self.classifier.add(dense(units, in_units=units, activation="tanh", **shared))
        self.classifier.add(dense(1, in_units=units))

    def hybrid_forward(self, F, encodings):
        return self.classifier(cls_encoding(encodings))


class MLMDecoder(HybridBlock):
    """Scores every word piece at every masked position.

    Parameters
    ----------
    vocab_size : int
        Number of word pieces.
    units : int
        Size of the encodings.
    word_embed : mxnet.gluon.nn.Embedding, optional
        Share its weight, (vocab_size, units), as the output weight, as BERT does.

    Inputs:
        - **encodings**: (B, L, units)
        - **masked_positions**: (2, M) as in `gather_nd`: row 0 the sample, row 1 the position in it

    Outputs:
        - logits (M, vocab_size)

    Raises
    ------
    IndexError
        A masked position that the encodings do not have. Checked at the call.
    ValueError
        `masked_positions` is not of shape (2, M) with at least one position.

    Source: Devlin et al. 2018, section 3.1, task 1; the transform layer is in the authors' published code.
    """

    def __init__(self, vocab_size, units, word_embed=None, **kwargs):
        super().__init__(**kwargs)
        shared = {} if word_embed is None else {"params": word_embed.params}
        self.decoder = nn.HybridSequential()
        self.decoder.add(PositionWiseDense(units, in_units=units))
        self.decoder.add(GELU())
        self.decoder.add(nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, in_channels=units))
        self.decoder.add(PositionWiseDense(vocab_size, in_units=units, **shared))

    def forward(self, encodings, masked_positions):
        """See the class."""
        if isinstance(encodings, NDArray):
            check_masked_positions(encodings.shape[:2], masked_positions)
        return super().forward(encodings, masked_positions)

    def hybrid_forward(self, F, encodings, masked_positions):
        return self.decoder(F.gather_nd(encodings, masked_positions))  # (M, C) -> (M, V)


class BERTForPreTraining(HybridBlock):
    """BERT with both pre-training heads, which share its word embedding and its pooler.

    Parameters
    ----------
    bert : BERTModel
        Ours.

    Inputs:
        - **words**: ids (B, L)
        - **segments**: (B, L), 0 or 1
        - **valid_length**: (B,)
        - **masked_positions**: (2, M), row 0 the sample, row 1 the position in it

    Outputs:
        - MLM logits (M, V)
        - NSP logits (B, 1), positive for a true next sentence

    Raises
    ------
    IndexError, ValueError
        As for `BERTEncoder` and `MLMDecoder`.

    Source: Devlin et al. 2018, section 3.1 and figure 1 (left).
    """

    def __init__(self, bert, **kwargs):
        super().__init__(**kwargs)
        vocab_size, units = bert.encoder.word_embed.weight.shape
        self.bert = bert
        self.ns_classifier = NSClassifier(units, pooler=bert.pooler)
        self.mlm_decoder = MLMDecoder(vocab_size, units, word_embed=bert.encoder.word_embed)

    def forward(self, words, segments, valid_length, masked_positions):
        """See the class."""
        if isinstance(words, NDArray):
            words, segments, valid_length = graph_inputs(self.bert.encoder, words, segments, valid_length)
            masked_positions = leave_shared_memory(masked_positions)
            check_masked_positions(words.shape, masked_positions)
        return super().forward(words, segments, valid_length, masked_positions)

    def hybrid_forward(self, F, words, segments, valid_length, masked_positions):
        encodings = self.bert.encoder(words, segments, valid_length)
        return self.mlm_decoder(encodings, masked_positions), self.ns_classifier(encodings)


class PretrainingLoss(HybridBlock):
    """Mean loss of the masked word pieces, and mean loss of the next-sentence predictions; BERT minimises their sum.

    Inputs:
        - **mlm_logits**: (M, V)
        - **ns_logits**: (B, 1)
        - **masked_labels**: the ids that were masked, (M,)
        - **masked_weights**: (M,), 0 for entries that only fill up the batch, else 1
        - **ns_labels**: (B,), 1 for a true next sentence, else 0

    Outputs:
        - MLM loss (1,), weighted by the masked count
        - NSP loss (1,)

    Source: Devlin et al. 2018, section A.2.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mlm_loss = gluon.loss.SoftmaxCELoss()
        self.ns_loss = gluon.loss.SigmoidBCELoss()

    def hybrid_forward(self, F, mlm_logits, ns_logits, masked_labels, masked_weights, ns_labels):
        mlm_losses = self.mlm_loss(mlm_logits, masked_labels) * masked_weights  # (M,)
        num_masked = F.maximum(F.sum(masked_weights), 1)  # a text of [UNK] only has nothing to mask
        return F.sum(mlm_losses) / num_masked, F.mean(self.ns_loss(ns_logits, ns_labels))


class OnBERT(HybridBlock):
    """What the networks of fine-tuning share: how a BERT with a layer on top, `self.bert`, is called and hybridized."""

    pooling = None  # the one vector of a text that the layer reads, if it reads one

    def forward(self, inputs, segment_types, valid_length=None):
        """See the subclass."""
        if isinstance(inputs, NDArray):
            encoder = getattr(self.bert, "encoder", None)
            inputs, segment_types, valid_length = graph_inputs(encoder, inputs, segment_types, valid_length)
        return super().forward(inputs, segment_types, valid_length)

    def _build_cache(self, *args):
        # Gluon expects a graph to use all parameters, but this one may do without the pooler's
        with warnings.catch_warnings():
            if self.pooling != "pooler":
                pooler = "|".join(map(re.escape, self.bert.pooler.collect_params()))
                warnings.filterwarnings("ignore", rf"Parameter ({pooler})(, ({pooler}))* is not used")
                if any(parameter._deferred_init for parameter in self.bert.collect_params().values()):
                    self.bert(*args)  # Gluon would ask the graph for the shapes of all
            super()._build_cache(*args)


POOLINGS = ("pooler", "cls", "mean")  # of a classifier or sentence encoder


class BERTClassifier(OnBERT):
    """BERT, dropout and a dense layer on one vector that stands for the whole text.

    Parameters
    ----------
    bert : BERTModel
        Ours or GluonNLP's, returning (sequence encoding, pooled encoding).
    num_classes : int
    dropout : float, default 0.1
        Probability of dropping an element of that vector.
    pooling : {"pooler", "cls", "mean"}
        The vector: BERT's pooled encoding; the encoding of [CLS] as it is; or the mean of the encodings of all words,
        [CLS] and [SEP] among them, which is what most sentence encoders were trained to be read by. The last two have
        no use for the pooler: training leaves it as it is.

    Inputs:
        - **inputs**: word ids (B, L)
        - **segment_types**: (B, L), 0 or 1
        - **valid_length**: (B,) or None

    Outputs:
        - logits (B, num_classes)

    Raises
    ------
    IndexError
        As for `BERTEncoder`, where `bert` is ours.
    ValueError
        The same, or an unknown pooling.

    Source: Devlin et al. 2018, section 4.1 and figure 4(b); the mean: Reimers and Gurevych 2019, section 3.
    """

    def __init__(self, bert, num_classes, dropout=0.1, pooling="pooler", **kwargs):
        super().__init__(**kwargs)
        self.pooling = check_pooling(pooling)
        self.bert = bert
        self.dropout = nn.Dropout(dropout)
        self.classifier = dense(num_classes, in_units=bert.pooler.weight.shape[0])

    def hybrid_forward(self, F, inputs, segment_types, valid_length):
        if self.pooling != "mean" and is_untouched(self.bert, BERTModel):
            encodings, pooled = self.bert.forward_cls(inputs, segment_types, valid_length)
        else:
            encodings, pooled = self.bert(inputs, segment_types, valid_length)
        return self.classify(F, encodings, pooled, valid_length)

    def classify(self, F, encodings, pooled, valid_length):
        """Logits (B, num_classes) from what BERT puts out: encodings (B, L, units), pooled encoding (B, units)."""
        return self.classifier(self.dropout(pool(F, self.pooling, encodings, pooled, valid_length)))


class BERTTagger(OnBERT):
    """BERT, dropout and a dense layer at every position: scores of tags for each word piece.

    The pooler is of no use to it: training leaves it as it is.

    Parameters
    ----------
    bert : BERTModel
        Ours or GluonNLP's, returning (sequence encoding, pooled encoding).
    num_tags : int
    dropout : float, default 0.1
        Probability of dropping an element of an encoding.

    Inputs:
        - **inputs**: word ids (B, L)
        - **segment_types**: (B, L), 0 or 1
        - **valid_length**: (B,) or None

    Outputs:
        - logits (B, L, num_tags); those of the padding mean nothing

    Raises
    ------
    IndexError, ValueError
        As for `BERTEncoder`, where `bert` is ours.

    Source: Devlin et al. 2018, section 5.3 and figure 4(d).
    """

    def __init__(self, bert, num_tags, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.bert = bert
        self.dropout = nn.Dropout(dropout)
        self.classifier = dense(num_tags, in_units=bert.pooler.weight.shape[0])

    def hybrid_forward(self, F, inputs, segment_types, valid_length):
        encodings, _ = self.bert(inputs, segment_types, valid_length)
        return self.classifier(self.dropout(encodings))  # (B, L, C) -> (B, L, num_tags)


class BERTForQA(OnBERT):
    """BERT and a dense layer on every position: how well an answer would begin there, and how well it would end there.

    Parameters
    ----------
    bert : BERTModel
        Ours or GluonNLP's, returning (sequence encoding, pooled encoding). Training leaves its pooler as it is.

    Inputs:
        - **inputs**: word ids (B, L), [CLS] question [SEP] text [SEP]
        - **segment_types**: (B, L), 0 up to the first [SEP], then 1
        - **valid_length**: (B,) or None

    Outputs:
        - logits (B, L, 2): of the start, of the end. Those of the padding mean nothing.

    Raises
    ------
    IndexError, ValueError
        As for `BERTEncoder`, where `bert` is ours.

    Source: Devlin et al. 2018, section 4.2 and figure 4(c).
    """

    def __init__(self, bert, **kwargs):
        super().__init__(**kwargs)
        self.bert = bert
        self.classifier = dense(2, in_units=bert.pooler.weight.shape[0])

    def hybrid_forward(self, F, inputs, segment_types, valid_length):
        encodings, _ = self.bert(inputs, segment_types, valid_length)
        return self.classifier(encodings)  # (B, L, C) -> (B, L, 2)


class SentenceEncoder(Block):
    """BERT, and one vector of length 1 for a whole text: texts are alike as far as their vectors' dot product is large.

    It is no graph of its own: hybridized, its BERT is one.

    Parameters
    ----------
    bert : BERTModel
        Ours or GluonNLP's, returning (sequence encoding, pooled encoding).
    pooling : {"pooler", "cls", "mean"}
        As for `BERTClassifier`.

    Inputs:
        - **inputs**: word ids (B, L)
        - **segment_types**: (B, L), 0 or 1
        - **valid_length**: (B,) or None

    Outputs:
        - unit vectors (B, units)

    Raises
    ------
    IndexError
        As for `BERTEncoder`, where `bert` is ours.
    ValueError
        The same, or an unknown pooling.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3.
    """

    def __init__(self, bert, pooling="mean", **kwargs):
        super().__init__(**kwargs)
        self.pooling = check_pooling(pooling)
        self.bert = bert

    def forward(self, inputs, segment_types, valid_length=None):
        """See the class."""
        encoder = getattr(self.bert, "encoder", None)
        inputs, segment_types, valid_length = graph_inputs(encoder, inputs, segment_types, valid_length)
        encodings, pooled = self.bert(inputs, segment_types, valid_length)
        return nd.L2Normalization(pool(nd, self.pooling, encodings, pooled, valid_length))


def check_pooling(pooling):
    """The same, if it is one of `POOLINGS`."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}")
    return pooling


def pool(F, pooling, encodings, pooled, valid_length):
    """The vector for a whole text, (B, units), of what BERT puts out: encodings (B, L, units), pooled (B, units)."""
    if pooling == "cls":
        return cls_encoding(encodings)
    if pooling == "mean":
        return mean_encoding(F, encodings, valid_length)
    return pooled


def check_masked_positions(shape, masked_positions):
    """Raise what `MLMDecoder` raises for these positions and encodings of shape (B, L, units), given (B, L)."""
    if masked_positions.ndim != 2 or masked_positions.shape[0] != 2 or masked_positions.size == 0:
        raise ValueError(
            "masked_positions must have the shape (2, M): row 0 the samples, row 1 the positions; "
            f"got {masked_positions.shape}"
        )
    positions = masked_positions.asnumpy().astype(np.int64)
    outside = ((positions < 0) | (positions >= np.reshape(shape, (2, 1)))).any(axis=0)
    if outside.any():
        sample, position = positions[:, outside.argmax()]
        raise IndexError(
            f"masked position (sample {sample}, position {position}) is out of range: the encodings have "
            f"samples 0 to {shape[0] - 1} and positions 0 to {shape[1] - 1}"
        )
