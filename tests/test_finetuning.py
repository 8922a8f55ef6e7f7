"""The training loop, evaluation and prediction."""

import math
from itertools import pairwise

from bert_tutorial import (
    BERTClassifier,
    BERTModel,
    FastTokenizer,
    Recipe,
    evaluate,
    load_vocabulary,
    predict_sentiment,
    seed_everything,
    train_loop,
)
from bert_tutorial.training import keeper, progress
from bert_tutorial.training.progress import TrainingDivergedError
from bert_tutorial.training.recipe import learning_rate

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from adamw import adamw
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


def parameters(net, ctx=CTX):
    device = ctx[0] if isinstance(ctx, list) else ctx
    return {name: p.data(device).asnumpy() for name, p in net._collect_params_with_prefix().items()}


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
        train_loop(net, data, None, 4, 1e-2, CTX, LOSS, recipe=Recipe(accumulate=accumulate), seed=1)
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


@pytest.mark.parametrize("bias_correction", [True, False])
def test_steps_are_those_of_adamw(bias_correction):
    """As PyTorch has it, or as BERT's authors."""
    lr, steps = 0.01, 7
    net = build(dropout=0.0)
    weight = net.classifier.weight
    start = weight.data().asnumpy()
    gradients = []

    def loss_fn(logits, labels):
        """Its gradient with respect to the classifier's weight alone is not zero, and differs from step to step."""
        pooled = nd.ones((len(labels), 16)) * (len(gradients) + 1) * 0.01
        gradient = np.zeros((2, 16))
        gradient[0] = 0.01 * (len(gradients) + 1)
        gradients.append(gradient)
        return nd.FullyConnected(pooled, weight.data(), num_hidden=2, no_bias=True)[:, 0] + 0 * logits.sum(axis=1)

    recipe = Recipe(weight_decay=0.3, warmup_ratio=0.5, clip_norm=0.1, bias_correction=bias_correction)
    train_loop(net, make_batches([4]) * steps, None, 1, lr, CTX, loss_fn, recipe=recipe)
    clipped = [gradient / max(1, np.linalg.norm(gradient) / recipe.clip_norm) for gradient in gradients]
    rates = [learning_rate(step, steps, lr, recipe.warmup_ratio) for step in range(1, steps + 1)]
    np.testing.assert_allclose(weight.data().asnumpy(), adamw(start, clipped, rates, recipe), atol=1e-6)


def test_no_decay_on_biases_and_layer_norm():
    net = build(dropout=0.0)
    for name, parameter in net.collect_params().items():
        if not name.endswith("weight"):
            parameter.set_data(nd.random.uniform(0.4, 0.6, parameter.shape))
    before = parameters(net)

    def tiny(logits, labels):
        """Its gradient moves nothing by itself."""
        return logits.sum(axis=1) * 1e-12

    train_loop(net, make_batches([4]), None, 1, 0.1, CTX, tiny, recipe=Recipe(weight_decay=0.5, warmup_ratio=0))
    after = parameters(net)
    for name in before:
        factor = 1 - 0.1 * 0.5 if name.endswith("weight") else 1
        np.testing.assert_allclose(after[name], before[name] * factor, rtol=1e-5, atol=1e-7, err_msg=name)


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

    def __init__(self, call, breaks=lambda: math.nan):
        self.left, self.breaks = call, breaks

    def __call__(self, logits, labels):
        self.left -= 1
        return LOSS(logits, labels) * (self.breaks() if self.left == 0 else 1)


@pytest.mark.parametrize(("call", "kept"), [(2, "before training"), (6, "epoch 1")])
def test_divergence_stops_and_puts_the_parameters_back(call, kept, monkeypatch):
    monkeypatch.setattr(progress, "READ_INTERVAL", 100)  # found even when read late
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
    "settings",
    [{"num_epoch": number} for number in (0, 1.5, True, "1")]
    + [{"lr": lr} for lr in (0, -1, math.nan, math.inf, "1")]
    + [{"seed": seed} for seed in (-1, 0.5, True)],
    ids=str,
)
def test_settings_out_of_range(settings):
    (name,) = settings
    arguments = {"num_epoch": 1, "lr": 1e-3, "ctx": CTX, "loss_fn": LOSS, **settings}
    with pytest.raises(ValueError, match=f"^{name} must be .*not {next(iter(settings.values()))!r}$"):
        train_loop(build(), make_batches([4]), None, **arguments)


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


class Bag(gluon.nn.Block):
    """A plain Block of a reader's own: the mean of the words' embeddings."""

    def __init__(self, num_outputs):
        super().__init__()
        self.word_embed, self.output = gluon.nn.Embedding(30, 8), gluon.nn.Dense(num_outputs)

    def forward(self, words, segments, lengths):
        return self.output(self.word_embed(words).mean(axis=1))


def squared_error(logits, labels):
    return (logits - labels.reshape((-1, 1))) ** 2  # (B, 1)


def both_errors(logits, labels):
    return ((logits - nd.stack(labels, 1 - labels, axis=1)) ** 2).mean(axis=1)


SIGMOID, L2 = gluon.loss.SigmoidBCELoss(), gluon.loss.L2Loss()
OWN_LOSSES = {
    "one logit": (1, lambda labels: labels, SIGMOID),
    "regression": (1, lambda labels: labels + 0.5, L2),
    "a function, (B, 1)": (1, lambda labels: labels, squared_error),
    "two targets": (2, lambda labels: nd.stack(labels, 1 - labels, axis=1), L2),
    "two labels at once": (2, lambda labels: nd.stack(labels, 1 - labels, axis=1), SIGMOID),
}


@pytest.mark.parametrize("kind", OWN_LOSSES)
def test_a_loss_of_ones_own(kind):
    """No accuracy where none is defined; the best epoch is the one with the smallest loss."""
    num_outputs, target, loss_fn = OWN_LOSSES[kind]
    train, valid = ([(*rest, target(labels)) for *rest, labels in make_batches(sizes, 3)] for sizes in ([8] * 5, [5]))
    seed_everything(1)
    net = Bag(num_outputs)
    net.initialize(mx.init.Normal(0.5))
    history = train_loop(net, train, None, 3, 0.02, CTX, loss_fn, valid_data=valid, seed=1)
    assert set(history[-1]) == {"epoch", "train_loss", "valid_loss", "seconds", "tokens_per_second"}
    losses = [row["valid_loss"] for row in history]
    assert losses[-1] < losses[0]
    score = evaluate(net, valid, CTX, loss_fn)
    assert math.isnan(score.accuracy)
    assert score.loss == pytest.approx(min(losses), rel=1e-5)
    words, lengths, segments, labels = valid[0]
    assert score.loss == pytest.approx(loss_fn(net(words, segments, lengths), labels).mean().asscalar(), rel=1e-5)


def test_a_classifiers_own_loss_has_an_accuracy():
    seed_everything(1)
    net = Bag(2)
    net.initialize(mx.init.Normal(0.5))
    batches = make_batches([4, 3])
    (row,) = train_loop(net, batches, batches, 1, 1e-9, CTX, both_errors, seed=1)
    right = sum(int((net(w, s, n).argmax(axis=1) == y).sum().asscalar()) for w, n, s, y in batches)
    assert row["train_accuracy"] == row["test_accuracy"] == right / 7


@pytest.mark.parametrize(
    ("loss_fn", "found"),
    [
        (lambda logits, labels: LOSS(logits, labels).mean(), r"shape \(1,\)"),
        (lambda logits, labels: logits, r"shape \(4, 2\)"),
        (lambda logits, labels: LOSS(logits, labels)[:3], r"shape \(3,\)"),
        (lambda logits, labels: 0.5, "a float"),
        (lambda logits, labels: None, "a NoneType"),
    ],
    ids=["mean", "logits", "too few", "number", "nothing"],
)
def test_not_one_loss_per_sample(loss_fn, found):
    """The shapes are named, and nothing is trained."""
    net = build()
    start, message = parameters(net), rf"one loss per sample.*logits \(4, 2\) and labels \(4,\) it made {found}"
    with pytest.raises(ValueError, match=message):
        train_loop(net, make_batches([4]), None, 1, 1e-3, CTX, loss_fn)
    with pytest.raises(ValueError, match=message):
        evaluate(net, make_batches([4]), CTX, loss_fn)
    assert_same(parameters(net), start)


class MeanPooling(gluon.nn.Block):
    """What an engineer tries first: the pooler's output is not used."""

    def __init__(self, bert):
        super().__init__()
        self.bert, self.output = bert, gluon.nn.Dense(2, in_units=16)

    def forward(self, words, segments, lengths):
        return self.output(self.bert(words, segments, lengths)[0].mean(axis=1))


def mean_pooling(kind, ctx=CTX):
    """In GluonNLP's, once hybridized, the pooler gets a gradient of zeros."""
    seed_everything(1)
    if kind.startswith("gluonnlp"):
        encoder = nlp.model.BERTEncoder(num_layers=1, units=16, hidden_size=32, max_length=16, num_heads=2)
        options = {"token_type_vocab_size": 2, "use_decoder": False, "use_classifier": False}
        bert = nlp.model.BERTModel(encoder, 30, units=16, embed_size=16, **options)
    else:
        bert = BERTModel(30, 16, 32, 2, 1, 0.1, max_length=16)
    net = MeanPooling(bert)
    net.initialize(mx.init.Normal(0.3), ctx)
    if kind.endswith("hybridized"):
        net.hybridize(static_alloc=True)
    return net


def fine_tune_mean_pooling(net, ctx, loss=LOSS, **options):
    return train_loop(net, make_batches([4, 1, 3]), None, 2, 1e-2, ctx, loss, seed=1, **options)


@pytest.mark.parametrize("ctx", [CTX, [mx.cpu(0), mx.cpu(1)]], ids=["one", "two"])
@pytest.mark.parametrize("kind", ["ours", "ours, hybridized", "gluonnlp", "gluonnlp, hybridized"])
def test_what_the_loss_does_not_use_stays_as_it_is(kind, ctx, capsys):
    """Finding 33: not even weight decay changes it, and one line names it. A device without work is no reason."""
    net = mean_pooling(kind, ctx)
    words, lengths, segments, _ = make_batches([1])[0]
    net(words, segments, lengths)  # GluonNLP's layers wait for their input
    start = parameters(net, ctx)
    fine_tune_mean_pooling(net, ctx)
    after = parameters(net, ctx)
    unused = {name for name in start if "pooler" in name}
    assert {name for name in start if (after[name] == start[name]).all()} == unused
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "no gradient" in line]
    assert all(name in line for name in unused)
    assert line.count("weight") + line.count("bias") == len(unused) == 2


def test_unused_parameters_after_a_resume(tmp_path, monkeypatch):
    """Finding 33: the same ones, and the same bits."""
    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)
    whole, net, path = mean_pooling("ours"), mean_pooling("ours"), tmp_path / "c.params"
    history = fine_tune_mean_pooling(whole, CTX)
    with pytest.raises(ZeroDivisionError):
        fine_tune_mean_pooling(net, CTX, BreaksAt(4, lambda: 1 / 0), checkpoint=path)
    resumed = fine_tune_mean_pooling(net, CTX, checkpoint=path, resume=True)
    assert [row["train_loss"] for row in resumed] == [row["train_loss"] for row in history]
    assert_same(parameters(net), parameters(whole))


class Alternating(gluon.nn.Block):
    """Two heads, of which each batch uses one."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.count = gluon.nn.Dense(2, in_units=6), gluon.nn.Dense(2, in_units=6), 0

    def forward(self, words, segments, lengths):
        self.count += 1
        return (self.first if self.count < 3 else self.second)(words / 30)


def test_a_parameter_that_is_used_later_is_trained_from_then_on():
    """And one that is used no more goes on as with a gradient of 0, not with its last one."""
    seen = []
    net = Alternating()
    net.initialize(mx.init.Normal(0.3))

    def loss_fn(logits, labels):
        seen.append(parameters(net))
        return LOSS(logits, labels)

    train_loop(net, make_batches([4] * 6), None, 1, 0.01, CTX, loss_fn, recipe=Recipe(0.0, weight_decay=0.0), seed=1)
    first, second = ([step[f"{head}.weight"] for step in seen] for head in ("first", "second"))
    assert [(a != b).any() for a, b in pairwise(second)] == [False, False, True, True, True]
    moves = [np.abs(b - a).max() for a, b in pairwise(first)]
    assert all(moves)
    assert moves[2:] == sorted(moves[2:], reverse=True)


def test_nothing_to_train():
    net = build()
    net.collect_params().setattr("grad_req", "null")
    with pytest.raises(ValueError, match="nothing to train"):
        train_loop(net, make_batches([4]), None, 1, 1e-3, CTX, LOSS)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("warmup_ratio", [-0.1, 1.1]),
        ("weight_decay", [-0.1, math.inf]),
        ("clip_norm", [0, -1, math.inf]),
        ("accumulate", [0, -1, 1.5]),
        ("epsilon", [0, -1e-6, math.inf]),
        ("beta2", [-0.1, 1, 1.1]),
    ],
)
def test_recipes_that_are_refused(name, wrong):
    """Finding 19: clip_norm 0, -1 and NaN made AdamW skip every step, silently."""
    for value in (*wrong, math.nan, True, "0.5", None, nd.ones(1)):
        with pytest.raises(ValueError, match=f"^{name} must be a .*, not "):
            Recipe(**{name: value})
    for value in (0, 1, None, "True"):
        with pytest.raises(ValueError, match=f"^bias_correction must be True or False, not {value!r}$"):
            Recipe(bias_correction=value)


@given(
    st.builds(
        Recipe,
        warmup_ratio=st.floats(0, 1),
        weight_decay=st.floats(0, 10) | st.just(0),
        clip_norm=st.floats(1e-6, 1e6) | st.integers(1, 9),
        accumulate=st.integers(1, 9),
        epsilon=st.floats(1e-12, 1) | st.just(np.float32(1e-6)),
        beta2=st.floats(0, 0.9999),
        bias_correction=st.booleans(),
    )
)
def test_recipes_that_are_taken(recipe):
    assert Recipe(**vars(recipe)) == recipe


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
