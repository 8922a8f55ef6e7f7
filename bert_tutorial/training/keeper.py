"""What a training must not lose: parameters to put back when it fails, and the checkpoint that it goes on from.

All random numbers of a step are drawn from the seed and the step's number alone, the data's order from the seed and the
number of the step that the order is drawn at. So parameters, optimiser and the number of steps done are all that a
checkpoint must hold for the run to go on with the same bits.
"""

import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from mxnet import cpu, nd

from ..machine.files import temporary_file, write_errors
from ..machine.memory import view
from .checkpoint import checkpoint_exists, load_checkpoint, save_checkpoint

SAVE_INTERVAL = 60  # seconds between two checkpoints
SAVE_SHARE = 0.02  # of the time, at most, goes into checkpoints


class Keeper:
    """Keeps the parameters of one moment, saves the whole run, and brings either back.

    Parameters
    ----------
    parameters : dict of str to mxnet.gluon.Parameter
        All that a training changes, by name.
    checkpoint : path or None
        Worker 0 writes and reads it.
    keeps_best : bool
        Whether the parameters kept are the best round's, which a checkpoint must hold, too.
    workers : Workers
    """

    def __init__(self, parameters, checkpoint, keeps_best, workers):
        self.parameters, self.keeps_best, self.workers = parameters, keeps_best, workers
        self.path = Path(checkpoint) if checkpoint and workers.rank == 0 else None
        self.kept = KeptValues(parameters, self.path and self.path.parent)
        self.start = "before training"
        self.save_at = time.perf_counter() + SAVE_INTERVAL

    def keep(self, when):
        """Keep the parameters of this moment, in words for the reader, in place of those kept so far."""
        self.kept.keep(self._values(), when)

    def keep_start(self):
        """Keep the parameters if none are kept yet."""
        if not self.kept.when:
            self.keep(self.start)

    def put_back(self):
        """Put the parameters kept last into the network; the moment they are of."""
        if self.kept.when:  # else no step was done since the start
            self.kept.put_back()
        return self.kept.when or self.start

    def is_due(self):
        """Whether it is time for a checkpoint."""
        return self.path is not None and time.perf_counter() > self.save_at

    def save(self, arrays, state):
        """Write the checkpoint, if there is to be one: parameters, and what the caller adds to go on from them.

        Parameters
        ----------
        arrays : dict of str to mxnet.nd.NDArray
        state : dict
            JSON-able.

        Raises
        ------
        OSError
            It could not be written; the ones before are as they were.
        """
        if not self.path:
            return
        started = time.perf_counter()
        arrays = {f"net/{name}": array for name, array in self._values().items()} | arrays
        if self.keeps_best:
            arrays |= {f"kept/{name}": array for name, array in self.kept.read()}
        save_checkpoint(self.path, arrays, state | {"kept": self.kept.when})
        now = time.perf_counter()
        self.save_at = now + max(SAVE_INTERVAL, (now - started) / SAVE_SHARE)

    def load(self):
        """What `save` wrote, on every worker: arrays, and state; None if there is no checkpoint.

        Raises
        ------
        ValueError
            It is damaged, and so is the one before it.
        """
        arrays, state = {}, None
        if self.path and checkpoint_exists(self.path):
            arrays, state = load_checkpoint(self.path)
        state = json.loads(self.workers.broadcast(json.dumps(state).encode()))
        return state and (self.workers.broadcast_arrays(arrays), state)

    def restore(self, arrays, state):
        """Put what `load` gave into the network.

        Raises
        ------
        ValueError
            It is of another network. Nothing was changed.
        """
        then = {name.removeprefix("net/"): array.shape for name, array in arrays.items() if name.startswith("net/")}
        now = {name: parameter.shape for name, parameter in self.parameters.items()}
        for name in {**then, **now}:
            if then.get(name) != now.get(name):
                raise ValueError(
                    f"{self.path} is of another network: {name} has shape {then.get(name)} there, {now.get(name)} here"
                )
        for name, parameter in self.parameters.items():
            parameter.set_data(arrays[f"net/{name}"])
        if self.keeps_best:
            self.kept.keep({name: arrays[f"kept/{name}"] for name in self.parameters}, state["kept"])
        self.start = f"of the checkpoint at step {state['step']}"

    def _values(self):
        return {name: parameter.list_data()[0] for name, parameter in self.parameters.items()}


class KeptValues:
    """The parameters of one moment, in a file without a name, which is gone with the process.

    Beside weights, gradients and the optimiser's two means they would be a fifth copy of the network in memory.

    Parameters
    ----------
    parameters : dict of str to mxnet.gluon.Parameter
    folder : path, optional
        For the file. If not given, it is on a disk where that can be, and in memory where it cannot be written.

    Attributes
    ----------
    when : str or None
        That moment, in words for the reader; None: nothing is kept yet.

    Raises
    ------
    OSError
        The file cannot be made in `folder`.
    """

    def __init__(self, parameters, folder=None):
        self._parameters, self._folder, self._file = parameters, folder, None
        self.when = None
        if folder:  # that cannot be written to is an error before any work
            with write_errors(folder):
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with this object

    def keep(self, arrays, when):
        """Take these arrays, dict of str to mxnet.nd.NDArray, for the ones kept so far.

        Raises
        ------
        OSError
            The disk that `folder` is on is full.
        """
        try:
            with write_errors(self._folder or "a temporary file"):
                self._file = self._file or temporary_file()
                self._write(arrays)
        except OSError:
            if self._folder:
                raise
            self._file = io.BytesIO()
            self._write(arrays)
        self.when = when

    def _write(self, arrays):
        self._file.seek(0)
        for name in self._parameters:
            self._file.write(view(arrays[name]))
        self._file.flush()

    def read(self):
        """The name and the array, on the CPU, of one parameter after the other."""
        self._file.seek(0)
        for name, parameter in self._parameters.items():
            dtype = np.dtype(parameter.dtype)
            numbers = np.frombuffer(self._file.read(int(np.prod(parameter.shape)) * dtype.itemsize), dtype)
            yield name, nd.array(numbers.reshape(parameter.shape), cpu(), dtype)

    def put_back(self):
        """Put them into the network."""
        for name, array in self.read():
            self._parameters[name].set_data(array)

    def __del__(self):
        if self._file:
            self._file.close()
