"""What the processes of tests/test_launching.py run: python launched.py CASE FOLDER."""

import json
import os
import sys
from pathlib import Path

from bert_tutorial import train_loop
from bert_tutorial.workers import ALONE, CHUNK, join_workers

import numpy as np
import test_devices as cases


def fine_tune(workers, ctx=cases.ONE, dropout=0.0, **options):
    net = cases.build(ctx, dropout)
    return net, cases.fine_tune(net, ctx, workers=workers, **options)


def pretrain(workers, **options):
    net = cases.build_for_pretraining(cases.ONE)
    return net, cases.pretrain(net, cases.ONE, workers=workers, **options)


TRAININGS = {
    "fine_tune": fine_tune,
    "accumulate": lambda workers: fine_tune(workers, accumulate=2),
    "two_devices": lambda workers: fine_tune(workers, cases.TWO),
    "dropout": lambda workers: fine_tune(workers, dropout=0.5),
    "pretrain": pretrain,
    "mlm_only": lambda workers: pretrain(workers, next_sentence=False),
}


def broadcast(workers, folder):
    for content in (
        b"",
        b"x",
        b"ab",
        os.urandom(1001) if workers.rank == 0 else b"mine",
        bytes(range(256)) * (3 * CHUNK // 256),
    ):
        received = workers.broadcast(content)
        assert len(received) == len(content) or content == b"mine"
        with (folder / f"{workers.rank}.bytes").open("ab") as file:
            file.write(received)


def without_seed(workers):
    """Each worker's generator is somewhere else."""
    net = cases.build(cases.ONE, dropout=0.5)
    np.random.seed(workers.rank)
    return net, train_loop(net, cases.reviews(cases.SIZES), None, 1, 2e-3, cases.ONE, cases.LOSS, workers=workers)


def main(case, folder):
    workers = join_workers()
    folder = Path(folder)
    if case == "broadcast":
        broadcast(workers, folder)
    elif case == "other_settings":
        fine_tune(workers, lr=1e-3 * (1 + workers.rank))
    elif case == "twice":
        fine_tune(workers)
        fine_tune(workers)
    elif case == "bug":
        fine_tune(workers, loss=None if workers.rank == 1 else cases.LOSS)
    elif case == "without_seed":
        save(folder, workers, *without_seed(workers))
    else:
        save(folder, workers, *TRAININGS[case](workers))
    workers.leave()


def save(folder, workers, net, history):
    np.savez(folder / f"{workers.rank}.npz", **cases.parameters(net))
    (folder / f"{workers.rank}.json").write_text(json.dumps(cases.without_speed(history)))


def alone(case):
    """Parameters and history of the same training in one process."""
    net, history = TRAININGS[case](ALONE)
    return cases.parameters(net), cases.without_speed(history)


if __name__ == "__main__":
    main(*sys.argv[1:])
