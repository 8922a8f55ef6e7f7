"""A folder of weights in Hugging Face's layout: written, read, and found out if it is damaged.

`config.json`, written last, holds the hashes of all files.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pooch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..machine.files import atomic_path, read_arrays, write_text
from ..text.vocabulary import load_vocabulary, save_vocabulary
from .config import TOKENIZER_FILE
from .names import HEADS, normalize_name

WEIGHTS_FILES = ("config.json", "vocab.txt", "model.safetensors")
OLDER_MODEL = "model.params"  # in the place of model.safetensors in a run's folder, once
BARE_MODEL = "BertModel"  # under "architectures"
FINE_TUNED = ("BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering")


def write_weights(folder, tensors, vocabulary, config):
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
    own = dict(_own_entries(config))
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


def _own_entries(config):
    """What we have added to Hugging Face's configuration."""
    own = config.get("bert_tutorial", {})
    return own if isinstance(own, dict) else {}


def check_hashes_in_config(folder, config):
    """Raise an error unless the files are as `write_weights` wrote them, together; without hashes, believe it."""
    known = _own_entries(config).get("sha256")
    if known is None and not (folder / OLDER_MODEL).exists():
        return
    if not isinstance(known, dict) or not set(WEIGHTS_FILES) <= set(known) <= {*WEIGHTS_FILES, TOKENIZER_FILE}:
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


def read_tensors(folder):
    """A folder's tensors as float32 arrays, under their names in Hugging Face's BertForPreTraining.

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
    return {normalize_name(name): tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def load_matching_vocabulary(folder, arguments):
    vocabulary = load_vocabulary(folder / "vocab.txt")
    if len(vocabulary) != arguments["vocab_size"]:
        raise ValueError(
            f"{folder}: vocab.txt has {len(vocabulary)} tokens, config.json says vocab_size = {arguments['vocab_size']}"
        )
    return vocabulary
