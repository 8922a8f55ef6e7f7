"""Vectors of texts: as sentence-transformers makes them, and kept."""

import json

import bert_tutorial as bt
from bert_tutorial.tasks import model
from bert_tutorial.weights.sources import pooling_of

import mxnet as mx
import numpy as np
import pytest
from golden_weights import GOLDEN, TOLERANCE
from hypothesis import given
from hypothesis import strategies as st
from mxnet import nd

TEXTS = ["great film", "", "the acting was awful " * 20, "not great", "plot"]


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint):
    return bt.TextEncoder.load(tiny_checkpoint, 32)


def test_minilm_is_sentence_transformers(minilm):
    with np.load(GOLDEN / "sentences.npz") as golden:
        texts, expected = golden["texts"].tolist(), golden["vectors"]
    vectors = bt.TextEncoder.load("minilm-l6").encode(texts, batch_size=4)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < TOLERANCE


def test_sentence_transformers_reads_minilm_as_it_is_saved(minilm, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    encoder = bt.TextEncoder.load("minilm-l6")
    encoder.save(tmp_path)
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS)
    assert np.abs(encoder.encode(TEXTS) - theirs).max() < TOLERANCE


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_sentence_transformers_reads_what_is_saved(tiny_checkpoint, tmp_path, pooling):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    encoder = with_pooling(tiny_checkpoint, tmp_path / "before", pooling)
    encoder.save(tmp_path / "after")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "after"), device="cpu").encode(TEXTS)
    assert np.abs(encoder.encode(TEXTS) - theirs).max() < TOLERANCE


def with_pooling(checkpoint, folder, pooling):
    """The tiny network as one that was last trained to be read in another way."""
    bt.TextEncoder.load(checkpoint, 32).save(folder)
    config = json.loads((folder / "config.json").read_text())
    config["bert_tutorial"] = {**config["bert_tutorial"], "pooling": pooling}
    del config["bert_tutorial"]["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    return bt.TextEncoder.load(folder)


def test_vectors_are_what_the_pooling_says(tiny_checkpoint, tmp_path):
    found = {}
    for pooling in ("pooler", "cls", "mean"):
        encoder = with_pooling(tiny_checkpoint, tmp_path / pooling, pooling)
        (ids,) = encoder.tokenizer.encode_batch(["not a great film"], 32)
        sequence, pooled = encoder.net.bert(nd.array([ids]), nd.zeros((1, len(ids))))
        sequence = sequence[0].asnumpy()
        expected = {"pooler": pooled[0].asnumpy(), "cls": sequence[0], "mean": sequence.mean(axis=0)}[pooling]
        (found[pooling],) = encoder.encode(["not a great film"])
        np.testing.assert_allclose(found[pooling], expected / np.linalg.norm(expected), atol=1e-5)
    assert found["cls"] @ found["mean"] < 0.999


@given(st.lists(st.sampled_from(TEXTS), max_size=12), st.integers(1, 5))
def test_vectors_of_length_1_in_the_order_of_the_texts(encoder, texts, batch_size):
    vectors = encoder.encode(texts, batch_size)
    assert vectors.shape == (len(texts), 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = {text: encoder.encode([text])[0] for text in set(texts)}
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(vector, alone[text], atol=1e-5)


def test_several_devices_encode_alike(tiny_checkpoint, encoder):
    both = bt.TextEncoder.load(tiny_checkpoint, 32, [mx.cpu(0), mx.cpu(1)])
    np.testing.assert_allclose(both.encode(TEXTS, 2), encoder.encode(TEXTS, 2), atol=1e-5)


def test_what_is_saved_is_loaded(tiny_checkpoint, tmp_path):
    encoder = with_pooling(tiny_checkpoint, tmp_path / "mean", "mean")
    encoder.save(tmp_path / "again")
    again = bt.TextEncoder.load(tmp_path / "again")
    assert again.max_length == 32
    assert again.reads == "mean"
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    bert, vocabulary = bt.load_pretrained(tmp_path / "again")
    assert len(vocabulary) == bert.encoder.vocab_size
    pooling = json.loads((tmp_path / "again/1_Pooling/config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"]
    assert not pooling["pooling_mode_cls_token"]
    config = tmp_path / "again" / "config.json"
    theirs = {name: value for name, value in json.loads(config.read_text()).items() if name != "bert_tutorial"}
    config.write_text(json.dumps(theirs))  # as a published sentence encoder's
    assert pooling_of(tmp_path / "again") == "mean"


def test_a_fine_tuned_classifiers_bert_can_be_used(tiny_checkpoint, tmp_path):
    bt.SentimentClassifier.from_pretrained(tiny_checkpoint, 16, pooling="cls").save(tmp_path)
    encoder = bt.TextEncoder.load(tmp_path)
    assert (encoder.reads, encoder.max_length) == ("cls", 64)


@pytest.mark.parametrize("max_length", [2, 65, 20.5])
def test_a_length_that_does_not_fit(tiny_checkpoint, max_length):
    with pytest.raises(ValueError, match="max_length must lie between 3 and 64"):
        bt.TextEncoder.load(tiny_checkpoint, max_length)


def test_progress_counts_word_pieces(encoder, monkeypatch):
    bars = []

    class Bar(model.tqdm):
        def close(self):
            bars.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(model, "tqdm", Bar)
    encoder.encode(TEXTS, batch_size=2)
    pieces = sum(map(len, encoder.tokenizer.encode_batch(TEXTS, encoder.max_length)))
    assert set(bars) == {(pieces, pieces)}  # tqdm closes a bar twice
