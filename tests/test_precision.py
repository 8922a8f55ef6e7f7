"""Mixed precision: bfloat16 is as near to float32 as its rounding; loss scaling changes nothing but overflows.

float16 itself needs a GPU. Its loss scaling runs here on a float32 network, where a scale that is a power of two must
not change a single bit.
"""

import json
import math

from bert_tutorial import (
    BERTClassifier,
    BERTForPreTraining,
    BERTModel,
    Recipe,
    load_pretrained,
    precision,
    pretrain_loop,
    seed_everything,
    set_precision,
    train_loop,
)
from bert_tutorial.blocks import NarrowingDense, PositionWiseDense
from bert_tutorial.cli import main
from bert_tutorial.heads import POOLINGS, PretrainingLoss
from bert_tutorial.machine import operators
from bert_tutorial.machine.cpu import cpu_flags
from bert_tutorial.precision import BFLOAT16, precision_of, refuse_precision
from bert_tutorial.quantization import VNNI, quantize
from bert_tutorial.text.pretraining_examples import Examples
from bert_tutorial.text.sentence_pairs import tokenize_corpus
from bert_tutorial.text.vocabulary import learn_vocabulary
from bert_tutorial.text.wordpiece import FastTokenizer
from bert_tutorial.training import keeper, step
from bert_tutorial.training.checkpoint import load_checkpoint
from bert_tutorial.training.initialization import initialize_for_pretraining, word_frequencies
from bert_tutorial.training.run import TrainingDivergedError

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon, init, nd, sym
from mxnet.contrib.amp.loss_scaler import LossScaler
from safetensors.numpy import load_file
from small_runs import parameters

needs_bfloat16 = pytest.mark.skipif(not cpu_flags() & BFLOAT16, reason="this CPU has no bfloat16")
ROUNDING = 2.0**-8  # of a number to bfloat16, relative
ONE, TWO, THREE = mx.cpu(0), [mx.cpu(0), mx.cpu(1)], [mx.cpu(2), mx.cpu(0), mx.cpu(1)]
LOSS = gluon.loss.SoftmaxCELoss()
SPEED = ("seconds", "tokens_per_second")
SIZES = [4, 1, 5, 2, 3]  # of the batches


def build(ctx=ONE, chosen="float32", dropout=0.0, hybridized=False, seed=1, pooling="pooler"):
    seed_everything(seed)
    net = BERTClassifier(BERTModel(30, 16, 32, 2, 2, dropout, max_length=16), 2, dropout, pooling)
    net.initialize(init.Normal(0.3), ctx)
    if hybridized:
        net.hybridize(static_alloc=True)
    set_precision(net, chosen)
    return net


def reviews(sizes, length=6, seed=0):
    """Batches for `train_loop`; what decides is whether the first word is an even number."""
    random = np.random.RandomState(seed)
    words = [random.randint(10, 30, (n, length)) for n in sizes]
    columns = [(w, random.randint(3, length + 1, len(w)), np.zeros_like(w), w[:, 0] % 2) for w in words]
    return [tuple(nd.array(column, dtype="float32") for column in batch) for batch in columns]


def gradients(
    net, batches, loss=lambda net, words, lengths, segments, y: LOSS(net(words, segments, lengths), y).mean()
):
    """Of the losses of several batches, one after the other: with grad_req "add" their sum. In one vector."""
    net.collect_params().zero_grad()
    losses = []
    for batch in batches:
        with autograd.record():
            value = loss(net, *batch)
        value.backward()
        losses.append(value.asscalar())
    found = net._collect_params_with_prefix()
    return losses, {name: p.grad().asnumpy().copy() for name, p in found.items() if p.grad_req != "null"}


def error(found, expected):
    """Relative error of all arrays of two dicts together."""
    found, expected = (
        np.concatenate([arrays[name].ravel() for name in sorted(arrays)]) for arrays in (found, expected)
    )
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def fine_tune(net, ctx=ONE, loss=LOSS, lr=2e-3, sizes=SIZES, recipe=None, **options):
    return train_loop(net, reviews(sizes), None, 3, lr, ctx, loss, recipe=recipe or Recipe(), seed=5, **options)


def without_speed(history):
    return [{key: value for key, value in row.items() if key not in SPEED} for row in history]


def assert_same(found, expected):
    for name, values in parameters(expected).items():
        np.testing.assert_array_equal(parameters(found)[name], values, err_msg=name)


# --- What is refused -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("chosen", "devices", "flags", "message"),
    [
        ("float16", [mx.cpu()], BFLOAT16, "float16 on GPUs only: .*float32"),
        ("float16", [mx.gpu(0), mx.cpu()], BFLOAT16, "float16 on GPUs only"),
        ("bfloat16", [mx.gpu(0)], BFLOAT16, "bfloat16 on CPUs only: .*float16"),
        ("bfloat16", [mx.cpu()], {"avx512f", "avx2"}, "AVX512-BF16.*float32"),
        ("bfloat16", [mx.cpu()], set(), "AVX512-BF16"),
        ("bfloat16", [mx.cpu()], {"asimd", "bf16", "i8mm"}, "AVX512-BF16"),  # ARM: MXNet was not built for these
        ("bfloat16", TWO, {"avx512_bf16"}, None),
        ("bfloat16", TWO, {"amx_bf16"}, None),
        ("float16", [mx.gpu(0), mx.gpu(1)], set(), None),
        ("float32", [mx.cpu(), mx.gpu(0)], set(), None),
    ],
)
def test_what_devices_can_compute(monkeypatch, chosen, devices, flags, message):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    if message is None:
        refuse_precision(chosen, devices)
    else:
        with pytest.raises(NotImplementedError, match=message):
            refuse_precision(chosen, devices)


def test_a_refused_network_stays_as_it_was(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", set)
    net = build()
    for chosen in ("bfloat16", "float16"):
        with pytest.raises(NotImplementedError):
            set_precision(net, chosen)
        assert precision_of(net) == "float32"
    with pytest.raises(ValueError, match="float8"):
        set_precision(net, "float8")


def test_gluonnlps_blocks_are_refused(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: BFLOAT16)
    bert, _ = load_pretrained(tiny_checkpoint, backend="gluonnlp")
    with pytest.raises(NotImplementedError, match="our own BERTModel"):
        set_precision(BERTClassifier(bert, 2), "bfloat16")
    set_precision(BERTClassifier(bert, 2), "float32")


@pytest.mark.skipif(not (cpu_flags() & VNNI and operators.available()), reason="int8 needs VNNI and BERT's operators")
def test_a_quantised_network_is_refused(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: BFLOAT16)
    net = build()
    quantize(net)
    with pytest.raises(NotImplementedError, match="int8"):
        set_precision(net, "bfloat16")


def test_training_looks_at_the_devices_again(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: BFLOAT16)
    net = build(chosen="bfloat16")
    monkeypatch.setattr(precision, "cpu_flags", set)
    with pytest.raises(NotImplementedError, match="AVX512-BF16"):
        fine_tune(net)


# --- bfloat16 ------------------------------------------------------------------------------------------------
@needs_bfloat16
@settings(max_examples=30)
@given(
    st.sampled_from([PositionWiseDense, NarrowingDense]),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=3),
    st.integers(1, 70),
    st.integers(1, 70),
    st.floats(0.01, 100),
    st.booleans(),
)
def test_a_layer_errs_no_more_than_rounding_does(layer_class, shapes, in_units, units, size, hybridized):
    seed_everything(units)
    layer = layer_class(units, in_units=in_units)
    layer.initialize(init.Normal(1))
    layer.bias.set_data(nd.random.normal(shape=units))
    weight, bias = layer.weight.data().asnumpy(), layer.bias.data().asnumpy()
    layer.product_dtype = precision.DTYPES["bfloat16"]
    if hybridized:
        layer.hybridize(static_alloc=True)
    for shape in shapes:
        X = nd.random.uniform(-size, size, shape=(*shape, in_units))
        exact = X.asnumpy() @ weight.T + bias
        terms = np.abs(X.asnumpy()) @ np.abs(weight.T) + np.abs(bias)
        found = layer(X)
        assert found.dtype == np.float32
        assert (np.abs(found.asnumpy() - exact) <= 1.05 * ROUNDING * (2 * terms + np.abs(exact)) + 1e-5).all()


@needs_bfloat16
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_are_those_of_float32(monkeypatch, pooling, hybridized, grad_req, plain):
    if plain:
        monkeypatch.setattr(operators, "available", lambda: False)
    batches = reviews([5, 2]) + reviews([4], length=11)
    net = build(hybridized=hybridized, pooling=pooling)
    net.collect_params().setattr("grad_req", grad_req)
    losses, expected = gradients(net, batches)
    set_precision(net, "bfloat16")
    near, found = gradients(net, batches)
    assert near == pytest.approx(losses, rel=0.02)
    assert 1e-5 < error(found, expected) < 0.05
    set_precision(net, "float32")
    again = gradients(net, batches)
    assert again[0] == losses
    assert error(again[1], expected) == 0


VERBS = ["sees", "likes", "follows", "finds"]
VOCABULARY = learn_vocabulary(["the cat and the dog .", *VERBS] * 9, 60)


def examples(count, seed):
    random = np.random.RandomState(seed)
    texts = [[f"the cat {' and '.join(random.choice(VERBS, 4))} the dog ." for _ in range(6)] for _ in range(count)]
    corpus = [type("Document", (), {"sentences": sentences}) for sentences in texts]
    return Examples(tokenize_corpus(corpus, FastTokenizer(VOCABULARY)), VOCABULARY, batch_size=5, max_length=40)


def build_for_pretraining(ctx=ONE):
    seed_everything(1)
    net = BERTForPreTraining(BERTModel(len(VOCABULARY), 16, 32, 2, 1, 0.0, max_length=40))
    initialize_for_pretraining(net, word_frequencies(examples(9, 0).corpus, len(VOCABULARY)), ctx)
    net.hybridize(static_alloc=True)
    return net


@needs_bfloat16
@pytest.mark.parametrize("grad_req", ["write", "add"])
def test_the_decoder_shares_its_weight_in_bfloat16_too(grad_req):
    def loss(net, *batch):
        mlm_loss, ns_loss = PretrainingLoss()(*net(*batch[:4]), *batch[4:])
        return mlm_loss + ns_loss

    text, net = examples(9, 0), build_for_pretraining()
    net.collect_params().setattr("grad_req", grad_req)
    pairs = next(text.stream(1))
    batches = [tuple(nd.array(array) for array in text.batch(pairs, np.random.RandomState(i))) for i in range(2)]
    losses, expected = gradients(net, batches, loss)
    set_precision(net, "bfloat16")
    near, found = gradients(net, batches, loss)
    assert near == pytest.approx(losses, rel=0.02)
    word_embed = "bert.encoder.word_embed.weight"
    assert 1e-5 < error({"": found[word_embed]}, {"": expected[word_embed]}) < 0.05
    assert net.bert.encoder.word_embed.weight is net.mlm_decoder.decoder[3].weight


@needs_bfloat16
@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(("ctx", "accumulate"), [(ONE, 1), (ONE, 2), (TWO, 1), (THREE, 2)], ids=str)
def test_fine_tuning_learns_what_it_learns_in_float32(ctx, accumulate, hybridized):
    results = []
    for chosen in ("float32", "bfloat16"):
        net = build(ctx, chosen, hybridized=hybridized)
        history = fine_tune(net, ctx, recipe=Recipe(accumulate=accumulate), sizes=[8, 7, 8, 3])
        results.append([row["train_loss"] for row in history])
        assert all(values.dtype == np.float32 for values in parameters(net).values())
        assert precision_of(net) == chosen
    assert results[1] != results[0]
    assert results[1] == pytest.approx(results[0], rel=0.05)
    assert results[1][-1] < results[1][0]


@needs_bfloat16
@pytest.mark.parametrize("ctx", [ONE, TWO], ids=str)
def test_pretraining_in_bfloat16(ctx):
    results = []
    for chosen in ("float32", "bfloat16"):
        net = build_for_pretraining(ctx)
        set_precision(net, chosen)
        history = pretrain_loop(net, examples(9, 0), examples(3, 1), 20, 5e-3, ctx, rounds=2, seed=5)
        results.append([row["mlm_loss"] for row in history])
        parameters(net)
    assert results[1] != results[0]
    assert results[1] == pytest.approx(results[0], rel=0.05)
    assert results[1][-1] < results[1][0]


# --- float16's parts that a CPU can run ----------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
def test_in_float16_the_products_alone_are_float16(monkeypatch, pooling):
    """Traced as for a GPU, without computing."""
    monkeypatch.setattr(operators, "available", lambda: False)
    monkeypatch.setattr(precision, "refuse_precision", lambda chosen, devices: None)
    net = build(chosen="float16", pooling=pooling)
    output = net(*map(sym.var, ("words", "segments", "lengths")))
    inside = output.get_internals()
    arguments, outputs, _ = inside.infer_type(words="float32", segments="float32", lengths="float32")
    types = dict(zip(inside.list_outputs(), outputs, strict=True))
    assert set(arguments) == {np.float32}
    assert types[output.list_outputs()[0]] == np.float32
    products = [name for name in types if "positionwisedense" in name and "fullyconnected" in name]
    products += [name for name in types if "narrowingdense" in name and "fullyconnected" in name]
    assert len(products) == 2 * 6
    assert all(types[name] == np.float16 for name in products)
    others = {name for name, dtype in types.items() if dtype == np.float16} - set(products)
    assert all("amp_cast" in name for name in others)


@pytest.fixture
def scaled(monkeypatch):
    """Loss scaling as for float16, in float32."""
    monkeypatch.setattr(step, "new_loss_scaler", lambda chosen: LossScaler())


@pytest.fixture
def every_step(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)


@pytest.mark.parametrize(("ctx", "accumulate"), [(ONE, 1), (TWO, 2)], ids=str)
def test_the_loss_scale_is_taken_out_again(request, ctx, accumulate):
    """Clipping included: the same bits."""
    options = {"recipe": Recipe(clip_norm=0.1, accumulate=accumulate)}
    expected = build(ctx, dropout=0.1)
    history = fine_tune(expected, ctx, **options)
    request.getfixturevalue("scaled")
    net = build(ctx, dropout=0.1)
    assert without_speed(fine_tune(net, ctx, **options)) == without_speed(history)
    assert_same(net, expected)


def test_the_loss_scale_is_taken_out_of_pretraining(request):
    def learn():
        net = build_for_pretraining(TWO)
        pretrain_loop(net, examples(9, 0), examples(3, 1), 4, 2e-3, TWO, rounds=1, seed=5)
        return net

    expected = learn()
    request.getfixturevalue("scaled")
    assert_same(learn(), expected)


class Overflowing:
    """A loss whose scaled gradients overflow for the batches, or shares of them, with these numbers."""

    def __init__(self, *numbers):
        self.numbers, self.count = numbers, 0

    def __call__(self, logits, labels):
        factor = 1e36 if self.count in self.numbers else 1  # not too large for the loss itself
        self.count += autograd.is_recording()
        return LOSS(logits, labels) * factor


@pytest.mark.parametrize(
    ("ctx", "accumulate", "numbers"), [(ONE, 1, (0, 1, 2)), (ONE, 3, (1,)), (TWO, 1, (0, 3, 5))], ids=str
)
def test_a_step_that_overflows_is_skipped(scaled, tmp_path, ctx, accumulate, numbers):
    """On all devices, if the gradients of one overflow."""
    net, start, path = build(ctx), parameters(build(ctx)), tmp_path / "c.params"
    options = {"recipe": Recipe(accumulate=accumulate), "seed": 5, "checkpoint": path}
    train_loop(net, reviews([4, 4, 4]), None, 1, 1e-2, ctx, Overflowing(*numbers), **options)
    for name, values in parameters(net).items():
        np.testing.assert_array_equal(values, start[name], err_msg=name)
    arrays, state = load_checkpoint(path)
    assert not any(name.startswith(("mean/", "variance/")) for name in arrays)
    assert state["loss_scaler"]["_next_loss_scale"] < 2.0**16


@pytest.mark.parametrize("ctx", [ONE, TWO], ids=str)
def test_after_an_overflow_training_goes_on_with_half_the_scale(scaled, tmp_path, ctx):
    net, path = build(ctx), tmp_path / "c.params"
    fine_tune(net, ctx, Overflowing(3), checkpoint=path)
    assert all(np.isfinite(values).all() for values in parameters(net).values())
    start = parameters(build(ctx))
    assert np.median([np.abs(values - start[name]).max() for name, values in parameters(net).items()]) > 0.005
    assert load_checkpoint(path)[1]["loss_scaler"]["_loss_scale"] == 2.0**15


def test_the_scale_grows_after_many_good_steps(monkeypatch, tmp_path):
    scaler, path = LossScaler(), tmp_path / "c.params"
    scaler._scale_seq_len = 4
    monkeypatch.setattr(step, "new_loss_scaler", lambda chosen: scaler)
    fine_tune(build(), checkpoint=path)  # 15 steps
    assert load_checkpoint(path)[1]["loss_scaler"]["_loss_scale"] == 2.0**19


def test_gradients_that_always_overflow_end_the_run(scaled, monkeypatch):
    monkeypatch.setattr(step, "SMALLEST_LOSS_SCALE", 2.0**13)
    net = build()
    with pytest.raises(TrainingDivergedError, match="overflow"):
        fine_tune(net, loss=Overflowing(*range(99)))
    assert_same(net, build())


class Stop(Exception):
    pass


class Stopping(Overflowing):
    """Overflows at one batch and stops the run at another."""

    def __init__(self, at, *numbers):
        super().__init__(*numbers)
        self.at = at

    def __call__(self, logits, labels):
        if self.count == self.at:
            raise Stop
        return super().__call__(logits, labels)


@pytest.mark.parametrize("stop_at", [3, 4, 11])
def test_a_resumed_run_has_the_same_loss_scale_and_bits(scaled, every_step, tmp_path, stop_at):
    expected = build(dropout=0.1)
    history = fine_tune(expected, loss=Overflowing(2), checkpoint=tmp_path / "whole")
    with pytest.raises(Stop):
        fine_tune(build(dropout=0.1), loss=Stopping(stop_at, 2), checkpoint=tmp_path / "c")
    net = build(dropout=0.1, seed=2)
    resumed = fine_tune(net, checkpoint=tmp_path / "c", resume=True)
    assert without_speed(resumed) == without_speed(history)
    assert_same(net, expected)
    ends = [load_checkpoint(tmp_path / name)[1]["loss_scaler"] for name in ("c", "whole")]
    assert ends[0] == ends[1]
    assert ends[0]["_loss_scale"] == 2.0**15


@needs_bfloat16
@pytest.mark.parametrize("ctx", [ONE, TWO], ids=str)
def test_a_resumed_run_in_bfloat16_has_the_same_bits(every_step, tmp_path, ctx):
    options = {"ctx": ctx, "chosen": "bfloat16", "dropout": 0.1, "hybridized": True}
    expected = build(**options)
    history = fine_tune(expected, ctx)
    path = tmp_path / "c"
    with pytest.raises(Stop):
        fine_tune(build(**options), ctx, Stopping(9), checkpoint=path)
    with pytest.raises(ValueError, match=r"precision: 'bfloat16' .*'float32'"):
        fine_tune(build(ctx, dropout=0.1), ctx, checkpoint=path, resume=True)
    net = build(**options, seed=2)
    assert without_speed(fine_tune(net, ctx, checkpoint=path, resume=True)) == without_speed(history)
    assert_same(net, expected)


# --- The command ---------------------------------------------------------------------------------------------
def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@needs_bfloat16
def test_finetune_in_bfloat16(tiny_checkpoint, table, tmp_path):
    output = tmp_path / "run"
    options = ("--epochs", 3, "--batch-size", 8, "--max-length", 32, "--lr", 0.005, "--output", output)
    run("finetune", "--pretrained", tiny_checkpoint, "--data", table, *options, "--precision", "bfloat16")
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["settings"]["precision"] == "bfloat16"
    assert metrics["accuracy"] > 0.9
    score = json.loads(run("evaluate", output, "--data", table, "--json").stdout)
    assert score["accuracy"] == metrics["accuracy"]
    assert score["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    assert {tensor.dtype for tensor in load_file(output / "model.safetensors").values()} == {np.dtype("float32")}


@needs_bfloat16
def test_pretrain_in_bfloat16(tmp_path):
    corpus, output = tmp_path / "corpus", tmp_path / "run"
    corpus.mkdir()
    for i in range(12):
        sentences = " ".join(f"The {noun} number {i} is {'old' if i % 2 else 'new'}." for noun in ("cat", "dog", "cow"))
        (corpus / f"{i}.txt").write_text(sentences * 3)
    sizes = ("--layers", 1, "--units", 16, "--heads", 2, "--vocab-size", 60, "--max-length", 32)
    options = ("--steps", 6, "--batch-size", 4, "--output", output)
    run("pretrain", "--corpus", corpus, *sizes, *options, "--precision", "bfloat16")
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["settings"]["precision"] == "bfloat16"
    assert math.isfinite(metrics["mlm_loss"])


@pytest.mark.parametrize(
    ("command", "chosen"), [("finetune", "float16"), ("finetune", "bfloat16"), ("pretrain", "float16")]
)
def test_the_command_says_what_it_cannot_do(monkeypatch, tiny_checkpoint, table, tmp_path, command, chosen):
    for module in ("finetuning", "pretraining"):
        monkeypatch.setattr(f"bert_tutorial.{module}.choose_device", lambda: (mx.cpu(), "no GPU"))
    monkeypatch.setattr(precision, "cpu_flags", set)
    options = ("--pretrained", tiny_checkpoint, "--data", table, "--max-length", 32) if command == "finetune" else ()
    result = run(command, *options, "--output", tmp_path / "run", "--precision", chosen, code=1)
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert "float32" in result.output
    run(command, "--precision", "float8", code=2)
