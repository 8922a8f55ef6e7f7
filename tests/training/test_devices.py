"""Several devices do what one does: MXNet takes cpu(0), cpu(1), ... for devices of their own."""

import math
from functools import cache

from bert_tutorial import (
    BERTClassifier,
    SentimentClassifier,
    evaluate,
    load_for_pretraining,
    load_pretrained,
    load_pretrained_heads,
    predict_sentiment,
    seed_everything,
    train_loop,
)
from bert_tutorial.course.transfer import compare
from bert_tutorial.text.pretraining_examples import Batch, Examples, split_batch
from bert_tutorial.training import keeper
from bert_tutorial.training.initialization import initialize_for_pretraining
from bert_tutorial.training.run import TrainingDivergedError
from bert_tutorial.training.scoring import evaluate_pretraining

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mxnet import autograd, gluon
from small_runs import (
    LOSS,
    ONE,
    SIZES,
    THREE,
    TOKENIZER,
    TWO,
    VOCABULARY,
    build,
    build_for_pretraining,
    fine_tune,
    make_examples,
    parameters,
    pretrain,
    reviews,
    without_speed,
)


def assert_close(found, expected):
    """Networks and histories of two runs."""
    values = parameters(found[0])
    for name, other in parameters(expected[0]).items():
        # A bias of all keys shifts a query's scores together, which softmax ignores: its gradient is rounding errors
        # alone, and with pre-training's small epsilon AdamW makes large steps of them.
        if not name.endswith("W_k.bias"):
            np.testing.assert_allclose(values[name], other, rtol=0, atol=1e-5, err_msg=name)
    for row, other in zip(without_speed(found[1]), without_speed(expected[1]), strict=True):
        assert row == pytest.approx(other, abs=1e-5, rel=1e-5, nan_ok=True)


@cache
def on_one(learn, make, hybridized=False, **options):
    """As `run`, on one device."""
    return run(learn, make, ONE, hybridized, **options)


def run(learn, make, ctx, hybridized=False, **options):
    net = make(ctx, hybridized=hybridized)
    return net, learn(net, ctx, **options)


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(("accumulate", "valid"), [(1, False), (2, True)])
@pytest.mark.parametrize("ctx", [TWO, THREE], ids=["two", "three"])
def test_fine_tuning_ends_as_on_one_device(ctx, valid, accumulate, hybridized):
    options = {"hybridized": hybridized, "accumulate": accumulate, "valid": valid}
    found = run(fine_tune, build, ctx, **options)
    assert_close(found, on_one(fine_tune, build, **options))
    start = parameters(build(ONE))
    changes = [np.abs(values - start[name]).max() for name, values in parameters(found[0]).items()]
    assert np.median(changes) > 0.003


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("next_sentence", [True, False])
@pytest.mark.parametrize("ctx", [TWO, [*THREE, *map(mx.cpu, range(3, 7))]], ids=["two", "seven"])
def test_pretraining_ends_as_on_one_device(ctx, next_sentence, hybridized):
    options = {"hybridized": hybridized, "next_sentence": next_sentence}
    found = run(pretrain, build_for_pretraining, ctx, **options)
    assert_close(found, on_one(pretrain, build_for_pretraining, **options))


def test_a_share_without_masked_word_pieces():
    """A corpus of [UNK] has nothing to mask; together with words, some shares have nothing."""

    class Unmasked(Examples):
        def batch(self, pairs, random):
            batch = super().batch(pairs, random)
            batch.masked_weights[: len(batch.masked_weights) // 2] = 0
            return batch

    def learn(net, ctx):
        return pretrain(net, ctx, Unmasked(make_examples(9, 0).corpus, VOCABULARY, batch_size=4, max_length=40))

    assert_close(run(learn, build_for_pretraining, TWO), run(learn, build_for_pretraining, ONE))


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_the_parts_of_a_batch(num_pairs, count, seed):
    """Put together again, they are the batch."""
    examples = make_examples(9, 0)
    batch = examples.batch(next(examples.stream(seed))[:num_pairs].repeat(2, axis=0), np.random.RandomState(seed))
    whole = Batch(*(array.copy() for array in batch))
    parts = split_batch(batch, count)
    sizes = [len(part.words) for part in parts]
    assert len(parts) == min(count, len(batch.words))
    assert max(sizes) - min(sizes) <= 1
    for name, array in whole._asdict().items():
        together = np.concatenate([getattr(part, name) for part in parts], axis=int(name == "masked_positions"))
        if name == "masked_positions":  # each part counts its samples from 0
            together[0] += np.repeat(np.cumsum([0, *sizes[:-1]]), [part.masked_positions.shape[1] for part in parts])
        np.testing.assert_array_equal(together, array)
        assert together.dtype == array.dtype
        np.testing.assert_array_equal(getattr(batch, name), array)  # left as it was


class Stop(Exception):
    pass


def stopping_loss(at):
    """A loss that stops the run when it is asked for the share with this number."""
    shares = iter(range(at + 1))

    def loss(logits, labels):
        if autograd.is_recording() and next(shares) == at:
            raise Stop
        return LOSS(logits, labels)

    return loss


@cache
def with_dropout(**options):
    """A run on two devices that was never stopped."""
    net = build(TWO, dropout=0.1)
    return net, fine_tune(net, TWO, **options)


@pytest.fixture
def every_step(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)


@pytest.mark.parametrize("stop_at", [4, 12, 21])
@pytest.mark.parametrize(("accumulate", "valid"), [(1, True), (2, False)])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, every_step, accumulate, valid, stop_at):
    options = {"accumulate": accumulate, "valid": valid}
    whole, history = with_dropout(**options)
    path = tmp_path / "c.params"
    with pytest.raises(Stop):
        fine_tune(build(TWO, dropout=0.1), TWO, stopping_loss(stop_at), checkpoint=path, **options)
    net = build(TWO, dropout=0.1, seed=2)
    resumed = fine_tune(net, TWO, checkpoint=path, resume=True, **options)
    assert without_speed(resumed) == without_speed(history)
    for name, values in parameters(whole).items():
        np.testing.assert_array_equal(parameters(net)[name], values, err_msg=name)


@pytest.mark.parametrize(("before", "after"), [(ONE, TWO), (THREE, ONE)], ids=["1 to 2", "3 to 1"])
def test_a_run_goes_on_with_other_devices(tmp_path, every_step, before, after):
    path = tmp_path / "c.params"
    with pytest.raises(Stop):
        fine_tune(build(before), before, stopping_loss(12), checkpoint=path)
    net = build(after, seed=2)
    assert_close((net, fine_tune(net, after, checkpoint=path, resume=True)), on_one(fine_tune, build))


def test_the_best_epoch_is_kept_on_all_devices():
    net = build(TWO)
    history = fine_tune(net, TWO, lr=0.1)
    best = max((row["valid_accuracy"], -row["valid_loss"]) for row in history)
    assert best > (history[-1]["valid_accuracy"], -history[-1]["valid_loss"])
    for ctx in TWO:
        score = evaluate(net, reviews([5, 1], seed=3), ctx)
        assert (score.accuracy, -score.loss) == pytest.approx(best)


def test_divergence_puts_all_devices_back():
    start, net = parameters(build(TWO)), build(TWO)
    with pytest.raises(TrainingDivergedError):
        fine_tune(net, TWO, lambda logits, labels: LOSS(logits, labels) * math.nan)
    for name, values in parameters(net).items():
        np.testing.assert_array_equal(values, start[name])


def test_layers_that_wait_for_their_input():
    def make(ctx, hybridized):
        net = build(ctx)
        with net.name_scope():
            net.classifier = gluon.nn.Dense(2, flatten=False)
        net.classifier.initialize(mx.init.Constant(0.1), ctx)
        return net

    assert_close(run(fine_tune, make, TWO), run(fine_tune, make, ONE))


@pytest.mark.parametrize(
    ("built", "trained"), [(ONE, TWO), (ONE, mx.cpu(1)), (TWO, ONE), (TWO, TWO[::-1]), (THREE, TWO)], ids=str
)
def test_a_network_is_trained_elsewhere_and_comes_back(built, trained):
    net = build(built, hybridized=True)
    assert evaluate(net, reviews(SIZES), built).count == sum(SIZES)  # has computed where it was
    assert_close((net, fine_tune(net, trained)), on_one(fine_tune, build))
    devices = [built] if isinstance(built, mx.Context) else built
    assert all(parameter.list_ctx() == devices for parameter in net.collect_params().values())
    assert evaluate(net, reviews(SIZES), built).count == sum(SIZES)


def test_evaluation_names_both_places():
    net, batches = build(TWO), reviews(SIZES)
    assert evaluate(net, batches, TWO) == pytest.approx(evaluate(net, batches, ONE))
    with pytest.raises(ValueError, match=r"\[cpu\(0\), cpu\(1\)\], not on \[cpu\(1\), cpu\(2\)\]: .*reset_ctx"):
        evaluate(net, batches, [mx.cpu(1), mx.cpu(2)])
    net = build_for_pretraining(ONE)
    with pytest.raises(ValueError, match=r"\[cpu\(0\)\], not on \[cpu\(1\)\]: .*reset_ctx"):
        evaluate_pretraining(net, make_examples(3, 1), mx.cpu(1), np.ones(len(VOCABULARY)))


@pytest.mark.parametrize("ctx", [[], [mx.cpu(0), mx.cpu()], None, "cpu", [None], [0, 1]], ids=repr)
def test_no_devices(ctx, tiny_checkpoint):
    net, frequencies = build_for_pretraining(ONE), np.ones(len(VOCABULARY))
    calls = [
        lambda: fine_tune(build(ONE), ctx),
        lambda: evaluate(build(ONE), reviews(SIZES), ctx),
        lambda: pretrain(net, ctx),
        lambda: evaluate_pretraining(net, make_examples(3, 1), ctx, frequencies),
        lambda: predict_sentiment(build(ONE), ctx, VOCABULARY, TOKENIZER, "the cat"),
    ]
    if ctx is not None:  # the CPU, there
        calls += [
            lambda: SentimentClassifier.from_pretrained(tiny_checkpoint, 16, ctx),
            lambda: load_pretrained(tiny_checkpoint, ctx),
            lambda: load_pretrained_heads("small", load_pretrained("small")[0], ctx),
            lambda: load_for_pretraining(tiny_checkpoint, ctx),
            lambda: initialize_for_pretraining(net, frequencies, ctx),
            lambda: compare(None, tiny_checkpoint, ctx=ctx),
        ]
    for call in calls:
        with pytest.raises(ValueError, match="ctx must be"):
            call()


def test_a_classifier_on_several_devices(tmp_path, tiny_checkpoint):
    texts = ["good movie", "bad plot", "the acting was not good", "bad", "not bad at all"]
    classifier = SentimentClassifier.from_pretrained(tiny_checkpoint, 16, THREE)
    batches = classifier.batches([(text, "bad" not in text) for text in texts], batch_size=4, shuffle=True)
    train_loop(classifier.net, batches, None, 2, 1e-3, classifier.ctx, LOSS, seed=1)
    expected = classifier.predict(texts, batch_size=5)
    np.testing.assert_allclose(classifier.predict(texts, batch_size=4), expected, atol=1e-6)
    classifier.save(tmp_path)
    for ctx in (None, ONE, TWO, THREE):
        loaded = SentimentClassifier.load(tmp_path, ctx)
        np.testing.assert_allclose(loaded.predict(texts), expected, atol=1e-6)
        assert evaluate(loaded.net, batches, loaded.ctx).count == len(texts)
    with pytest.raises(ValueError, match="ctx must be"):
        SentimentClassifier.load(tmp_path, [])


def test_gluonnlp_on_several_devices(tiny_checkpoint):
    def make(ctx, hybridized):
        seed_everything(1)
        bert, _ = load_pretrained(tiny_checkpoint, ctx, backend="gluonnlp")
        net = BERTClassifier(bert, 2, dropout=0)
        net.classifier.initialize(ctx=ctx)
        return net

    def learn(net, ctx):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gluon.nn.Dropout, "hybrid_forward", lambda self, F, x: F.identity(x))
            return fine_tune(net, ctx)

    assert_close(run(learn, make, TWO), run(learn, make, ONE))
