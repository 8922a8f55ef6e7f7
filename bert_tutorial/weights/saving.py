"""A pre-trained BERT, saved so that our loaders and Hugging Face's read it."""

import numpy as np

from ..machine.memory import view
from .config import ARGUMENT_NAMES, model_arguments
from .folder import write_weights
from .names import NS_NAMES, pretraining_parameters


def save_pretrained(folder, net, vocabulary, config):
    """Write weights that `load_pretrained`, `load_pretrained_heads` and Hugging Face's BertForPreTraining read.

    The files are `config.json`, `vocab.txt` and `model.safetensors`, each written whole or not at all. The same
    weights give the same bytes.

    Parameters
    ----------
    folder : str or path
        Made if it does not exist.
    net : BERTForPreTraining
        Its one next-sentence logit becomes two outputs, half of it for IsNext and minus half for NotNext. The loaders
        take their difference, which is the same logit.
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration of this net, from `pretrained_config` or of the weights it was loaded from.

    Raises
    ------
    ValueError
        `config` or `vocabulary` does not fit the net, or a weight is not finite. Nothing is written.
    """
    _check_describes(config, vocabulary, net.bert.encoder)
    tensors = {theirs: view(parameter.list_data()[0]) for theirs, parameter in pretraining_parameters(net).items()}
    for name in NS_NAMES:
        half = tensors[name] / 2
        tensors[name] = np.concatenate([half, -half])
    write_weights(folder, tensors, vocabulary, config | {"architectures": ["BertForPreTraining"]})


def _check_describes(config, vocabulary, encoder):
    vocab_size, units = encoder.word_embed.weight.shape
    block = encoder.blks[0]
    arguments = model_arguments(config)
    of_net = {
        "vocab_size": vocab_size,
        "units": units,
        "hidden_size": block.ffn.dense1.weight.shape[0],
        "num_heads": block.attention.num_heads,
        "num_layers": len(encoder.blks),
        "max_length": encoder.pos_encoding.max_length,
    }
    for name, value in of_net.items():
        if arguments[name] != value:
            raise ValueError(f"config says {ARGUMENT_NAMES[name]} = {arguments[name]}, but the net has {value}")
    if len(vocabulary) != vocab_size:
        raise ValueError(f"the vocabulary has {len(vocabulary)} tokens, but the net has {vocab_size}")
