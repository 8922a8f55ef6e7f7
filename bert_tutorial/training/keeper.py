"""What a training keeps: the parameters to put back, and the checkpoint to go on from."""

import io
import tempfile

import numpy as np
from mxnet import cpu, nd

from ..machine.files import temporary_file, write_errors
from ..machine.memory import view


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
