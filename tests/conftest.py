"""A tiny random checkpoint, and the place of the real reviews."""

import json
import os
import string
from pathlib import Path

from bert_tutorial import BERTModel, seed_everything
from bert_tutorial.pretrained import OURS, _encoder_names

import pytest
from mxnet import nd
from safetensors.numpy import save_file

TINY = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 64,
}
LETTERS = string.ascii_lowercase + string.digits + string.punctuation
WORDS = ["great", "awful", "film", "the", "was", "not", "movie", "plot", "acting"]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """Folder of a random two-layer BERT whose vocabulary spells any ASCII word."""
    folder = tmp_path_factory.mktemp("tiny")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    config = {**TINY, "vocab_size": len(tokens)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    seed_everything(11)
    bert = BERTModel(len(tokens), 16, 32, 2, 2, 0.1, 64)
    bert.initialize()
    for parameter in bert.collect_params(".*weight").values():  # larger than BERT's, so that it learns in seconds
        parameter.set_data(nd.random.normal(0, 0.3, shape=parameter.shape))
    parameters = bert._collect_params_with_prefix()
    names = _encoder_names(2, OURS)
    save_file({hf: parameters[own].data().asnumpy() for hf, own in names.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture
def imdb_sample():
    """Archive of real IMDB reviews in the original layout."""
    path = os.environ.get("BERT_TUTORIAL_IMDB")
    if not path:
        pytest.skip("BERT_TUTORIAL_IMDB does not name an archive of IMDB reviews")
    return Path(path)
