"""The training loop, evaluation and prediction."""

import math

from bert_tutorial import (
    BERTClassifier,
    BERTModel,
    FastTokenizer,
    evaluate,
    load_vocabulary,
    predict_sentiment,
    seed_everything,
    train_loop,
    training,
)
from bert_tutorial.training import TrainingDivergedError, learning_rate

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mxnet import gluon, nd

CTX = mx.cpu()
LOSS = gluon.loss.SoftmaxCELoss()


def build(dropout=0.1, seed=1):
    seed_everything(seed)
    net = BERTClassifier(BERTModel(30, 16, 32, 2, 1, dropout, max_length=16), 2, dropout)
    initialize(net)
    return net


def initialize(net):
    """BERT's own initialisation is too small for so small a network to learn in seconds."""
    net.initialize()
    for parameter in net.collect_params(".*weight").values():
        if 0 not in parameter.shape:
            parameter.set_data(nd.random.normal(0, 0.3, shape=parameter.shape))


def make_batches(sizes, seed=0):
    """Label 1 where word 7 stands and not word 8: easy to learn."""
    random = np.random.RandomState(seed)
    batches = []
    for size in sizes:
        words = random.randint(10, 30, (size, 6))
        labels = random.randint(0, 2, size)
        words[:, 1:5] = np.where(labels, 7, 8)[:, None]
        arrays = (words, np.full(size, 6), np.zeros((size, 6)), labels)
        batches.append(tuple(nd.array(array, dtype="float32") for array in arrays))
    return batches


def parameters(net):
    return {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}


def assert_same(found, expected, **tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name, **(tolerance or {"rtol": 0}))


@given(num_steps=st.integers(1, 300), ratio=st.floats(0, 1))
def test_learning_rate_rises_then_falls(num_steps, ratio):
    rates = [learning_rate(step, num_steps, 1.0, ratio) for step in range(1, num_steps + 1)]
    assert max(rates) == pytest.approx(1)  # the peak is reached whatever the number of steps
    assert min(rates) > 0
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_it_learns():
    net, shown = build(), []
    batches, test_batches = make_batches([16] * 20), make_batches([16], seed=9)
    history = train_loop(net, batches, test_batches, 3, 1e-2, CTX, LOSS, seed=1, on_epoch=shown.append)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert shown == history
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["test_accuracy"] == 1
    assert history[-1]["tokens_per_second"] > 0


@pytest.mark.parametrize("sizes", [[4, 4, 4], [5, 3, 1]])
def test_evaluation_counts_every_sample_once(sizes):
    net, batches = build(), make_batches(sizes)
    score = evaluate(net, batches, CTX)
    whole = tuple(nd.concat(*arrays, dim=0) for arrays in zip(*batches, strict=True))
    logits = net(whole[0], whole[2], whole[1]).asnumpy().astype("float64")
    labels = whole[3].asnumpy().astype(int)
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert score.count == sum(sizes)
    assert score.accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert score.loss == pytest.approx(-log_probability[np.arange(len(labels)), labels].mean(), rel=1e-5)


def test_empty_data_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        evaluate(build(), [], CTX)
    with pytest.raises(ValueError, match="no batches"):
        train_loop(build(), [], None, 1, 1e-3, CTX, LOSS)


def test_accumulated_batches_equal_one_large_batch():
    batches = make_batches([4, 4, 2])
    large = [tuple(nd.concat(*arrays, dim=0) for arrays in zip(*batches, strict=True))]
    results = []
    for data, accumulate in ((batches, 3), (large, 1)):
        net = build(dropout=0.0)
        # plain descent: Adam's first step is the gradient's sign, which rounding can turn where it is near 0
        train_loop(net, data, None, 4, 1e-2, CTX, LOSS, accumulate=accumulate, seed=1)
        results.append(parameters(net))
    # the bias of the keys has no gradient but rounding, which Adam turns into steps of full size
    results = [{k: v for k, v in result.items() if "W_k.bias" not in k} for result in results]
    assert_same(results[0], results[1], atol=2e-3)


def test_gradient_is_clipped_after_the_mean(monkeypatch):
    """Twice the samples must not double the gradient that is clipped."""
    norms = []
    real = nlp.utils.grad_global_norm

    def grad_global_norm(params, max_norm):
        found = real(params, max_norm)
        norms.append(found[0].asscalar())
        return found

    monkeypatch.setattr(nlp.utils, "grad_global_norm", grad_global_norm)
    (batch,) = make_batches([4])
    double = tuple(nd.concat(array, array, dim=0) for array in batch)
    for data in ([batch], [double]):
        train_loop(build(dropout=0.0), data, None, 1, 1e-3, CTX, LOSS, seed=1)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_steps_are_those_of_berts_adamw():
    """Against Adam with decoupled decay and no bias correction, written out in NumPy."""
    lr, decay, clip, steps = 0.01, 0.3, 1.0, 5
    net = build(dropout=0.0)
    weight = net.classifier.weight
    expected = weight.data().asnumpy().astype("float64")
    mean = variance = 0
    gradients = []

    def loss_fn(logits, labels):
        """Its gradient with respect to the classifier's weight alone is not zero, and differs from step to step."""
        pooled = nd.ones((len(labels), 16)) * (len(gradients) + 1) * 0.01
        gradient = np.zeros((2, 16))
        gradient[0] = 0.01 * (len(gradients) + 1)
        gradients.append(gradient)
        return nd.FullyConnected(pooled, weight.data(), num_hidden=2, no_bias=True)[:, 0] + 0 * logits.sum(axis=1)

    train_loop(net, make_batches([4]) * steps, None, 1, lr, CTX, loss_fn, weight_decay=decay, warmup_ratio=0)
    for t, gradient in enumerate(gradients, start=1):
        rate = learning_rate(t, steps, lr, 0)
        gradient = gradient / max(1, np.linalg.norm(gradient) / clip)
        mean = 0.9 * mean + 0.1 * gradient
        variance = 0.999 * variance + 0.001 * gradient**2
        adam = mean / (np.sqrt(variance) + 1e-6)
        expected = expected - rate * (adam + decay * expected)
    np.testing.assert_allclose(weight.data().asnumpy(), expected, atol=1e-4)


def test_no_decay_on_biases_and_layer_norm():
    net = build(dropout=0.0)
    for parameter in net.collect_params().values():
        parameter.set_data(nd.ones(parameter.shape) * 0.5)
    before = parameters(net)

    def zero(logits, labels):
        return logits.sum(axis=1) * 0

    train_loop(net, make_batches([4]), None, 1, 0.1, CTX, zero, weight_decay=0.5, warmup_ratio=0)
    after = parameters(net)
    for name in before:
        if name.endswith("weight"):
            np.testing.assert_allclose(after[name], before[name] * (1 - 0.1 * 0.5), rtol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_the_same_seed_gives_the_same_bits():
    results = []
    for seed in (1, 1, 2):
        net = build()
        train_loop(net, make_batches([8] * 4), None, 2, 1e-3, CTX, LOSS, seed=seed)
        results.append(parameters(net))
    assert_same(results[0], results[1])
    assert any((results[0][k] != results[2][k]).any() for k in results[0])


def test_the_best_epoch_is_kept():
    """Validation labels turned round: the less it has learned, the better it scores."""
    valid = [(w, n, s, 1 - y) for w, n, s, y in make_batches([32], seed=4)]
    net = build()
    history = train_loop(net, make_batches([16] * 12), None, 3, 3e-3, CTX, LOSS, valid_data=valid, seed=1)
    best = min(history, key=lambda row: (-row["valid_accuracy"], row["valid_loss"]))
    assert best["epoch"] < 3, "the test needs an epoch that is worse than an earlier one"
    score = evaluate(net, valid, CTX)
    assert score.accuracy == best["valid_accuracy"]
    assert score.loss == pytest.approx(best["valid_loss"], rel=1e-5)


class BreaksAt:
    """A loss that stops being a number at one call."""

    def __init__(self, call):
        self.left = call

    def __call__(self, logits, labels):
        self.left -= 1
        return LOSS(logits, labels) * (float("nan") if self.left == 0 else 1)


@pytest.mark.parametrize(("call", "kept"), [(2, "before training"), (6, "epoch 1")])
def test_divergence_stops_and_puts_the_parameters_back(call, kept, monkeypatch):
    monkeypatch.setattr(training, "READ_INTERVAL", 100)  # found even when read late
    net = build()
    start = parameters(net)
    with pytest.raises(TrainingDivergedError, match=rf"nan at step {call} \(learning rate .*{kept}"):
        train_loop(net, make_batches([8] * 4), None, 2, 1e-3, CTX, BreaksAt(call), seed=1)
    after = parameters(net)
    assert all(np.isfinite(value).all() for value in after.values())
    if call == 2:
        assert_same(after, start)


def test_resuming_with_other_settings_is_refused(tmp_path):
    path = tmp_path / "checkpoint.params"
    batches = make_batches([8] * 3)
    train_loop(build(), batches, None, 2, 1e-3, CTX, LOSS, seed=5, checkpoint=path)
    with pytest.raises(ValueError, match=r"lr: 0\.001 there, 0\.002 here"):
        train_loop(build(), batches, None, 2, 2e-3, CTX, LOSS, seed=5, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="num steps: 6 there, 4 here"):
        train_loop(build(), batches[:2], None, 2, 1e-3, CTX, LOSS, seed=5, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("num_epoch", "lr", "warmup_ratio", "message"),
    [(0, 1e-3, 0.1, "num_epoch"), (1, 0, 0.1, "lr"), (1, math.nan, 0.1, "lr"), (1, 1e-3, 2, "warmup_ratio")],
)
def test_settings_out_of_range(num_epoch, lr, warmup_ratio, message):
    with pytest.raises(ValueError, match=message):
        train_loop(build(), make_batches([4]), None, num_epoch, lr, CTX, LOSS, warmup_ratio=warmup_ratio)


def test_a_network_of_the_readers_own():
    """A plain Block with a layer that has not seen its input yet, as in the seed's classifier."""

    class Own(gluon.nn.Block):
        def __init__(self, bert):
            super().__init__()
            self.bert = bert
            self.classifier = gluon.nn.Dense(2)

        def forward(self, words, segments, lengths):
            return self.classifier(self.bert(words, segments, lengths)[1])

    net = Own(BERTModel(30, 16, 32, 2, 1, 0.1, max_length=16))
    initialize(net)
    history = train_loop(net, make_batches([16] * 20), make_batches([16], seed=9), 3, 1e-2, CTX, LOSS, seed=1)
    assert history[-1]["test_accuracy"] == 1


@pytest.mark.parametrize("make_tokenizer", [FastTokenizer, nlp.data.BERTTokenizer])
def test_predict_sentiment(tiny_checkpoint, make_tokenizer):
    vocabulary = load_vocabulary(tiny_checkpoint / "vocab.txt")
    great = vocabulary["great"]

    class Oracle:
        def __call__(self, words, segments, lengths):
            assert words.shape == segments.shape == (1, int(lengths.asscalar()))
            assert words[0, 0] == vocabulary["[CLS]"]
            assert words[0, -1] == vocabulary["[SEP]"]
            found = float((words == great).max().asscalar())
            return nd.array([[1 - found, found]])

    tokenizer = make_tokenizer(vocabulary)
    for sentence, answer in (("this movie is so great", "positive"), ("awful", "negative")):
        assert predict_sentiment(Oracle(), CTX, vocabulary, tokenizer, sentence) == answer
    with pytest.raises(ValueError, match="empty"):
        predict_sentiment(Oracle(), CTX, vocabulary, tokenizer, "  ")
