"""Several processes, on one machine or on many, that train one network together.

Each holds the whole network and draws the same batches; of every batch it takes its share. MXNet's parameter server
(`dist_sync`) adds up their gradients, so that all of them make the same step. `launching` starts them.

Source: Li et al. 2014, "Scaling Distributed Machine Learning with the Parameter Server".
"""

import atexit
import os
import sys
import threading

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.base import _LIB, check_call

FIRST_KEY = 2**17  # below it are the Trainer's keys, the numbers of its parameters; MXNet takes none above 215,000
CHUNK = 2**20  # numbers that are broadcast at once
CONNECT_TIMEOUT = 120  # seconds until all workers and servers must have started


class Workers:
    """This process and those it trains with.

    Parameters
    ----------
    kvstore : mxnet.kvstore.KVStore, optional
        Of type "dist_sync". None: this process is alone.
    rank : int, default 0
        0 to size - 1. Worker 0 writes the files.
    """

    def __init__(self, kvstore=None, rank=0):
        self.kvstore, self.rank = kvstore, rank
        self.size = 1 if kvstore is None else kvstore.num_workers
        self.in_use = False
        self.keys = {}  # by number of elements and type: the server has one array for each

    def claim(self):
        """Begin a training; the server keeps its parameters by number, so there can be no second one.

        Raises
        ------
        ValueError
            There has been one.
        """
        if self.kvstore is not None and self.in_use:
            raise ValueError("these workers have trained a network already: start new processes for another one")
        self.in_use = True

    def share(self, count):
        """Which of `count` samples are this worker's; none if there are fewer than workers.

        Returns
        -------
        slice
        """
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, array):
        """Add up the workers' arrays; every worker must call it, in the same order.

        Parameters
        ----------
        array : mxnet.nd.NDArray
            Of floating-point numbers, (N,).

        Returns
        -------
        mxnet.nd.NDArray
            (N,)
        """
        if self.kvstore is None:
            return array
        kind = len(array), array.dtype
        if kind not in self.keys:
            self.keys[kind] = FIRST_KEY + len(self.keys)
            self.kvstore.init(self.keys[kind], nd.zeros_like(array))
        total = nd.zeros_like(array)
        self.kvstore.pushpull(self.keys[kind], array, out=total)
        return total

    def broadcast(self, content):
        """Give every worker the bytes of worker 0.

        Parameters
        ----------
        content : bytes
            What the others give is ignored.

        Returns
        -------
        bytes
        """
        if self.kvstore is None:
            return content
        # The server adds floating-point numbers only. A float32 holds two bytes exactly, and the others add zeros.
        size = int(self._from_worker_0(np.array([len(content)], dtype="float64"))[0])
        if self.rank:
            content = bytes(size)
        halves = np.frombuffer(content + b"\0" * (size % 2), dtype=np.uint16)
        received = [self._from_worker_0(part) for part in np.array_split(halves, len(halves) // CHUNK + 1)]
        return np.concatenate(received).astype(np.uint16).tobytes()[:size]

    def _from_worker_0(self, numbers):
        if not len(numbers):
            return numbers
        dtype = numbers.dtype if numbers.dtype == np.float64 else np.dtype("float32")
        numbers = numbers if self.rank == 0 else np.zeros_like(numbers)
        return self.sum(nd.array(numbers, mx.cpu(), dtype)).asnumpy()

    def leave(self):
        """End together, when the work is done: the servers stop when all workers have come here."""
        if self.kvstore is not None:
            nd.waitall()
            _wait_at_exit(self.kvstore, True)
            atexit.unregister(_end_at_once)


ALONE = Workers()


def join_workers():
    """Find the other workers, if `launching` started this process; else it works alone.

    A worker that ends without `Workers.leave`, by an error, ends at once with exit code 1.

    Returns
    -------
    Workers
    """
    if "BERT_TUTORIAL_RANK" not in os.environ:
        return ALONE
    timer = threading.Timer(CONNECT_TIMEOUT, _give_up)
    timer.start()
    kvstore = mx.kv.create("dist_sync")
    timer.cancel()
    _wait_at_exit(kvstore, False)
    atexit.register(_end_at_once)
    return Workers(kvstore, int(os.environ["BERT_TUTORIAL_RANK"]))


def _wait_at_exit(kvstore, wait):
    check_call(_LIB.MXKVStoreSetBarrierBeforeExit(kvstore.handle, int(wait)))


def _end_at_once():
    """MXNet would wait for the other workers, who wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _give_up():
    address = f"{os.environ['DMLC_PS_ROOT_URI']}:{os.environ['DMLC_PS_ROOT_PORT']}"
    print(
        f"Error: not all workers and servers met at {address} within {CONNECT_TIMEOUT} seconds: "
        "can every machine reach every other one, on all ports?",
        file=sys.stderr,
    )
    _end_at_once()
