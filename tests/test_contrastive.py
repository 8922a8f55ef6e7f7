"""Fine-tuning on pairs: the losses, the batches, and whole runs."""

import json
from itertools import combinations

import bert_tutorial as bt
from bert_tutorial.contrastive import PairOrder, pair_batches, pair_losses
from bert_tutorial.training.run import Training

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mxnet import autograd, nd

TEXTS = ["great film", "not great"]


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint):
    return bt.TextEncoder.load(tiny_checkpoint, 32)


def expected_losses(vectors, numbers):
    """The same, one row after the other."""
    losses = []
    for row in range(len(vectors)):
        others = [
            other
            for other in range(len(vectors))
            if other % 2 != row % 2 and (other == row ^ 1 or numbers[other] != numbers[row])
        ]
        scores = {other: vectors[row] @ vectors[other] / 0.05 for other in others}
        losses.append(np.log(sum(np.exp(score) for score in scores.values())) - scores[row ^ 1])
    return losses


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 100))
def test_losses_of_pairs(numbers, seed):
    numbers = np.repeat(numbers, 2)
    vectors = np.random.RandomState(seed).normal(size=(len(numbers), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = pair_losses(nd.array(vectors), nd.array(numbers[:, None]))
    assert found.shape == (len(numbers),)
    np.testing.assert_allclose(found.asnumpy(), expected_losses(vectors, numbers), atol=1e-4)


def test_gradients_of_pairs():
    vectors = np.random.RandomState(1).normal(0, 0.3, size=(6, 4))
    numbers = np.array([0, 0, 1, 1, 0, 0])
    X = nd.array(vectors)
    X.attach_grad()
    with autograd.record():
        loss = pair_losses(X, nd.array(numbers[:, None])).sum()
    loss.backward()
    for place in np.ndindex(vectors.shape):
        sides = []
        for step in (1e-5, -1e-5):
            moved = vectors.copy()
            moved[place] += step
            sides.append(sum(expected_losses(moved, numbers)))
        assert X.grad[place].asscalar() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-2, abs=1e-2)


def test_a_pair_that_is_torn_apart_is_refused():
    with pytest.raises(ValueError, match="3 rows are no pairs: train on one device"):
        pair_losses(nd.ones((3, 4)), nd.ones((3, 1)))


@given(st.integers(1, 40), st.integers(1, 9))
def test_partners_stay_together(count, batch_size):
    order = PairOrder(count, batch_size)
    batches = list(order)
    assert len(batches) == len(order)
    assert sorted(number for batch in batches for number in batch) == list(range(2 * count))
    for batch in batches:
        assert len(batch) <= 2 * batch_size
        assert all(a % 2 == 0 and b == a + 1 for a, b in zip(batch[::2], batch[1::2], strict=True))


def test_batches_of_pairs(encoder):
    pairs = [("great", "a film"), ("awful", "a movie"), ("not", "a film")]
    ((words, lengths, segments, labels),) = pair_batches(encoder, pairs, 3)
    assert words.shape == segments.shape == (6, 32)
    assert labels.shape == (6, 1)
    read = encoder.tokenizer.encode_batch([text for pair in pairs for text in pair], 32)
    rows = {tuple(row[: int(n.asscalar())].asnumpy().tolist()) for row, n in zip(words, lengths, strict=True)}
    assert rows == {tuple(ids.tolist()) for ids in read}
    numbers = labels.asnumpy().ravel().tolist()
    assert sorted(numbers) == [0, 0, 0, 0, 1, 1]
    assert numbers[::2] == numbers[1::2]


WORDS = ["great", "awful", "film", "the", "was", "not", "movie", "plot", "acting"]
PAIRS = [(f"{a} {b}", f"the {b} {b} the {a} {a}") for a, b in combinations(WORDS, 2)]
OPTIONS = {"max_length": 16, "batch_size": 6, "epochs": 6, "lr": 3e-3}


@pytest.fixture(scope="module")
def run(tiny_checkpoint, tmp_path_factory):
    """The folder of a run, its encoder and its history."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, *bt.finetune_encoder(PAIRS, tiny_checkpoint, **OPTIONS, output=folder)


def right_partners(encoder):
    questions, answers = (encoder.encode(list(texts)) for texts in zip(*PAIRS, strict=True))
    return np.mean((questions @ answers.T).argmax(axis=1) == np.arange(len(PAIRS)))


def test_partners_are_learned(run, tiny_checkpoint):
    folder, encoder, history = run
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert "train_accuracy" not in history[0]
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2
    before = right_partners(bt.TextEncoder.load(tiny_checkpoint, 16))
    assert right_partners(encoder) > before + 0.15
    np.testing.assert_array_equal(bt.TextEncoder.load(folder).encode(TEXTS), encoder.encode(TEXTS))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["pairs"] == len(PAIRS)
    assert len(metrics["settings"]["pairs"]) == 64


def test_a_resumed_run_has_the_same_bits(run, tiny_checkpoint, tmp_path, monkeypatch):
    def stop(self, row):
        finish(self, row)
        self.save()
        raise KeyboardInterrupt

    finish = Training.finish_round
    monkeypatch.setattr(Training, "finish_round", stop)
    with pytest.raises(KeyboardInterrupt):
        bt.finetune_encoder(PAIRS, tiny_checkpoint, **OPTIONS, output=tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="pairs"):  # of a run on others
        bt.finetune_encoder(PAIRS[1:], tiny_checkpoint, **OPTIONS, output=tmp_path / "run", resume=True)
    bt.finetune_encoder(PAIRS, tiny_checkpoint, **OPTIONS, output=tmp_path / "run", resume=True)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (run[0] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (PAIRS[:1], {}, "1 pairs in batches of 6: there must be two at least"),
        (PAIRS, {"batch_size": 1}, "in batches of 1: there must be two at least"),
        ([*PAIRS, ("the film", " ")], {}, "pair 37 must hold two texts, none of them empty"),
        ([*PAIRS, ("the film",)], {}, "pair 37 must hold two texts"),
        (PAIRS, {"ctx": [mx.cpu(0), mx.cpu(1)]}, "on one device"),
    ],
)
def test_pairs_that_do_not_do(tiny_checkpoint, pairs, options, message):
    with pytest.raises(ValueError, match=message):
        bt.finetune_encoder(pairs, tiny_checkpoint, **OPTIONS | options)
