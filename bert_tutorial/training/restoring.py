"""What a training puts back: the network's settings when it ends, and its parameters when it has failed."""

import io
import tempfile
from contextlib import contextmanager

import numpy as np
from mxnet import cpu, nd

from ..machine.runtime import interrupts_held
from ..text.records import temporary_file
from .checkpoint import view, write_errors


@contextmanager
def only_values_change(net):
    """Put back, however the work on a network ends, what training sets on its parameters besides their values.

    That is where they are, `grad_req`, `wd_mult` and the trainer that Gluon notes on them. Gradients are zero then.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised.
    """
    before = [(p, p.list_ctx(), p.grad_req, p.wd_mult, p._trainer) for p in net.collect_params().values()]
    try:
        yield
    finally:
        with interrupts_held():
            for settings in before:
                _put_back(*settings)


def _put_back(parameter, devices, grad_req, wd_mult, trainer):
    parameter.grad_req, parameter.wd_mult, parameter._trainer = grad_req, wd_mult, trainer
    if parameter._deferred_init:
        parameter.reset_ctx(devices)
        return
    value, *_ = parameter.list_data()
    if parameter.list_ctx() != devices:
        value = value.copyto(cpu())
        parameter.reset_ctx(devices)  # takes the mean of the devices' copies, which rounding can change
    parameter.set_data(value)  # tells a trainer whose server keeps the parameters
    if grad_req != "null":
        parameter.zero_grad()
        mark_gradient(parameter, fresh=False)


def has_fresh_gradient(parameter):
    """Whether a backward pass has written it since the last step, on any device."""
    return any(data._fresh_grad for data in parameter.list_data())


def mark_gradient(parameter, fresh):
    """Tell Gluon's trainer whether to take the parameter's step."""
    for data in parameter.list_data():
        data._fresh_grad = fresh


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
