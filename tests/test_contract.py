"""What a Gluon user may rely on, of each of our blocks, with the compiled operators and without.

An operator, or a short cut, is there to be faster; nothing else of it may be seen.
"""

import locale
import os
import shutil
import subprocess
import warnings
from contextlib import contextmanager, suppress
from functools import reduce

from bert_tutorial import (
    AddNorm,
    BERTClassifier,
    BERTEncoder,
    BERTForQA,
    BERTModel,
    BERTTagger,
    DotProductAttention,
    EncoderBlock,
    MLMDecoder,
    MultiHeadAttention,
    NSClassifier,
    PositionalEncoding,
    PositionWiseFFN,
    SentenceEncoder,
    load_pretrained,
    seed_everything,
)
from bert_tutorial.blocks import GELU, NarrowingDense, PositionWiseDense
from bert_tutorial.heads import POOLINGS
from bert_tutorial.machine import operators

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

FORMS = ["compiled", "plain"]
VOCAB, UNITS, HIDDEN, HEADS, RATE = 30, 8, 16, 2, 0.25
BERT = (VOCAB, UNITS, HIDDEN, HEADS, 2, RATE, 512)


def vectors(*shape):
    return nd.random.normal(shape=shape)


def lengths(batch, length):
    return nd.array(np.random.randint(1, length + 1, batch))


def mask(batch, length):
    """(B, L, L): each position looks at another set of positions, and at itself."""
    return nd.array(np.random.randint(0, 2, (batch, length, length)) | np.eye(length, dtype=int))


def sentences(batch, length):
    ids = np.random.randint(0, VOCAB, (batch, length))
    return nd.array(ids), nd.array(ids % 2), lengths(batch, length)


def positions(batch, length):
    return nd.array([[0, batch - 1], [length - 1, 0]])


# a block, and for (batch, length) its inputs: first those that are differentiable, then the others
CASES = {
    "DotProductAttention": (
        lambda: DotProductAttention(RATE),
        lambda *size: ([vectors(*size, UNITS) for _ in "qkv"], [mask(*size)]),
    ),
    "MultiHeadAttention": (
        lambda: MultiHeadAttention(UNITS, HEADS, RATE),
        lambda *size: ([vectors(*size, UNITS) for _ in "qkv"], [mask(*size)]),
    ),
    "GELU": (GELU, lambda *size: ([vectors(*size, UNITS)], [])),
    "PositionWiseDense": (lambda: PositionWiseDense(HIDDEN, UNITS), lambda *size: ([vectors(*size, UNITS)], [])),
    "NarrowingDense": (lambda: NarrowingDense(UNITS, HIDDEN), lambda *size: ([vectors(*size, HIDDEN)], [])),
    "with activation": (
        lambda: NarrowingDense(UNITS, HIDDEN, activation="tanh"),
        lambda *size: ([vectors(*size, HIDDEN)], []),
    ),
    "without bias": (
        lambda: NarrowingDense(UNITS, HIDDEN, use_bias=False),
        lambda *size: ([vectors(*size, HIDDEN)], []),
    ),
    "PositionWiseFFN": (lambda: PositionWiseFFN(UNITS, HIDDEN), lambda *size: ([vectors(*size, UNITS)], [])),
    "AddNorm": (
        lambda: AddNorm(RATE, in_channels=UNITS),
        lambda *size: ([vectors(*size, UNITS), vectors(*size, UNITS)], []),
    ),
    "PositionalEncoding": (lambda: PositionalEncoding(UNITS, RATE), lambda *size: ([vectors(*size, UNITS)], [])),
    "EncoderBlock": (
        lambda: EncoderBlock(UNITS, HIDDEN, HEADS, RATE),
        lambda *size: ([vectors(*size, UNITS)], [mask(*size)]),
    ),
    "BERTEncoder": (lambda: BERTEncoder(*BERT), lambda *size: ([], [*sentences(*size)[:2], mask(*size)])),
    "BERTModel": (lambda: BERTModel(*BERT), lambda *size: ([], sentences(*size))),
    "NSClassifier": (lambda: NSClassifier(UNITS), lambda *size: ([vectors(*size, UNITS)], [])),
    "MLMDecoder": (
        lambda: MLMDecoder(VOCAB, UNITS),
        lambda *size: ([vectors(*size, UNITS)], [positions(*size)]),
    ),
    **{
        f"BERTClassifier, {pooling}": (
            lambda pooling=pooling: BERTClassifier(BERTModel(*BERT), 3, RATE, pooling),
            lambda *size: ([], sentences(*size)),
        )
        for pooling in POOLINGS
    },
    "BERTForQA": (lambda: BERTForQA(BERTModel(*BERT)), lambda *size: ([], sentences(*size))),
    "BERTTagger": (lambda: BERTTagger(BERTModel(*BERT), 5, RATE), lambda *size: ([], sentences(*size))),
    **{
        f"SentenceEncoder, {pooling}": (
            lambda pooling=pooling: SentenceEncoder(BERTModel(*BERT), pooling),
            lambda *size: ([], sentences(*size)),
        )
        for pooling in POOLINGS
    },
}
CLASSIFIERS = [case for case in CASES if case.startswith("BERTClassifier")]
SENTENCE_ENCODERS = [case for case in CASES if case.startswith("SentenceEncoder")]
TAKES_MASK = ["DotProductAttention", "MultiHeadAttention", "EncoderBlock", "BERTEncoder"]
WITH_PARTS = ["DotProductAttention", "MultiHeadAttention", "PositionWiseFFN", "AddNorm", "PositionalEncoding"]
WITH_PARTS += ["EncoderBlock", "BERTEncoder", "NSClassifier", "MLMDecoder", *CLASSIFIERS, *SENTENCE_ENCODERS]
WITH_PARTS += ["BERTTagger", "BERTForQA"]
DROPS = ["DotProductAttention", "MultiHeadAttention", "AddNorm", "PositionalEncoding", "EncoderBlock"]
DROPS += ["BERTEncoder", "BERTModel", *CLASSIFIERS, *SENTENCE_ENCODERS, "BERTTagger", "BERTForQA"]
GRAPHS = [case for case in CASES if case not in SENTENCE_ENCODERS]  # as a whole, to be exported

every_case = pytest.mark.parametrize("case", CASES)
both_forms = pytest.mark.parametrize("form", FORMS)
hybridized_or_not = pytest.mark.parametrize("hybridize", [False, True])


@contextmanager
def computed_in(form):
    if form == "compiled" and not operators.available():
        pytest.skip(operators.status()[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_TUTORIAL_OPERATORS", form)
        yield


def build(case, hybridize=False, dtype="float32"):
    """The same block each time, with parameters large enough that each one counts."""
    seed_everything(4)
    block = CASES[case][0]()
    block.initialize(mx.init.Normal(0.5))
    for parameter in block.collect_params().values():
        parameter.set_data(parameter.data() + nd.random.normal(0, 0.3, shape=parameter.shape))
    block.cast(dtype)
    if hybridize:
        block.hybridize(static_alloc=True)
    return block


def inputs_of(case, batch=2, length=6, dtype="float32"):
    seed_everything(5)
    floats, others = CASES[case][1](batch, length)
    return [x.astype(dtype) for x in floats], list(others)


def outputs(found):
    return [array.asnumpy() for array in (found if isinstance(found, (list, tuple)) else [found])]


def gradients(block, floats, others, train_mode=False):
    """Outputs, then the gradients of a weighted sum of them: of the inputs and of the parameters."""
    with autograd.record(train_mode=train_mode):
        found = block(*floats, *others)
        found = found if isinstance(found, (list, tuple)) else [found]
        weights = [nd.array(np.cos(np.arange(y.size)).reshape(y.shape), dtype=y.dtype) for y in found]
        loss = reduce(lambda x, y: x + y, [(y * w).sum() for y, w in zip(found, weights, strict=True)])
    loss.backward()
    of_inputs = [np.zeros(x.shape) if x.grad is None else x.grad.asnumpy() for x in floats]
    of_parameters = [p.grad().asnumpy() for p in block.collect_params().values() if p.grad_req != "null"]
    return outputs(found) + of_inputs + of_parameters


def assert_close(found, expected, tolerance=2e-5):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * max(1, np.abs(theirs).max()))


@every_case
@pytest.mark.parametrize(("batch", "length", "hybridize"), [(2, 6, False), (3, 7, True), (1, 1, True), (1, 512, True)])
def test_both_forms_compute_the_same(case, batch, length, hybridize):
    results = []
    for form in FORMS:
        with computed_in(form):
            floats, others = inputs_of(case, batch, length)
            for x in floats:
                x.attach_grad()
            results.append(gradients(build(case, hybridize), floats, others))
    assert_close(*results)


# --- what is inside a block is used, and can be watched ----------------------------------------------------------
class Mine(gluon.HybridBlock):
    """A block of one's own in the place of another."""

    def __init__(self, inner, seen):
        super().__init__()
        self.inner, self.seen = inner, [seen]

    def forward(self, *args):
        out = self.inner(*args)
        self.seen[0].append(shapes(out))
        return out


def shapes(out):
    return [y.shape for y in out] if isinstance(out, (list, tuple)) else out.shape


def derive(parent, name, child, seen):
    def call(self, *args):
        out = super(type(self), self).__call__(*args)
        seen.append(shapes(out))
        return out

    child.__class__ = type("Derived", (type(child),), {"__call__": call})


def replace(parent, name, child, seen):
    new = Mine(child, seen)
    if isinstance(parent, nn.HybridSequential):
        parent._children[name] = new
    else:
        delattr(parent, name)
        setattr(parent, name, new)


def override(parent, name, child, seen):
    original = child.forward

    def forward(*args):
        out = original(*args)
        seen.append(shapes(out))
        return out

    child.forward = forward


WATCHES = {
    "derived class": derive,
    "block of one's own": replace,
    "forward of one's own": override,
    "hook": lambda parent, name, child, seen: child.register_forward_hook(lambda b, x, out: seen.append(shapes(out))),
    "pre-hook": lambda parent, name, child, seen: child.register_forward_pre_hook(
        lambda b, args: seen.append([x.shape for x in args if x is not None])
    ),
}


def parts(block, path=()):
    """Paths of all blocks inside, but for those of the first of two layers, which are as in an EncoderBlock alone."""
    for name, child in block._children.items():
        if (*path, name)[-2:] != ("blks", "0"):
            yield from parts(child, (*path, name))
        if name != "blks":  # only a list
            yield (*path, name)


def watch(case, path, how, seen):
    block = build(case)
    parent = reduce(lambda b, name: b._children[name], path[:-1], block)
    WATCHES[how](parent, path[-1], parent._children[path[-1]], seen)
    return block


def whole(block, *inputs):
    """A classifier without its short cut: every block is called on all positions."""
    if isinstance(block, BERTClassifier):
        return block.classify(nd, *block.bert(*inputs), inputs[-1])
    return block(*inputs)


@pytest.mark.parametrize("how", WATCHES)
@pytest.mark.parametrize("case", WITH_PARTS)
def test_every_part_is_used_and_can_be_watched(case, how):
    """Finding 2: no operator passes over a block that was replaced or that somebody watches, at any depth."""
    floats, others = inputs_of(case)
    for path in parts(build(case)):
        seen = []
        block = watch(case, path, how, seen)
        with computed_in("plain"):
            expected = outputs(whole(block, *floats, *others))
        expected_calls = list(seen)
        assert expected_calls, f"{path} is never called"
        for form in FORMS:
            with computed_in(form):
                seen.clear()
                assert_close(outputs(block(*floats, *others)), expected)
                assert seen == expected_calls, path


@both_forms
def test_a_changed_layer_norm_or_dropout_is_followed(form):
    """Finding 2: an axis other than the last, which the operator does not know."""
    X, Y = vectors(6, 6), vectors(6, 6)
    block = AddNorm(0.0, in_channels=6)
    block.initialize()
    block.norm._axis = 0
    block.dropout._rate, block.dropout._axes = 0.5, (0,)
    with computed_in(form):
        np.testing.assert_allclose(block(X, Y).asnumpy().mean(axis=0), 0, atol=1e-6)
        Y.attach_grad()
        with autograd.record():
            loss = (block(X, Y) * vectors(6, 6)).sum()
        loss.backward()
    dropped = Y.grad.asnumpy() == 0
    assert (dropped == dropped[0]).all()  # whole columns
    block.norm._axis, block.dropout._axes = -1, ()
    for rate in (-0.5, 1.0):  # when predicting, nothing is dropped whatever the rate
        block.dropout._rate = rate
        with computed_in(form):
            np.testing.assert_allclose(block(X, Y).asnumpy().mean(axis=1), 0, atol=1e-6)


# --- gradients ---------------------------------------------------------------------------------------------------
@both_forms
@hybridized_or_not
@every_case
def test_grad_req_of_parameters_and_inputs(case, form, hybridize):
    """Finding 12: "write", "add" and "null" mean what they say, and gradients are zero until one is written."""
    with computed_in(form):
        floats, others = inputs_of(case)
        for x in floats:
            x.attach_grad()
        count = len(outputs(build(case)(*floats, *others)))
        block = build(case)
        assert not any(p.grad().asnumpy().any() for p in block.collect_params().values())
        expected = gradients(block, floats, others)[count:]
        of_inputs, of_parameters = expected[: len(floats)], expected[len(floats) :]
        for parameter_req, input_req in [("write", "add"), ("add", "write"), ("null", "add"), ("add", "null")]:
            block = build(case, hybridize)
            block.collect_params().setattr("grad_req", parameter_req)
            for x in floats:
                x.attach_grad(input_req)
            if {parameter_req for _ in of_parameters} | {input_req for _ in floats} == {"null"}:
                continue  # MXNet refuses a backward pass to nowhere
            if (case, hybridize, form, input_req) == ("AddNorm", True, "plain", "add"):
                continue  # MXNet itself counts Y twice where both terms of a sum are inputs of a hybridized block
            for _ in range(2):
                found = gradients(block, floats, others)[count:]
            factor = {"write": 1, "add": 2, "null": 0}
            assert_close(found[: len(floats)], [factor[input_req] * g for g in of_inputs])
            if parameter_req != "null":
                assert_close(found[len(floats) :], [factor[parameter_req] * g for g in of_parameters])


@both_forms
def test_loaded_weights_begin_with_zero_gradients(tiny_checkpoint, form):
    """Finding 3: also those of parameters that the loss does not use."""
    with computed_in(form):
        bert, _ = load_pretrained(tiny_checkpoint)
        parameters = bert.collect_params()
        assert not any(p.grad().asnumpy().any() for p in parameters.values())
        with autograd.record():
            loss = bert(nd.ones((2, 5)), nd.zeros((2, 5)))[0].sum()
        loss.backward()
        assert bert.encoder.norm.beta.grad().asnumpy().any()
        assert not bert.pooler.weight.grad().asnumpy().any()


@both_forms
@hybridized_or_not
def test_many_readers_of_one_array(form, hybridize):
    """Finding 12: MXNet sums eight and more gradients in place, by asking operators to add theirs."""

    class Many(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.dense, self.gelu = nn.Dense(UNITS, flatten=False, in_units=UNITS), GELU()

        def hybrid_forward(self, F, X):
            X = self.dense(X)
            return sum(self.gelu(X) for _ in range(12))

    block = Many()
    block.initialize(mx.init.One())
    if hybridize:
        block.hybridize(static_alloc=True)
    X = vectors(2, UNITS)
    X.attach_grad()
    with computed_in(form), autograd.record():
        loss = block(X).sum()
    loss.backward()
    hidden = X.asnumpy().sum(axis=1, keepdims=True).repeat(UNITS, axis=1)
    expected = nd.array(hidden)
    expected.attach_grad()
    with autograd.record():
        loss = 12 * nd.LeakyReLU(expected, act_type="gelu").sum()
    loss.backward()
    np.testing.assert_allclose(
        X.grad.asnumpy(), expected.grad.asnumpy().sum(axis=1, keepdims=True).repeat(UNITS, axis=1), rtol=1e-4
    )


# --- number types, masks, views, NaN -------------------------------------------------------------------------------
@both_forms
@hybridized_or_not
@pytest.mark.parametrize("dtype", ["float64", "float16"])
@every_case
def test_number_types(case, dtype, form, hybridize):
    """A block cast to another type takes and gives it."""
    floats, others = inputs_of(case, dtype=dtype)
    with computed_in("plain"):
        expected = outputs(build(case)(*(x.astype("float32") for x in floats), *others))
        try:
            found = outputs(build(case, dtype=dtype)(*floats, *others))
        except mx.MXNetError as error:
            with suppress(mx.MXNetError):
                nd.waitall()  # the error may come once more, and would in the next test
            pytest.skip(f"MXNet's CPU does not compute it in {dtype}: {str(error).splitlines()[-1]}")
    with computed_in(form):
        found = outputs(build(case, hybridize, dtype)(*floats, *others))
    assert {y.dtype for y in found} == {np.dtype(dtype)}
    assert_close(found, expected, tolerance=2e-5 if dtype == "float64" else 2e-2)


@both_forms
@hybridized_or_not
@pytest.mark.parametrize("case", TAKES_MASK)
def test_a_mask_may_be_of_any_number_type(case, form, hybridize):
    """Finding 20."""
    floats, others = inputs_of(case)
    with computed_in(form):
        expected = outputs(build(case)(*floats, *others))
        for dtype in ("int32", "uint8", "float64", "bool"):
            block = build(case, hybridize)
            assert_close(outputs(block(*floats, *others[:-1], others[-1].astype(dtype))), expected)


@both_forms
@every_case
def test_views_are_taken_as_what_they_show(case, form):
    """Rows out of the middle of a larger array, whose memory they share."""
    floats, others = inputs_of(case)
    with computed_in(form):
        expected = outputs(build(case)(*floats, *others))
        larger = [nd.concat(x * 9 + 1, x, x * 9 + 1, dim=0) for x in (*floats, *others)]
        views = [y[len(x) : 2 * len(x)] for x, y in zip((*floats, *others), larger, strict=True)]
        assert_close(outputs(build(case)(*views)), expected)
        turned = [nd.array(np.asfortranarray(x.asnumpy())) for x in (*floats, *others)]
        assert_close(outputs(build(case)(*turned)), expected)
        if floats:
            block = build(case)
            larger[0].attach_grad()
            with autograd.record():
                loss = block(larger[0][len(floats[0]) : 2 * len(floats[0])], *views[1:]).sum()
            loss.backward()
            rows = np.abs(larger[0].grad.asnumpy()).reshape(3, -1).sum(axis=1)
            assert rows[0] == rows[2] == 0 != rows[1]


@hybridized_or_not
@every_case
def test_not_a_number_in_gives_not_a_number_out(case, hybridize):
    """Otherwise a training that diverges would not be noticed. Both forms have it at the same places."""
    floats, others = inputs_of(case)
    results = []
    for form in FORMS:
        with computed_in(form):
            block = build(case, hybridize)
            if floats:
                floats[0][0, :, 1] = float("nan")
            else:
                parameters = block._collect_params_with_prefix()
                table = next(p for name, p in parameters.items() if name.endswith("word_embed.weight"))
                table.data()[int(others[0][0, 0].asscalar()), 1] = float("nan")
            results.append([np.isnan(y) for y in outputs(block(*floats, *others))])
    for ours, plain in zip(*results, strict=True):
        assert plain.any()
        np.testing.assert_array_equal(ours, plain)


# --- modes, locale, files ------------------------------------------------------------------------------------------
@both_forms
@hybridized_or_not
@pytest.mark.parametrize("case", DROPS)
def test_dropout_follows_autograds_mode(case, form, hybridize):
    floats, others = inputs_of(case)
    with computed_in(form):
        block = build(case, hybridize)
        expected = outputs(block(*floats, *others))
        with autograd.record(), autograd.predict_mode():
            np.testing.assert_equal(outputs(block(*floats, *others)), expected)
        with autograd.train_mode():
            first, second = (outputs(block(*floats, *others))[-1] for _ in range(2))
        assert (first != second).any()
        np.testing.assert_equal(outputs(block(*floats, *others)), expected)


@pytest.fixture(scope="module")
def decimal_comma(tmp_path_factory):
    """The name of a locale that writes 0,25, and where the C library finds it."""
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8"):
        try:
            before = locale.setlocale(locale.LC_ALL)
            locale.setlocale(locale.LC_ALL, name)
            locale.setlocale(locale.LC_ALL, before)
            return name, os.environ.get("LOCPATH", "")
        except locale.Error:
            continue
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
        subprocess.run(command, capture_output=True, check=False)  # 1 for a warning
    if not list(folder.iterdir()):
        pytest.skip("no locale with a decimal comma, and no localedef to make one")
    return "de_DE.UTF-8", str(folder)


@both_forms
@pytest.mark.parametrize("case", DROPS)
def test_a_decimal_comma_changes_nothing(case, form, decimal_comma, monkeypatch):
    """Finding 5: std::stod("0.25") is 0 there, and dropout was off."""
    floats, others = inputs_of(case)
    name, folder = decimal_comma
    results = []
    with computed_in(form), autograd.train_mode():
        for names in ("C", name):
            before = locale.setlocale(locale.LC_ALL)
            monkeypatch.setenv("LOCPATH", folder)
            locale.setlocale(locale.LC_ALL, names)
            try:
                assert locale.localeconv()["decimal_point"] == ("." if names == "C" else ",")
                block = build(case)
                mx.random.seed(7)
                results.append(outputs(block(*floats, *others)))
            finally:
                locale.setlocale(locale.LC_ALL, before)
    np.testing.assert_equal(*results)


@both_forms
@pytest.mark.parametrize("case", SENTENCE_ENCODERS)
def test_files_of_a_block_that_is_no_graph(case, form, tmp_path):
    floats, others = inputs_of(case)
    with computed_in(form):
        block = build(case)
        block.save_parameters(str(tmp_path / "parameters"))
        again = CASES[case][0]()
        again.load_parameters(str(tmp_path / "parameters"))
        np.testing.assert_equal(outputs(again(*floats, *others)), outputs(block(*floats, *others)))


@both_forms
@pytest.mark.parametrize("case", GRAPHS)
def test_gluons_own_files(case, form, tmp_path):
    """save_parameters and load_parameters, export and SymbolBlock.imports."""
    floats, others = inputs_of(case)
    with computed_in(form):
        block = build(case, hybridize=True)
        expected = outputs(block(*floats, *others))
        block.save_parameters(str(tmp_path / "parameters"))
        again = CASES[case][0]()
        again.load_parameters(str(tmp_path / "parameters"))
        np.testing.assert_equal(outputs(again(*floats, *others)), outputs(build(case)(*floats, *others)))
        block.export(str(tmp_path / "net"))
        graph = mx.sym.load(str(tmp_path / "net-symbol.json"))
        names = sorted(name for name in graph.list_arguments() if name.startswith("data"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), names, str(tmp_path / "net-0000.params"))
        assert_close(outputs(net(*floats, *others)), expected, 1e-6)
