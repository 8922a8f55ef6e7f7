"""Loaded weights compute what they computed where they were trained."""

import shutil
import subprocess
import sys

from bert_tutorial import (
    FastTokenizer,
    load_for_pretraining,
    load_pretrained,
    load_pretrained_heads,
    load_reviews,
    seed_everything,
)
from bert_tutorial.text.batches import encode_dataset, make_loader
from bert_tutorial.weights import sources
from bert_tutorial.weights.folder import WEIGHTS_FILES
from bert_tutorial.weights.loading import BACKENDS
from bert_tutorial.weights.names import pretraining_parameters

import mxnet as mx
import numpy as np
import pytest
from golden_weights import GOLDEN, SMALL, TOLERANCE, assert_same_outputs, edit_tensors, run
from mxnet import nd
from pretraining_nets import random_batch, train_step
from safetensors.numpy import load_file, save_file

SHAPES = ("one-layer", "deep", "odd", "old-names")


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


def test_bad_backend():
    with pytest.raises(ValueError, match="gluonnlp"):
        load_pretrained(SMALL, backend="torch")


def test_string_and_path_are_the_same_and_the_device_is_kept():
    for name in (SMALL, str(SMALL)):
        bert, vocabulary = load_pretrained(name, ctx=mx.cpu(1))
        assert bert.pooler.weight.list_ctx() == [mx.cpu(1)]
        assert vocabulary["[MASK]"] == 4


def assert_shared(net):
    assert net.mlm_decoder.decoder[3].weight is net.bert.encoder.word_embed.weight
    for kind in ("weight", "bias"):
        pooler, first = net.bert.pooler, net.ns_classifier.classifier[0]
        assert getattr(first, kind) is getattr(pooler, kind)


def test_published_heads_are_loaded_and_shared():
    folder = GOLDEN / "old-names"
    net, vocabulary = load_for_pretraining(folder, ctx=mx.cpu(1))
    assert len(vocabulary) == net.bert.encoder.vocab_size
    assert_shared(net)
    for parameter in net.collect_params().values():
        assert parameter.list_ctx() == [mx.cpu(1)]
        assert parameter.grad_req == "write"
    with np.load(folder / "io.npz") as data:
        keys = ("words", "segments", "valid_length", "masked_positions")
        mlm_logits, ns_logits = net(*(nd.array(data[key], ctx=mx.cpu(1)) for key in keys))
        two_way = data["two_way"]
        assert np.abs(mlm_logits.asnumpy() - data["mlm_logits"]).max() < 2e-5
        assert np.abs(ns_logits.asnumpy() - (two_way[:, :1] - two_way[:, 1:])).max() < 2e-5


def test_separate_heads_share_with_bert():
    bert, _ = load_pretrained(GOLDEN / "odd")
    ns_classifier, mlm_decoder = load_pretrained_heads(GOLDEN / "odd", bert)
    assert ns_classifier.classifier[0].weight is bert.pooler.weight
    assert mlm_decoder.decoder[3].weight is bert.encoder.word_embed.weight


def test_fresh_heads_where_none_were_published(tiny_checkpoint):
    seed_everything(1)
    net, _ = load_for_pretraining(tiny_checkpoint)
    assert_shared(net)
    published = {
        name.removeprefix("bert."): tensor for name, tensor in load_file(tiny_checkpoint / WEIGHTS_FILES[2]).items()
    }
    for name, parameter in pretraining_parameters(net).items():
        values = parameter.data().asnumpy()
        if name in published:
            np.testing.assert_array_equal(values, published[name])
        elif name.endswith("LayerNorm.weight"):
            assert (values == 1).all()
        elif name.endswith("weight"):
            assert 0.01 < values.std() < 0.03
        else:
            assert (values == 0).all()
    batch = random_batch(net, 5)
    mlm_loss, ns_loss, gradients = train_step(net, batch)
    assert np.isfinite([mlm_loss, ns_loss]).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("missing", ["cls.predictions", "cls.seq_relationship"])
def test_one_head_alone_is_refused(tmp_path, missing):
    for file in WEIGHTS_FILES:
        (tmp_path / file).write_bytes((GOLDEN / "one-layer" / file).read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith(missing)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=missing):
        load_for_pretraining(tmp_path)


def test_missing_folder():
    with pytest.raises(FileNotFoundError, match="no/such"):
        load_for_pretraining("no/such")


def test_small_comes_with_the_course(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "shipped_file", lambda name: GOLDEN / "odd" if name == "small" else None)
    _, vocabulary = load_for_pretraining("small")
    assert len(vocabulary) == 61
    monkeypatch.setattr(sources, "shipped_file", lambda name: tmp_path / name)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "small")):
        load_pretrained("small")
