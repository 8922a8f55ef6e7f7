"""After any of our loops, however it ended, a network is as its user left it but for the values of its parameters."""

import gc
import itertools
import os
import signal
import weakref
from functools import partial

from bert_tutorial import BERTClassifier, BERTModel, Recipe, evaluate, pretrain_loop, seed_everything, train_loop
from bert_tutorial.heads import BERTForPreTraining
from bert_tutorial.machine import operators
from bert_tutorial.training.progress import TrainingDivergedError
from bert_tutorial.training.scoring import evaluate_pretraining

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from small_runs import LOSS, ONE, TWO, VOCABULARY, make_examples, reviews


@pytest.fixture(params=["compiled", "plain"], autouse=True)
def compiled(request, monkeypatch):
    """Everything here runs twice, with the compiled operators and without."""
    if request.param == "plain":
        monkeypatch.setenv("BERT_TUTORIAL_OPERATORS", "plain")
    elif not operators.available():
        pytest.skip("the operators could not be compiled here")


def classifier(ctx, pooling="pooler"):
    return BERTClassifier(BERTModel(30, 16, 32, 2, 1, 0.1, max_length=16), 2, pooling=pooling)


def pretrained(ctx):
    return BERTForPreTraining(BERTModel(len(VOCABULARY), 16, 32, 2, 1, 0.1, max_length=40))


def build(make, ctx=ONE, hybridized=False):
    """A network with settings of its user's own."""
    seed_everything(1)
    net = make(ctx)
    net.initialize(mx.init.Normal(0.3), ctx)
    if hybridized:
        net.hybridize(static_alloc=True)
    for number, (name, parameter) in enumerate(net._collect_params_with_prefix().items()):
        parameter.grad_req = "null" if name.startswith(frozen(net)) else ("write", "write", "add")[number % 3]
    net.collect_params(".*weight").setattr("lr_mult", 0.5)
    net.collect_params(".*bias").setattr("wd_mult", 0.25)
    return net


def frozen(net):
    """What the user does not train: a LayerNorm, and a pooler that nobody reads."""
    return ("bert.encoder.norm",) + (("bert.pooler",) if getattr(net, "pooling", "pooler") != "pooler" else ())


def blocks(net):
    found = []
    net.apply(found.append)
    return found


def settings(net):
    """All of a network but its parameters' values."""
    found = {"blocks": [(type(b), getattr(b, "_active", None), len(b._forward_hooks)) for b in blocks(net)]}
    for name, p in net._collect_params_with_prefix().items():
        assert p._trainer is None, name
        if p.grad_req != "null":
            assert not any(gradient.asnumpy().any() for gradient in p.list_grad()), name
            assert not any(data._fresh_grad for data in p.list_data()), name
        found[name] = p.list_ctx(), p.grad_req, p.wd_mult, p.lr_mult, p.dtype, p.shape
    return found


def values(net):
    found = {}
    for name, parameter in net._collect_params_with_prefix().items():
        found[name], *others = (data.asnumpy() for data in parameter.list_data())
        for other in others:
            np.testing.assert_array_equal(other, found[name], err_msg=name)
    return found


class Stop(Exception):
    pass


def stop():
    raise Stop


def interrupt(times):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)


class Interrupted:
    """Data to which something happens before the fourth batch: in the middle of a step."""

    def __init__(self, happens):
        self.happens, self.batches = happens, reviews([4, 3, 1, 4, 2, 4])

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for number, batch in enumerate(self.batches):
            if number == 3:
                self.happens()
            yield batch


def fine_tune(net, ctx, happens=int, lr=1e-2, seed=1, **options):
    recipe = Recipe(accumulate=2)
    return train_loop(net, Interrupted(happens), reviews([3]), 2, lr, ctx, LOSS, recipe=recipe, seed=seed, **options)


def pretrain(net, ctx, happens=int, lr=1e-3, seed=1, next_sentence=True, **options):
    examples, valid = (make_examples(9, seed, next_sentence=next_sentence) for seed in range(2))
    make, count = examples.batch, itertools.count()

    def batch(*arguments):
        if next(count) == 3:
            happens()
        return make(*arguments)

    examples.batch = batch
    return pretrain_loop(net, examples, valid, 4, lr, ctx, recipe=Recipe(accumulate=2), rounds=2, seed=seed, **options)


LOOPS = {
    "fine-tuning": (classifier, fine_tune),
    "fine-tuning, [CLS]": (partial(classifier, pooling="cls"), fine_tune),
    "fine-tuning, mean": (partial(classifier, pooling="mean"), fine_tune),
    "pre-training": (pretrained, pretrain),
    "mlm only": (pretrained, partial(pretrain, next_sentence=False)),
}
ENDS = {
    "finished": ({}, None),
    "failed": ({"happens": stop}, Stop),
    "Ctrl-C": ({"happens": partial(interrupt, 1)}, KeyboardInterrupt),
    "Ctrl-C twice": ({"happens": partial(interrupt, 2)}, KeyboardInterrupt),
    "diverged": ({"lr": 1e38}, TrainingDivergedError),
    "refused": ({"seed": -1}, ValueError),
    "no such device": ({"ctx": [ONE, mx.gpu(99)]}, mx.MXNetError),
}


def run(loop, net, ctx, end):
    options, error = ENDS[end]
    options = {"ctx": ctx, **options}
    if error is None:
        loop(net, **options)
    else:
        with pytest.raises(error):
            loop(net, **options)


@pytest.fixture(autouse=True)
def _ctrl_c():
    """A test run in the background inherits that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("loop", LOOPS)
def test_the_network_is_as_its_user_left_it(loop, end):
    """Finding 11, where every trace could be left: other devices, gradients added up, the pooler frozen."""
    make, learn = LOOPS[loop]
    net = build(make, hybridized=end in ("finished", "Ctrl-C"))
    before, start = settings(net), values(net)
    run(learn, net, TWO, end)
    assert settings(net) == before
    changed = {name for name, array in values(net).items() if (array != start[name]).any()}
    assert bool(changed) == (end in ("finished", "failed", "Ctrl-C", "Ctrl-C twice"))


def batch_for(net, ctx):
    words = nd.array([[7, 8, 9, 10]], ctx)
    arrays = words, nd.zeros_like(words), nd.array([4], ctx)
    return arrays if isinstance(net, BERTClassifier) else (*arrays, nd.array([[0, 0], [1, 2]], ctx))


def step(net, trainer, devices):
    """One step of a loop of the user's own."""
    seed_everything(3)
    with autograd.record():
        outputs = [net(*batch_for(net, ctx)) for ctx in devices]
        outputs = [output if isinstance(output, (list, tuple)) else [output] for output in outputs]
        losses = [sum((array**2).sum() for array in output) for output in outputs]
    autograd.backward(losses)
    trainer.step(1)


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("end", ["finished", "failed", "Ctrl-C twice"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_of_ones_own_goes_on_as_on_a_fresh_network(tmp_path, loop, end, hybridized):
    """Finding 11: the same bits as on a copy that our loop never saw."""
    make, learn = LOOPS[loop]
    net = build(make, hybridized=hybridized)
    run(learn, net, TWO if hybridized else ONE, end)
    net.save_parameters(str(tmp_path / "net.params"))
    fresh = build(make, hybridized=hybridized)
    fresh.load_parameters(str(tmp_path / "net.params"))
    before = values(net)
    for copy in (net, fresh):
        trainer = gluon.Trainer(copy.collect_params(), "adam", {"learning_rate": 1e-3, "wd": 0.1})
        for _ in range(2):
            step(copy, trainer, [ONE])
    found, expected = values(net), values(fresh)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert (array != before[name]).any() == (not name.startswith(frozen(net))), name


@pytest.mark.parametrize("end", ["finished", "failed"])
@pytest.mark.parametrize("devices", [[ONE], TWO], ids=["one", "two"])
def test_a_trainer_from_before_goes_on_from_the_new_values(devices, end):
    """Finding 11: with several devices, its server keeps the parameters, and would bring back the old ones."""
    net = build(classifier, devices)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1e-3})
    step(net, trainer, devices)
    net.collect_params().zero_grad()
    start = values(net)
    run(fine_tune, net, devices, end)
    after = values(net)
    assert all(parameter._trainer is trainer for parameter in net.collect_params().values())
    trainer.set_learning_rate(0)
    step(net, trainer, devices)
    found = values(net)
    assert any((after[name] != start[name]).any() for name in start)
    for name, array in after.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_optimisers_memory_is_given_back():
    """Gluon notes the trainer, with two means for each parameter, on the network."""
    net, seen = build(classifier), []
    fine_tune(net, ONE, on_epoch=lambda row: seen.append(weakref.ref(net.classifier.weight._trainer)))
    gc.collect()
    assert [reference() for reference in seen] == [None, None]


@pytest.mark.parametrize("make", [classifier, pretrained])
def test_evaluation_touches_nothing(make):
    net = build(make)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1e-3})
    with autograd.record():
        output = net(*batch_for(net, ONE))
        loss = sum(array.sum() for array in (output if isinstance(output, (list, tuple)) else [output]))
    loss.backward()

    def everything():
        found = values(net)
        for name, p in net._collect_params_with_prefix().items():
            if p.grad_req != "null":
                found["gradient of " + name] = p.grad().asnumpy().copy()
                assert p.data()._fresh_grad
            assert p._trainer is trainer
        return found

    before = everything()
    if make is classifier:
        evaluate(net, reviews([3]), ONE)
    else:
        evaluate_pretraining(net, make_examples(3, 1), ONE, np.full(len(VOCABULARY), 1 / len(VOCABULARY)))
    for name, array in everything().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
