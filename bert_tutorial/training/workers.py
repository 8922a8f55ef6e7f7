"""Several processes, on one machine or on many, that train one network together.

Each holds the whole network and draws the same batches; of every batch it takes its share. MXNet's parameter server
(`dist_sync`) adds up their gradients, so that all of them make the same step. `launching` starts them.

Source: Li et al. 2014, "Scaling Distributed Machine Learning with the Parameter Server".
"""

import atexit
import json
import os
import sys
import threading

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.base import _LIB, check_call

FIRST_KEY = 2**17  # below it are the Trainer's keys, the numbers of its parameters; MXNet takes none above 215,000
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
        self.total = None  # the last sum; it may be on its way

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
        if self.total is not None:  # two sums with one key could overtake each other, on each worker in another way
            self.total.wait_to_read()
        self.total = nd.zeros_like(array)
        self.kvstore.pushpull(self.keys[kind], array, out=self.total)
        return self.total

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
        size = self._from_worker_0(np.array(divmod(len(content), 2**20)))
        size = int(size[0]) * 2**20 + int(size[1])
        if not size:
            return b""
        return self._from_worker_0(np.frombuffer(content if self.rank == 0 else bytes(size), np.uint8)).tobytes()

    def _from_worker_0(self, numbers):
        """The server adds floating-point numbers only, and may do so in float32: exact below 2 ** 24."""
        mine = nd.array(np.zeros_like(numbers) if self.rank else numbers, mx.cpu(), "float32")
        return self.sum(mine).asnumpy().astype(numbers.dtype)

    def broadcast_arrays(self, arrays):
        """Give every worker the arrays of worker 0.

        Parameters
        ----------
        arrays : dict of str to mxnet.nd.NDArray
            On the CPU. What the others give is ignored.

        Returns
        -------
        dict of str to mxnet.nd.NDArray
        """
        if self.kvstore is None:
            return arrays
        kinds = {name: (array.shape, np.dtype(array.dtype).name) for name, array in arrays.items()}
        kinds = json.loads(self.broadcast(json.dumps(kinds).encode()))
        received = {}
        for name, (shape, dtype) in kinds.items():
            if dtype == "float32":
                mine = nd.zeros(shape, mx.cpu()) if self.rank else arrays[name]
                received[name] = self.sum(mine.reshape(-1)).reshape(shape)
            else:
                content = self.broadcast(b"" if self.rank else arrays[name].asnumpy().tobytes())
                received[name] = nd.array(np.frombuffer(content, dtype).reshape(shape), mx.cpu(), dtype)
        return received

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
