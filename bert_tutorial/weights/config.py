"""`config.json` and `tokenizer_config.json`: the arguments of a BERT, and the settings of its tokenizer."""

import json
from pathlib import Path

from ..blocks import LAYER_NORM_EPSILON
from ..encoder import NUM_SEGMENTS
from ..heads import POOLINGS
from ..text.wordpiece import TOKENIZER_SETTINGS

TOKENIZER_FILE = "tokenizer_config.json"  # not all published weights have one
POOLING_FILE = "1_Pooling/config.json"  # sentence encoders have one
ARGUMENT_NAMES = {  # ours, then Hugging Face's
    "vocab_size": "vocab_size",
    "units": "hidden_size",
    "hidden_size": "intermediate_size",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "dropout": "hidden_dropout_prob",
    "max_length": "max_position_embeddings",
}
FIXED_VALUES = {  # what our blocks have no choice in
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": LAYER_NORM_EPSILON,
    "type_vocab_size": NUM_SEGMENTS,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}


def read_config(folder, name="config.json"):
    """The content of `config.json`, or of another such file, in a folder of weights, as a dict."""
    path = Path(folder) / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON or of UTF-8; nested too deeply
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold one JSON object")
    return config


def tokenizer_settings(folder):
    """What a folder's `tokenizer_config.json`, if there is one, says of `TOKENIZER_SETTINGS`, as a dict."""
    if not (Path(folder) / TOKENIZER_FILE).is_file():
        return {}
    config = read_config(folder, TOKENIZER_FILE)
    words = config.get("word_tokenizer_type", "basic")
    if words != "basic":  # Japanese weights, whose vocabularies look like any other
        raise ValueError(f"{folder}: {TOKENIZER_FILE} says word_tokenizer_type = {words!r}; only 'basic' is supported")
    return {name: config[name] for name in TOKENIZER_SETTINGS if name in config}


def pooling_setting(folder):
    """How the weights in a folder were last trained to be read, of `POOLINGS`: the pooler, if no file says otherwise.

    A run's `config.json` says it, and a sentence encoder's `1_Pooling/config.json`.

    Raises
    ------
    ValueError
        It is a way that we do not have.
    """
    own = read_config(folder).get("bert_tutorial")
    if isinstance(own, dict) and "pooling" in own:
        file, found = "config.json", own["pooling"]
    elif (Path(folder) / POOLING_FILE).is_file():
        file, found = POOLING_FILE, _sentence_pooling(read_config(folder, POOLING_FILE))
    else:
        return "pooler"
    if found not in POOLINGS:
        raise ValueError(f"{folder}/{file} says pooling = {found!r}; choose one of {', '.join(POOLINGS)} instead")
    return found


def _sentence_pooling(config):
    """What sentence-transformers' Pooling does with this configuration; of several poolings it joins the vectors."""
    names = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    return config.get("pooling_mode", "+".join(names.get(key, key) for key in chosen))


def model_arguments(config):
    """BERTModel's arguments from a Hugging Face configuration.

    Raises
    ------
    ValueError
        A setting is missing, or one that our blocks do not have is asked for.
    """
    for key, wanted in FIXED_VALUES.items():
        if config.get(key, wanted) != wanted:
            raise ValueError(f"config.json says {key} = {config[key]!r}; only BERT with {wanted!r} is supported")
    missing = [key for key in ARGUMENT_NAMES.values() if key not in config]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    arguments = {ours: config[theirs] for ours, theirs in ARGUMENT_NAMES.items()}
    for ours, value in arguments.items():
        if ours != "dropout" and not (type(value) is int and value > 0):
            raise ValueError(f"config.json says {ARGUMENT_NAMES[ours]} = {value!r}; it must be a whole number from 1")
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        value = config.get(key, 0)  # the second is not ours: our blocks have one rate
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise ValueError(f"config.json says {key} = {value!r}; it must be a number from 0, and below 1")
    if arguments["units"] % arguments["num_heads"]:
        raise ValueError(
            f"config.json says hidden_size = {arguments['units']}; it must be a multiple of num_attention_heads = "
            f"{arguments['num_heads']}"
        )
    return arguments


def pretrained_config(vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length=512):
    """A Hugging Face configuration, from which `model_arguments` gives the same arguments back.

    Parameters
    ----------
    vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length
        As for `BERTEncoder`.

    Returns
    -------
    dict
    """
    values = (vocab_size, units, hidden_size, num_heads, num_layers, dropout, max_length)
    arguments = dict(zip(ARGUMENT_NAMES.values(), values, strict=True))
    return FIXED_VALUES | arguments | {"attention_probs_dropout_prob": dropout}
