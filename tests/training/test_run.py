"""A run stopped anywhere and continued is the run that was never stopped, bit for bit."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from functools import cache, partial

from bert_tutorial import BERTClassifier, BERTModel, Recipe, evaluate, seed_everything, train_loop
from bert_tutorial.training import keeper, progress
from bert_tutorial.training.checkpoint import load_checkpoint
from bert_tutorial.training.run import Training, TrainingDivergedError

import mxnet as mx
import numpy as np
import pytest
from gluonnlp.data import SortedBucketSampler
from mxnet import autograd, gluon
from mxnet.gluon.data import ArrayDataset, DataLoader

CTX = mx.cpu()
LOSS = gluon.loss.SoftmaxCELoss()
NUM_EPOCH = 2
NUM_BATCHES = 5  # an epoch
SPEED = ("seconds", "tokens_per_second")


def build(seed=1, dropout=0.1):
    seed_everything(seed)
    net = BERTClassifier(BERTModel(30, 16, 32, 2, 1, dropout, max_length=16), 2, dropout)
    net.initialize(mx.init.Normal(0.3))
    return net


def reviews(count, seed=0):
    random = np.random.RandomState(seed)
    words = random.randint(10, 30, (count, 6))
    columns = (words, random.randint(3, 7, count), np.zeros((count, 6)), random.randint(0, 2, count))
    return ArrayDataset(*(column.astype("float32") for column in columns))


def shuffled(order):
    """Two loaders that draw the order from NumPy's generator: at the start, and at each bucket as well."""
    data = reviews(4 * NUM_BATCHES - 2)
    if order == "gluon":
        return DataLoader(data, batch_size=4, shuffle=True)
    return DataLoader(data, batch_sampler=SortedBucketSampler(list(range(len(data))), 4, mult=2, shuffle=True))


class Stop(Exception):
    pass


class Loss:
    """A loss to which something happens once: when so many batches have been trained on and the next one comes."""

    def __init__(self, at, happens):
        self.at, self.happens, self.batches = at, happens, 0

    def __call__(self, logits, labels):
        factor = 1
        if self.batches == self.at:
            self.at = None
            factor = self.happens() or 1
        self.batches += autograd.is_recording()
        return LOSS(logits, labels) * factor


def stop():
    raise Stop


def run(path, loss=LOSS, net=None, order="gluon", accumulate=1, valid=False, seed=5, recipe=None, **options):
    valid_data = DataLoader(reviews(6, seed=3), batch_size=4) if valid else None
    settings = {"order": order}
    return train_loop(
        net or build(),
        shuffled(order),
        None,
        NUM_EPOCH,
        1e-2,
        CTX,
        loss,
        valid_data=valid_data,
        recipe=Recipe(accumulate=accumulate, **recipe or {}),
        seed=seed,
        checkpoint=path,
        settings=settings,
        **options,
    )


def without_speed(row):
    return {key: value for key, value in row.items() if key not in SPEED}


def result(path, net, history):
    """All that a run ends with: the network, and the last checkpoint's sums, history and optimiser."""
    arrays, state = load_checkpoint(path)
    if not any(name.startswith("kept/") for name in arrays):
        state.pop("kept")  # which parameters a divergence would put back: after a resume, the checkpoint's
    arrays |= {f"now/{name}": p.data() for name, p in net._collect_params_with_prefix().items()}
    state = {**state, "history": [without_speed(row) for row in state["history"]], "sums": without_speed(state["sums"])}
    return {name: array.asnumpy() for name, array in arrays.items()}, state, [without_speed(row) for row in history]


def assert_same(found, expected):
    arrays, *rest = expected
    assert found[1:] == tuple(rest)
    assert set(found[0]) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name)


@pytest.fixture
def every_step(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results of runs that were never stopped."""

    @cache
    def make(**options):
        net, path = build(), tmp_path_factory.mktemp("whole") / "c.params"
        return result(path, net, run(path, net=net, **options))

    return make


@pytest.mark.slow
@pytest.mark.parametrize("batches_before", range(NUM_EPOCH * NUM_BATCHES + 1))
@pytest.mark.parametrize(
    ("order", "accumulate", "valid"),  # every pair of two values
    [("gluon", 1, False), ("gluon", 2, True), ("gluonnlp", 1, True), ("gluonnlp", 2, False)],
)
def test_a_run_stopped_anywhere_ends_with_the_same_bits(
    tmp_path, every_step, whole, order, accumulate, valid, batches_before
):
    options = {"order": order, "accumulate": accumulate, "valid": valid}
    path = tmp_path / "c.params"
    if valid or batches_before < NUM_EPOCH * NUM_BATCHES:  # else there is nothing after the last batch to stop in
        with pytest.raises(Stop):
            run(path, Loss(batches_before, stop), **options)
    else:
        run(path, **options)
    assert path.exists() == (batches_before >= accumulate)
    net = build(seed=2) if path.exists() else build()  # every number comes from the checkpoint
    history = run(path, net=net, resume=True, **options)
    assert_same(result(path, net, history), whole(**options))


@pytest.mark.slow
def test_stopped_after_every_step(tmp_path, every_step, whole):
    path, count = tmp_path / "c.params", 0
    while True:
        net = build()
        try:
            history = run(path, Loss(1, stop), net=net, accumulate=1, valid=True, resume=True)
        except Stop:
            count += 1
        else:
            break
    assert count == NUM_EPOCH * NUM_BATCHES - 1 + NUM_EPOCH - 1
    assert_same(result(path, net, history), whole(accumulate=1, valid=True))


@pytest.mark.parametrize("hybridized", [False, True])
def test_the_network_of_the_stopped_run_can_be_used_again(tmp_path, every_step, hybridized):
    """Whatever the stopped run left in it: gradients of half a step, memory that was planned for it."""
    results = []
    for stops in (False, True):
        net, path = build(), tmp_path / f"{stops}.params"
        if hybridized:
            net.hybridize(static_alloc=True)
        if stops:
            with pytest.raises(Stop):
                run(path, Loss(3, stop), net=net, accumulate=2)
        results.append(result(path, net, run(path, net=net, accumulate=2, resume=True)))
    assert_same(*results)


def test_a_stop_in_the_first_step_leaves_no_gradient(tmp_path):
    results = []
    for stops in (False, True):
        net = build(dropout=0)
        path = tmp_path / f"{stops}.params"
        if stops:
            with pytest.raises(Stop):
                run(path, Loss(1, stop), net=net, accumulate=2)
        results.append(result(path, net, run(path, net=net, accumulate=2)))
    assert_same(*results)


def test_a_seed_that_was_drawn_is_kept(tmp_path, every_step):
    results = []
    for stops in (False, True):
        net, path = build(), tmp_path / f"{stops}.params"
        np.random.seed(3)
        if stops:
            with pytest.raises(Stop):
                run(path, Loss(7, stop), net=net, seed=None)
            np.random.seed(4)
        results.append(result(path, net, run(path, net=net, seed=None, resume=True)))
    assert_same(*results)


def test_frozen_parameters_stay_and_are_not_saved(tmp_path, every_step):
    results = []
    for stops in (False, True):
        net, path = build(), tmp_path / f"{stops}.params"
        net.bert.collect_params().setattr("grad_req", "null")
        before = {name: p.data().asnumpy() for name, p in net.bert.collect_params().items()}
        if stops:
            with pytest.raises(Stop):
                run(path, Loss(7, stop), net=net)
        results.append(result(path, net, run(path, net=net, resume=True)))
        assert all((p.data().asnumpy() == before[name]).all() for name, p in net.bert.collect_params().items())
    assert not [name for name in results[0][0] if name.startswith("net/bert")]
    assert_same(*results)


class Nets(gluon.nn.Block):
    """The same layer twice."""

    def __init__(self):
        super().__init__()
        self.first = gluon.nn.Dense(2, in_units=6)
        self.second = self.first

    def forward(self, words, segments, valid_length):
        return self.first(words / 30) + self.second(words / 20)


def test_tied_parameters_are_saved_once(tmp_path, every_step):
    results = []
    for stops in (False, True):
        seed_everything(1)
        net, path = Nets(), tmp_path / f"{stops}.params"
        net.initialize()
        if stops:
            with pytest.raises(Stop):
                run(path, Loss(7, stop), net=net)
        results.append(result(path, net, run(path, net=net, resume=True)))
    assert len([name for name in results[0][0] if name.startswith("net/")]) == 2
    assert_same(*results)


class Normalising(gluon.nn.Block):
    """With running means, which no gradient changes, and evaluation uses."""

    def __init__(self):
        super().__init__()
        self.norm, self.output = gluon.nn.BatchNorm(in_channels=6), gluon.nn.Dense(2, in_units=6)

    def forward(self, words, segments, valid_length):
        return self.output(self.norm(words))


def test_running_means_belong_to_the_run(tmp_path, every_step):
    """A resumed run has them, and those of the best epoch come back with its parameters."""
    results = []
    for stops in (False, True):
        seed_everything(1)
        net, path = Normalising(), tmp_path / f"{stops}.params"
        net.initialize()
        if stops:
            with pytest.raises(Stop):
                run(path, Loss(7, stop), net=net, valid=True)
            net.initialize(force_reinit=True)
        history = run(path, net=net, valid=True, resume=True)
        results.append(result(path, net, history))
        score = evaluate(net, DataLoader(reviews(6, seed=3), batch_size=4), CTX)
        best = min(history, key=lambda row: (-row["valid_accuracy"], row["valid_loss"]))
        assert score.loss == pytest.approx(best["valid_loss"])
    assert results[0][0]["now/norm.running_mean"].any()
    assert_same(*results)


def not_a_number():
    return math.nan


@pytest.mark.parametrize(("valid", "kept"), [(True, "epoch 1"), (False, "step 7")])
def test_divergence_after_a_resume(tmp_path, every_step, valid, kept):
    path = tmp_path / "c.params"
    with pytest.raises(Stop):
        run(path, Loss(7, stop), valid=valid)
    arrays, _ = load_checkpoint(path)
    net = build(seed=2)
    with pytest.raises(TrainingDivergedError, match=rf"at step 9 .*{kept}"):
        run(path, Loss(1, not_a_number), net=net, valid=valid, resume=True)
    for name, parameter in net._collect_params_with_prefix().items():
        expected = arrays[("kept/" if valid else "net/") + name]
        np.testing.assert_array_equal(parameter.data().asnumpy(), expected.asnumpy(), err_msg=name)


def test_a_diverged_run_is_not_saved(tmp_path, every_step, monkeypatch):
    monkeypatch.setattr(progress, "READ_INTERVAL", 100)
    path = tmp_path / "c.params"
    with pytest.raises(TrainingDivergedError):
        run(path, Loss(3, not_a_number))
    arrays, state = load_checkpoint(path)
    assert state["step"] == 3
    assert all(np.isfinite(array.asnumpy()).all() for array in arrays.values())


def test_a_full_disk_stops_the_run_and_leaves_the_older_checkpoint(tmp_path, every_step, whole, monkeypatch):
    path = tmp_path / "c.params"
    real, writes = keeper.save_checkpoint, []

    def save_checkpoint(*arguments):
        writes.append(arguments)
        if len(writes) == 7:
            raise OSError("no space left on device")
        real(*arguments)

    monkeypatch.setattr(keeper, "save_checkpoint", save_checkpoint)
    with pytest.raises(OSError, match="no space left"):
        run(path)
    monkeypatch.setattr(keeper, "save_checkpoint", real)
    net = build(seed=2)
    history = run(path, net=net, resume=True)
    assert_same(result(path, net, history), whole())


def test_resuming_without_a_checkpoint_starts_anew(tmp_path, whole):
    net, path = build(), tmp_path / "c.params"
    assert_same(result(path, net, run(path, net=net, resume=True)), whole())


OTHERS = [
    ("seed", {"seed": 6}, "seed: 5 there, 6 here"),
    ("accumulate", {"accumulate": 2}, "accumulate: 1 there, 2 here"),
    ("weight_decay", {"recipe": {"weight_decay": 0.5}}, "weight decay"),
    ("warmup_ratio", {"recipe": {"warmup_ratio": 0.5}}, "warmup ratio"),
    ("clip_norm", {"recipe": {"clip_norm": 2.0}}, "clip norm"),
    ("settings", {"order": "gluonnlp"}, "order: 'gluon' there, 'gluonnlp' here"),
]


@pytest.mark.parametrize(("other", "message"), [other[1:] for other in OTHERS], ids=[other[0] for other in OTHERS])
def test_other_settings_are_refused_and_named(tmp_path, every_step, other, message):
    path = tmp_path / "c.params"
    with pytest.raises(Stop):
        run(path, Loss(2, stop))
    before = path.read_bytes()
    net = build()
    start = net.classifier.weight.data().asnumpy()
    with pytest.raises(ValueError, match=message):
        run(path, net=net, resume=True, **other)
    assert path.read_bytes() == before
    np.testing.assert_array_equal(net.classifier.weight.data().asnumpy(), start)


@pytest.mark.parametrize("change", ["shape", "names"])
def test_another_network_is_refused_and_left_as_it_was(tmp_path, every_step, change):
    path = tmp_path / "c.params"
    with pytest.raises(Stop):
        run(path, Loss(2, stop))
    if change == "shape":
        net, name = BERTClassifier(BERTModel(40, 16, 32, 2, 1, 0.1, max_length=16), 2, 0.1), "word_embed"
    else:
        net, name = BERTClassifier(BERTModel(30, 16, 32, 2, 2, 0.1, max_length=16), 2, 0.1), "encoder"
    net.initialize()
    start = net.classifier.weight.data().asnumpy()
    with pytest.raises(ValueError, match=rf"another network: .*{name}"):
        run(path, net=net, resume=True)
    np.testing.assert_array_equal(net.classifier.weight.data().asnumpy(), start)


def make_training(path, settings):
    return Training(build(), np.float32(0.5), 1, Recipe(), CTX, seed=np.int64(3), checkpoint=path, settings=settings)


def test_settings_are_compared_as_a_checkpoint_gives_them_back(tmp_path):
    path, settings = tmp_path / "c.params", {"lengths": (1, 2), "limit": np.int64(4)}
    make_training(path, settings).save()
    make_training(path, settings).restore()
    with pytest.raises(ValueError, match="lengths"):
        make_training(path, {**settings, "lengths": (1, 3)}).restore()


def test_what_json_cannot_hold_is_an_error_before_any_work(tmp_path):
    with pytest.raises(TypeError, match="object"):
        make_training(tmp_path / "c.params", {"data": object()})


def test_a_loader_with_fewer_batches_than_it_says(tmp_path):
    class Short(list):
        def __len__(self):
            return super().__len__() + 1

    with pytest.raises(ValueError, match="after 5 of 6 steps"):
        train_loop(build(), Short(shuffled("gluon")), None, 1, 1e-3, CTX, LOSS)


@pytest.fixture
def handlers():
    """Python's own handlers; a test run in the background inherits that Ctrl-C is ignored."""
    numbers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    yield lambda: {number: signal.getsignal(number) for number in numbers} == numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def kill(number, times=1):
    for _ in range(times):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("batches_before", [0, 2, 4, 5, 8, 9])
def test_a_signal_lets_the_step_end(tmp_path, handlers, whole, number, accumulate, batches_before):
    path = tmp_path / "c.params"
    with pytest.raises(KeyboardInterrupt):
        run(path, Loss(batches_before, partial(kill, number)), accumulate=accumulate)
    assert handlers()
    epochs, batches = divmod(batches_before, NUM_BATCHES)
    steps_per_epoch = math.ceil(NUM_BATCHES / accumulate)
    assert load_checkpoint(path)[1]["step"] == epochs * steps_per_epoch + batches // accumulate + 1
    net = build(seed=2)
    history = run(path, net=net, accumulate=accumulate, resume=True)
    assert handlers()
    assert_same(result(path, net, history), whole(accumulate=accumulate))


def test_a_signal_without_a_checkpoint(handlers):
    with pytest.raises(KeyboardInterrupt):
        run(None, Loss(3, partial(kill, signal.SIGTERM)))
    assert handlers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_comes_through_at_once(tmp_path, handlers, number):
    path = tmp_path / "c.params"
    loss = Loss(3, partial(kill, number, times=2))
    with pytest.raises(KeyboardInterrupt):
        run(path, loss)
    assert loss.batches == 3  # not a batch more
    assert not path.exists()
    assert handlers()
    run(path)  # nothing is left of it


def test_a_signal_before_another_end_is_forgotten(tmp_path, handlers):
    def both():
        kill(signal.SIGINT)
        raise Stop

    with pytest.raises(Stop):
        run(None, Loss(3, both))
    assert handlers()
    run(None)


def test_ignored_signals_stay_ignored(tmp_path, handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(None, Loss(3, partial(kill, signal.SIGINT)))
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_training_outside_the_main_thread(tmp_path, handlers, whole):
    net, path, histories = build(), tmp_path / "c.params", []
    seen = []
    loss = Loss(3, lambda: seen.append(handlers()))
    thread = threading.Thread(target=lambda: histories.append(run(path, loss, net=net)))
    thread.start()
    thread.join()
    assert seen == [True]
    assert_same(result(path, net, histories[0]), whole())


# Forks before it has computed anything: what was imported need not be imported again.
FINETUNE = """
import json, math, os, random, signal, sys, time
from pathlib import Path
from bert_tutorial import cli
from bert_tutorial.training import keeper

keeper.SAVE_INTERVAL, keeper.SAVE_SHARE = 0, math.inf
*arguments, folder, kills = sys.argv[1:]
folder = Path(folder)

def start(output):
    process = os.fork()
    if process:
        return process
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        cli.main(["finetune", *arguments, "--resume", "--output", str(output)])
    except SystemExit as end:
        os._exit(end.code or 0)
    os._exit(9)

def changed(path):
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0

started = time.perf_counter()
assert os.waitpid(start(folder / "whole"), 0)[1] == 0
duration = time.perf_counter() - started
draw = random.Random(1)
checkpoint = folder / "killed" / "checkpoint.safetensors"
found = {"kills": 0, "writing": 0}
for kill in range(int(kills)):
    process = start(folder / "killed")
    if kill % 6 == 5:  # on the way to the first step
        time.sleep(draw.uniform(0, 0.2) * duration)
    else:  # at most so many steps: the run must last
        for _ in range(draw.randint(1, 7)):
            before = changed(checkpoint)
            while changed(checkpoint) == before and not os.waitpid(process, os.WNOHANG)[0]:
                time.sleep(0.0002)
        time.sleep(draw.uniform(0, 0.02))
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    found["kills"] += os.WIFSIGNALED(status)
    found["writing"] += any(checkpoint.parent.glob(f".{checkpoint.name}.*.part"))
assert os.waitpid(start(folder / "killed"), 0)[1] == 0
print(json.dumps(found))
"""


@pytest.mark.slow
def test_killed_a_dozen_times(tmp_path, tiny_checkpoint, table):
    options = ["--pretrained", tiny_checkpoint, "--data", table, "--epochs", 7, "--batch-size", 8, "--max-length", 32]
    command = [sys.executable, "-c", FINETUNE, *map(str, (*options, tmp_path, 12))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    log = tmp_path / "log"
    assert done.returncode == 0, done.stderr + log.read_text()
    assert json.loads(done.stdout)["kills"] == 12
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert set(os.listdir(killed)) == set(os.listdir(whole))
    losses = [json.loads((folder / "metrics.json").read_text())["loss"] for folder in (whole, killed)]
    assert losses[0] == losses[1]
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
