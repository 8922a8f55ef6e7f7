"""`config.json` and `tokenizer_config.json`: a BERT's settings under Hugging Face's names, and under ours."""

import json
from pathlib import Path

from ..blocks import LAYER_NORM_EPSILON
from ..encoder import NUM_SEGMENTS
from ..text.wordpiece import TOKENIZER_SETTINGS

TOKENIZER_FILE = "tokenizer_config.json"  # not every checkpoint has one
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
