"""Published weights, loaded into BERT and its heads."""

import gluonnlp as nlp
import mxnet as mx
import numpy as np

from ..blocks import LAYER_NORM_EPSILON
from ..encoder import NUM_SEGMENTS, BERTModel
from ..heads import BERTForPreTraining, MLMDecoder, NSClassifier
from ..machine.devices import list_devices
from .config import model_arguments, read_config
from .filling import check_fit, check_number_of_layers, fill
from .folder import FINE_TUNED, check_hashes_in_config, load_matching_vocabulary, read_tensors
from .names import (
    COPIES,
    GLUONNLP,
    HEADS,
    NS_NAMES,
    OURS,
    OWN_HEADS,
    PRETRAINING_HEADS,
    bert_parameters,
    head_parameters,
)
from .sources import pretrained_folder

BACKENDS = ("bert_tutorial", "gluonnlp")


def load_pretrained(name_or_path, ctx=None, backend="bert_tutorial"):
    """Load published BERT weights, fetching them the first time.

    Parameters
    ----------
    name_or_path : str or path
        `small` (comes with the course), `minilm-l6` (6 layers, 384 units), `bert-base` (12 layers, 768 units),
        `hf:ORG/NAME` (a BERT on the Hugging Face hub), or a folder with `config.json`, `vocab.txt` and
        `model.safetensors`.
    ctx : mxnet.Context or list of mxnet.Context, optional
        Devices of the parameters; the CPU if not given.
    backend : {"bert_tutorial", "gluonnlp"}
        Whose BERTModel to load into. Both compute the same.

    Returns
    -------
    bert : BERTModel
        Called as `bert(inputs, segment_types, valid_length)`.
    vocabulary : gluonnlp.vocab.BERTVocab

    Raises
    ------
    FetchError
        None of the sources worked.
    FileNotFoundError
        The folder or one of its files does not exist.
    ValueError
        Not a BERT, or tensors unknown, missing or of a wrong shape; the message names them. No device, or one twice.
    """
    devices = list_devices(mx.cpu() if ctx is None else ctx)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    folder = pretrained_folder(name_or_path)
    config = read_config(folder)
    check_hashes_in_config(folder, config)
    arguments = model_arguments(config)
    vocabulary = load_matching_vocabulary(folder, arguments)
    tensors = read_tensors(folder)
    fine_tuned = config.get("architectures") in ([name] for name in FINE_TUNED)
    heads = HEADS if fine_tuned else (PRETRAINING_HEADS, *OWN_HEADS)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}
    check_number_of_layers(arguments, tensors, folder)
    bert = BERTModel(**arguments)
    parameters = bert_parameters(bert, arguments["num_layers"], OURS)
    check_fit(parameters, tensors, folder)
    if backend == "gluonnlp":
        bert = _build_gluonnlp(arguments)
        parameters = bert_parameters(bert, arguments["num_layers"], GLUONNLP)
    fill(parameters, tensors, devices)
    return bert, vocabulary


def load_pretrained_heads(name_or_path, bert, ctx=None):
    """Load the two pre-training heads that were published with a BERT.

    Parameters
    ----------
    name_or_path : str or path
        As for `load_pretrained`.
    bert : BERTModel
        Ours, from `load_pretrained` with the same name; the heads share its word embedding and its pooler.
    ctx : mxnet.Context or list of mxnet.Context, optional
        Devices of the parameters; the CPU if not given.

    Returns
    -------
    ns_classifier : NSClassifier
        Logit = IsNext - NotNext of the published two-way head.
    mlm_decoder : MLMDecoder

    Raises
    ------
    ValueError
        There are no such heads (`minilm-l6` has none), they do not fit, or the decoder has weights of its
        own instead of the word embedding. No device, or one twice.
    """
    devices = list_devices(mx.cpu() if ctx is None else ctx)
    vocab_size, units = bert.encoder.word_embed.weight.shape
    ns_classifier = NSClassifier(units, pooler=bert.pooler)
    mlm_decoder = MLMDecoder(vocab_size, units, word_embed=bert.encoder.word_embed)
    folder = pretrained_folder(name_or_path)
    if not _fill_heads(folder, ns_classifier, mlm_decoder, devices):
        raise ValueError(f"{folder} was published without pre-training heads; bert-base has them")
    return ns_classifier, mlm_decoder


def load_for_pretraining(name_or_path, ctx=None):
    """Load published BERT weights to pre-train them further.

    Parameters
    ----------
    name_or_path : str or path
        As for `load_pretrained`.
    ctx : mxnet.Context or list of mxnet.Context, optional
        Devices of the parameters; the CPU if not given.

    Returns
    -------
    net : BERTForPreTraining
        With the published heads; fresh ones if there are none (`minilm-l6`).
    vocabulary : gluonnlp.vocab.BERTVocab

    Raises
    ------
    FetchError, FileNotFoundError, ValueError
        As for `load_pretrained`; ValueError also for heads that do not fit, or only one of the two.
    """
    devices = list_devices(mx.cpu() if ctx is None else ctx)
    folder = pretrained_folder(name_or_path)
    bert, vocabulary = load_pretrained(folder, devices)
    net = BERTForPreTraining(bert)
    heads = net.ns_classifier, net.mlm_decoder
    if not _fill_heads(folder, *heads, devices):
        for parameter in head_parameters(*heads).values():
            parameter.initialize(ctx=devices)
    return net, vocabulary


def _fill_heads(folder, ns_classifier, mlm_decoder, devices):
    """Give two heads, which share BERT's pooler and word embedding, their published values.

    Returns
    -------
    bool
        False, and nothing is filled, if there are no heads.
    """
    tensors = read_tensors(folder)
    heads = {name: tensor for name, tensor in tensors.items() if name.startswith(PRETRAINING_HEADS)}
    if not heads:
        return False
    for copy, original in COPIES.items():
        if copy in tensors and not np.array_equal(tensors[copy], tensors.get(original)):
            raise ValueError(f"{folder}: {copy} differs from {original}, but BERT's are shared")
    for name in NS_NAMES:
        two_way = heads.get(name)
        if two_way is not None and two_way.shape[:1] == (2,):  # row 0: IsNext, row 1: NotNext
            heads[name] = two_way[:1] - two_way[1:]
    parameters = head_parameters(ns_classifier, mlm_decoder)
    check_fit(parameters, heads, folder)
    fill(parameters, heads, devices)
    return True


def _build_gluonnlp(arguments):
    sizes = {k: v for k, v in arguments.items() if k != "vocab_size"}
    return nlp.model.BERTModel(
        nlp.model.BERTEncoder(**sizes, layer_norm_eps=LAYER_NORM_EPSILON),
        vocab_size=arguments["vocab_size"],
        token_type_vocab_size=NUM_SEGMENTS,
        units=arguments["units"],
        embed_size=arguments["units"],
        use_pooler=True,
        use_decoder=False,
        use_classifier=False,
    )
