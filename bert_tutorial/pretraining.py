"""Pre-training BERT: the model with both heads, its loss, the training loop, and what the model has learned.

In the shape comments: B samples, L positions, C units, M masked positions, V word pieces.

Source: Devlin et al. 2018, section 3.1 and appendix A.
"""

from mxnet import cpu, gluon
from mxnet.gluon import HybridBlock
from mxnet.ndarray import NDArray

from .encoder import leave_shared_memory
from .heads import MLMDecoder, NSClassifier, check_masked_positions
from .pretrained import fill_heads, head_parameters, load_pretrained, pretrained_folder


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
        arrays = (words, segments, valid_length, masked_positions)
        if isinstance(words, NDArray):
            arrays = tuple(map(leave_shared_memory, arrays))
            self.bert.encoder.check(*arrays[:3])  # inside the hybridized graph the blocks' own checks do not run
            check_masked_positions(words.shape, masked_positions)
        return super().forward(*arrays)

    def hybrid_forward(self, F, words, segments, valid_length, masked_positions):
        encodings = self.bert.encoder(words, segments, valid_length)
        return self.mlm_decoder(encodings, masked_positions), self.ns_classifier(encodings)


def load_for_pretraining(name_or_path, ctx=None):
    """Load published BERT weights to pre-train them further.

    Parameters
    ----------
    name_or_path : str or path
        As for `load_pretrained`.
    ctx : mxnet.Context, optional
        Device of the parameters; the CPU if not given.

    Returns
    -------
    net : BERTForPreTraining
        With the published heads; fresh ones if the checkpoint has none (`minilm-l6`).
    vocabulary : gluonnlp.vocab.BERTVocab

    Raises
    ------
    FetchError, FileNotFoundError, ValueError
        As for `load_pretrained`; ValueError also for heads that do not fit, or only one of the two.
    """
    folder = pretrained_folder(name_or_path)
    bert, vocabulary = load_pretrained(folder, ctx)
    net = BERTForPreTraining(bert)
    heads = net.ns_classifier, net.mlm_decoder
    if not fill_heads(folder, *heads, ctx):
        for parameter in head_parameters(*heads).values():
            parameter.initialize(ctx=ctx or cpu())
    return net, vocabulary


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
        return F.sum(mlm_losses) / F.sum(masked_weights), F.mean(self.ns_loss(ns_logits, ns_labels))
