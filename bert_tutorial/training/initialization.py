"""The first values of a BERT that is to be pre-trained in minutes."""

import numpy as np
from mxnet import cpu, nd

from ..machine.devices import list_devices


def word_frequencies(corpus, vocab_size):
    """Share of each word piece in a text, (vocab_size,); one that does not occur counts as if it did once."""
    counts = np.bincount(corpus.ids, minlength=vocab_size) + 1
    return counts / counts.sum()


def initialize_for_pretraining(net, frequencies, ctx=None):
    """Give a BERTForPreTraining its first parameters.

    The normal's deviation is 1 / sqrt(units) instead of BERT's 0.02, and the decoder starts from the word pieces'
    frequencies instead of learning them first. BERT's own values suit 768 units and days of training: with few units
    and the high learning rate of a short run, all encodings collapse into one vector and stay there.

    Parameters
    ----------
    net : BERTForPreTraining
    frequencies : np.ndarray
        From `word_frequencies`, (V,).
    ctx : mxnet.Context or list of mxnet.Context, optional
        Devices of the parameters; the CPU if not given.

    Raises
    ------
    ValueError
        No device, or one twice.
    """
    units = net.bert.encoder.word_embed.weight.shape[1]
    net.initialize(ctx=list_devices(cpu() if ctx is None else ctx))
    for name, parameter in net._collect_params_with_prefix().items():
        if name.endswith("weight"):
            parameter.set_data(nd.random.normal(0, units**-0.5, shape=parameter.shape, ctx=cpu()))
    start_decoder(net, frequencies)


def start_decoder(net, frequencies):
    """Let a decoder that was never trained, so that its biases are 0, start from the word pieces' frequencies (V,)."""
    bias = net.mlm_decoder.decoder[3].bias
    if not bias.list_data()[0].asnumpy().any():
        bias.set_data(nd.array(np.log(frequencies), cpu()))
