"""A classifier's folder: it loads anywhere, as it was saved, or says what is wrong with it."""

import json
import os
import shutil
import struct

from bert_tutorial import SentimentClassifier, load_pretrained
from bert_tutorial.heads import POOLINGS
from bert_tutorial.weights.config import TOKENIZER_FILE, read_config
from bert_tutorial.weights.folder import WEIGHTS_FILES

import mxnet as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

SAVED = (*WEIGHTS_FILES, TOKENIZER_FILE)
TEXTS = ["great great film", "an awful plot", "the movie was not great"]


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint):
    return SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16)


@pytest.fixture(scope="module")
def saved(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    classifier.save(folder)
    return folder


@pytest.fixture(scope="module")
def older(classifier, saved, tmp_path_factory):
    """A folder as earlier versions wrote it."""
    folder = tmp_path_factory.mktemp("older") / "run"
    folder.mkdir()
    classifier.net.save_parameters(str(folder / "model.params"))
    (folder / "config.json").write_text(json.dumps(classifier.config))
    shutil.copy(saved / "vocab.txt", folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def assert_same(found, classifier):
    np.testing.assert_array_equal(found.predict(TEXTS), classifier.predict(TEXTS))
    parameters = found.net._collect_params_with_prefix()
    for name, parameter in classifier.net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameters[name].data().asnumpy(), parameter.data().asnumpy())


def test_a_copy_that_is_read_only_loads_from_another_folder(classifier, copy, monkeypatch):
    for file in copy.iterdir():
        file.chmod(0o444)
    copy.chmod(0o555)
    monkeypatch.chdir(copy.parent)
    assert_same(SentimentClassifier.load("copy"), classifier)
    found = SentimentClassifier.load("copy", mx.cpu(1))
    assert found.net.classifier.weight.list_ctx() == [mx.cpu(1)]
    copy.chmod(0o755)


def test_saved_again_it_is_the_same(saved, tmp_path):
    SentimentClassifier.load(saved).save(tmp_path)
    for file in SAVED:
        assert (tmp_path / file).read_bytes() == (saved / file).read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted(SAVED)


def test_it_is_what_hugging_faces_classifier_reads(classifier, saved):
    """Names and shapes of transformers' BertForSequenceClassification."""
    config = read_config(saved)
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}
    with safe_open(saved / "model.safetensors", framework="numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in list(file.keys())}
        assert file.metadata() == {"format": "pt"}
    vocab_size = len(classifier.vocabulary)
    expected = {
        "bert.embeddings.word_embeddings.weight": [vocab_size, 16],
        "bert.embeddings.position_embeddings.weight": [64, 16],
        "bert.embeddings.token_type_embeddings.weight": [2, 16],
        "bert.embeddings.LayerNorm.weight": [16],
        "bert.embeddings.LayerNorm.bias": [16],
        "bert.pooler.dense.weight": [16, 16],
        "bert.pooler.dense.bias": [16],
        "classifier.weight": [2, 16],
        "classifier.bias": [2],
    }
    for i in range(2):
        for name, shape in {
            "attention.self.query": [16, 16],
            "attention.self.key": [16, 16],
            "attention.self.value": [16, 16],
            "attention.output.dense": [16, 16],
            "attention.output.LayerNorm": [16],
            "intermediate.dense": [32, 16],
            "output.dense": [16, 32],
            "output.LayerNorm": [16],
        }.items():
            expected[f"bert.encoder.layer.{i}.{name}.weight"] = shape
            expected[f"bert.encoder.layer.{i}.{name}.bias"] = shape[:1]
    assert shapes == expected


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_hugging_face_does_not_take_its_classifier_for_one_on_the_pooler(tiny_checkpoint, tmp_path, pooling):
    """It would load it without a word, and give other answers."""
    classifier = SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16, pooling=pooling)
    classifier.save(tmp_path)
    assert read_config(tmp_path)["architectures"] == ["BertModel"]
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        names = set(file.keys())
    assert {name for name in names if not name.startswith("bert.")} == {
        f"{pooling}_classifier.weight",
        f"{pooling}_classifier.bias",
    }
    assert "bert.pooler.dense.weight" in names
    found = SentimentClassifier.load(tmp_path)
    assert found.net.pooling == pooling
    assert_same(found, classifier)
    own = classifier.net.bert._collect_params_with_prefix()
    for backend in ("bert_tutorial", "gluonnlp"):
        bert, _ = load_pretrained(tmp_path, backend=backend)
        np.testing.assert_array_equal(bert.pooler.weight.data().asnumpy(), own["pooler.weight"].data().asnumpy())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_hugging_face_misses_the_classifier_that_it_cannot_read(tiny_checkpoint, tmp_path, pooling):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16, pooling=pooling).save(tmp_path)
    classes = transformers.AutoModelForSequenceClassification, transformers.AutoModel
    (_, loading), (bert, _) = (cls.from_pretrained(tmp_path, output_loading_info=True) for cls in classes)
    assert set(loading["missing_keys"]) == (set() if pooling == "pooler" else {"classifier.weight", "classifier.bias"})
    assert type(bert).__name__ == "BertModel"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_trained_further_is_read_as_before(tiny_checkpoint, tmp_path, pooling):
    SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16, pooling=pooling).save(tmp_path)
    again = SentimentClassifier.from_pretrained(tmp_path, max_length=16)
    assert again.net.pooling == pooling
    trained = {name for name, p in again.net._collect_params_with_prefix().items() if p.grad_req != "null"}
    assert ("bert.pooler.weight" in trained) == (pooling == "pooler")
    assert SentimentClassifier.from_pretrained(tmp_path, max_length=16, pooling="pooler").net.pooling == "pooler"


@pytest.mark.parametrize("pooling", ["max", "", None, ["mean"], 1])
def test_a_pooling_that_we_do_not_have(older, tmp_path, pooling):
    folder = shutil.copytree(older, tmp_path / "copy")
    edit_config(folder, bert_tutorial={"max_length": 16, "pooling": pooling})
    with pytest.raises(ValueError, match=r"config\.json says pooling = .*; choose one of pooler, cls, mean"):
        SentimentClassifier.load(folder)


def test_its_bert_loads_without_the_classifier(classifier, saved):
    bert, vocabulary = load_pretrained(saved)
    assert vocabulary.idx_to_token == classifier.vocabulary.idx_to_token
    own = classifier.net.bert._collect_params_with_prefix()
    for name, parameter in bert._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), own[name].data().asnumpy())
    again = SentimentClassifier.from_pretrained(saved, max_length=32)
    assert again.tokenizer.settings == classifier.tokenizer.settings


def test_nothing_is_saved_of_a_network_with_nan(classifier, tiny_checkpoint, tmp_path):
    broken = SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16)
    broken.net.classifier.bias.set_data(mx.nd.array([float("nan"), 0]))
    with pytest.raises(ValueError, match=r"classifier\.bias holds"):
        broken.save(tmp_path)
    assert os.listdir(tmp_path) == []


def test_nothing_is_saved_of_a_network_that_is_no_bert(tiny_checkpoint, tmp_path):
    """Nobody could load it: quantized to int8, or with a block of one's own."""
    changed = SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16)
    changed.net.bert.encoder.blks[1].ffn.adapter = mx.gluon.nn.Dense(16, in_units=16)
    with pytest.raises(ValueError, match=r"differing: bert\.encoder\.blks\.1\.ffn\.adapter\.bias, "):
        changed.save(tmp_path)
    assert os.listdir(tmp_path) == []


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_found_or_changes_nothing(classifier, saved, copy, data):
    """Finding 10: a flipped bit of the weights loaded silently."""
    file = data.draw(st.sampled_from(SAVED))
    content = bytearray((saved / file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for name in SAVED:
        shutil.copy(saved / name, copy)
    (copy / file).write_bytes(content)
    try:
        found = SentimentClassifier.load(copy)
    except ValueError:
        return
    assert file == "config.json", "a blank became another one, or the hashes lost their name"
    expected = SentimentClassifier.load(saved)
    assert found.config | {"bert_tutorial": None} == expected.config | {"bert_tutorial": None}
    assert found.max_length == expected.max_length


@pytest.mark.parametrize("stopped_after", ["vocab.txt", "model.safetensors"])
def test_a_save_that_was_stopped_half_way_is_found(classifier, saved, copy, tiny_checkpoint, tmp_path, stopped_after):
    """Old and new files together, in the order in which they are written."""
    other = SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16)  # a fresh head
    other.vocabulary.idx_to_token[-1] += "s"
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "vocab.txt", copy)
    if stopped_after == "model.safetensors":
        shutil.copy(tmp_path / "other" / "model.safetensors", copy)
    with pytest.raises(ValueError, match="is damaged, or not of this run"):
        SentimentClassifier.load(copy)


def test_a_folder_of_the_older_format_that_a_new_model_came_into(saved, older, tmp_path):
    mixed = shutil.copytree(older, tmp_path / "mixed")
    shutil.copy(saved / "model.safetensors", mixed)
    with pytest.raises(ValueError, match="lacks the hashes"):
        SentimentClassifier.load(mixed)


def edit_config(folder, **changes):
    config = read_config(folder) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def test_what_was_changed_on_purpose_loads_without_the_hashes(copy):
    config = read_config(copy)
    edit_config(copy, id2label={"0": "bad", "1": "good"})
    with pytest.raises(ValueError, match=r"config\.json is damaged.* delete sha256"):
        SentimentClassifier.load(copy)
    del config["bert_tutorial"]["sha256"]
    edit_config(copy, bert_tutorial=config["bert_tutorial"])
    SentimentClassifier.load(copy)


@pytest.mark.parametrize("own", [..., {}, None, [], "16", {"max_length": 16, "sha256": "0"}])
def test_own_settings_that_are_missing(copy, own):
    """Finding 13."""
    edit_config(copy, bert_tutorial=own)
    with pytest.raises(ValueError, match=r"config\.json (was not written by fine-tuning|lacks the hashes)"):
        SentimentClassifier.load(copy)


@pytest.mark.parametrize("max_length", [0, 2, 65, 16.0, "16", True, None])
def test_a_maximum_length_that_cannot_be(older, tmp_path, max_length):
    """Finding 13: it failed only when a text was predicted."""
    folder = shutil.copytree(older, tmp_path / "copy")
    edit_config(folder, bert_tutorial={"max_length": max_length})
    with pytest.raises(ValueError, match=r"config\.json says max_length = .* from 3 to 64"):
        SentimentClassifier.load(folder)


def test_a_vocabulary_of_another_size(older, tmp_path):
    """Finding 13: it was accepted."""
    folder = shutil.copytree(older, tmp_path / "copy")
    tokens = (folder / "vocab.txt").read_text().split("\n")
    (folder / "vocab.txt").write_text("\n".join(tokens[:100]) + "\n")
    with pytest.raises(ValueError, match=r"vocab\.txt has 100 tokens"):
        SentimentClassifier.load(folder)


@pytest.mark.parametrize("file", SAVED)
def test_a_missing_file(copy, file):
    (copy / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {file}"):
        SentimentClassifier.load(copy)


@pytest.mark.parametrize("format", ["saved", "older"])
def test_a_billion_layers_are_refused_before_they_are_built(request, tmp_path, format):
    """Finding 28."""
    folder = shutil.copytree(request.getfixturevalue(format), tmp_path / "copy")
    edit_config(folder, num_hidden_layers=10**9, **({} if format == "older" else {"bert_tutorial": ...}))
    load = SentimentClassifier.load if format == "older" else load_pretrained
    with pytest.raises(ValueError, match="num_hidden_layers = 1000000000, but there are only"):
        load(folder)


def test_an_older_folder_loads(classifier, older, tmp_path):
    assert_same(SentimentClassifier.load(older), classifier)
    folder = shutil.copytree(older, tmp_path / "copy")
    edit_config(folder, bert_tutorial={"max_length": 16})  # before there was another pooling
    found = SentimentClassifier.load(folder)
    assert found.net.pooling == found.config["bert_tutorial"]["pooling"] == "pooler"
    assert_same(found, classifier)


def test_saved_into_its_folder_an_older_one_becomes_a_new_one(older, tmp_path):
    folder = shutil.copytree(older, tmp_path / "copy")
    SentimentClassifier.load(folder).save(folder)
    assert sorted(os.listdir(folder)) == sorted(SAVED)


@pytest.mark.parametrize("number", [0, 9, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_crafted_number_of_dimensions(older, tmp_path, number):
    """Finding 10: MXNet's parser crashed, and the whole process with it."""
    folder = shutil.copytree(older, tmp_path / "copy")
    with (folder / "model.params").open("rb+") as file:
        file.seek(32)
        file.write(struct.pack("<I", number))
    with pytest.raises(ValueError, match=r"model\.params is damaged"):
        SentimentClassifier.load(folder)
