"""What the processes of tests/training/test_launching.py run: python launched.py CASE FOLDER."""

import json
import os
import pickle
import sys
from pathlib import Path

from bert_tutorial import train_loop
from bert_tutorial.machine.chosen import chosen
from bert_tutorial.training.workers import ALONE, join_workers

import mxnet as mx
import numpy as np
import psutil
import small_runs as cases
from mxnet import gluon, nd
from mxnet.base import _LIB


def fine_tune(workers, ctx=cases.ONE, dropout=0.0, **options):
    net = cases.build(ctx, dropout)
    return net, cases.fine_tune(net, ctx, workers=workers, **options)


def pretrain(workers, **options):
    net = cases.build_for_pretraining(cases.ONE)
    return net, cases.pretrain(net, cases.ONE, workers=workers, **options)


class FirstWord(gluon.nn.Block):
    """A network with a parameter that its loss does not use: the pooler."""

    def __init__(self, bert):
        super().__init__()
        self.bert, self.output = bert, gluon.nn.Dense(2, in_units=16)

    def forward(self, words, segments, valid_length):
        return self.output(self.bert(words, segments, valid_length)[0][:, 0])


def unused(workers):
    net = FirstWord(cases.build(cases.ONE).bert)
    net.output.initialize(mx.init.Constant(0.1))
    before = net.bert.pooler.weight.data().asnumpy()
    history = cases.fine_tune(net, cases.ONE, workers=workers)
    np.testing.assert_array_equal(net.bert.pooler.weight.data().asnumpy(), before)
    return net, history


TRAININGS = {
    "fine_tune": fine_tune,
    "accumulate_on_two_devices": lambda workers: fine_tune(workers, cases.TWO, accumulate=2),
    "dropout": lambda workers: fine_tune(workers, dropout=0.5),
    "pretrain": pretrain,
    "mlm_only": lambda workers: pretrain(workers, next_sentence=False),
    "unused": unused,
}


def broadcast(workers, folder):
    for content in (
        b"",
        b"x",
        b"ab",
        os.urandom(1001) if workers.rank == 0 else b"mine",
        bytes(range(256)) * 1000,
    ):
        received = workers.broadcast(content)
        assert len(received) == len(content) or content == b"mine"
        with (folder / f"{workers.rank}.bytes").open("ab") as file:
            file.write(received)
    # many of one size: nothing may be mixed up on the way
    mine = {str(i): nd.arange(999).reshape((3, 333)) / (i + 1) for i in range(50)}
    mine["double"] = nd.array([1e-30], dtype="float64")
    received = workers.broadcast_arrays({} if workers.rank else mine)
    for name, array in mine.items():
        assert received[name].dtype == array.dtype
        np.testing.assert_array_equal(received[name].asnumpy(), array.asnumpy(), err_msg=name)
    assert workers.broadcast_arrays({}) == {}


def without_seed(workers):
    """Each worker's generator is somewhere else."""
    net = cases.build(cases.ONE, dropout=0.5)
    np.random.seed(workers.rank)
    return net, train_loop(net, cases.reviews(cases.SIZES), None, 1, 2e-3, cases.ONE, cases.LOSS, workers=workers)


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def plant(workers, folder):
    """Send each server, as its new optimizer, a pickle that makes a file there."""
    content = pickle.dumps(Planted(folder / "planted"), protocol=0).decode()
    pickle.loads(content.replace("planted", "works").encode())
    workers.kvstore._send_command_to_servers(0, content)


def kill(role):
    """Kill the process of this role beside this one."""
    for node in psutil.Process().parent().children():
        if node.environ()["DMLC_ROLE"] == role:
            node.kill()


def main(case, folder):
    workers = join_workers()
    folder = Path(folder)
    if case == "everything_but_a_seed":
        report(folder, workers)
        broadcast(workers, folder)
        save(folder, workers, *without_seed(workers))
        if workers.rank == 0:
            plant(workers, folder)
    elif case == "other_settings":
        fine_tune(workers, lr=1e-3 * (1 + workers.rank))
    elif case == "bug":
        fine_tune(workers, loss=None if workers.rank == 1 else cases.LOSS)
    elif case in ("server", "scheduler"):
        if workers.rank == 1:
            kill(case)
        fine_tune(workers)
    else:
        report(folder, workers)
        save(folder, workers, *TRAININGS[case](workers))
    workers.leave()


def report(folder, workers):
    """Where this worker found itself."""
    found = {
        "threads": [chosen.threads, _LIB.omp_get_max_threads()],
        "environment": dict(os.environ),
    }
    (folder / f"{workers.rank}.report.json").write_text(json.dumps(found))


def save(folder, workers, net, history):
    np.savez(folder / f"{workers.rank}.npz", **cases.parameters(net))
    (folder / f"{workers.rank}.json").write_text(json.dumps(cases.without_speed(history)))


def alone(case):
    """Parameters and history of the same training in one process."""
    net, history = TRAININGS[case](ALONE)
    return cases.parameters(net), cases.without_speed(history)


if __name__ == "__main__":
    main(*sys.argv[1:])
