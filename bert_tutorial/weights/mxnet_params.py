"""MXNet's own format for arrays, read without MXNet, whose reader believes any size that a file claims, and crashes.

Source: `NDArray::Save` in MXNet 1.9's src/ndarray/ndarray.cc.
"""

import math
import struct
from pathlib import Path

import numpy as np

FILE_MAGIC, ARRAY_MAGIC = 0x112, 0xF993FAC9
DENSE, FLOAT32 = 0, 0
MAX_DIMENSIONS, MAX_NAME = 8, 1000  # bytes


def read_params(path):
    """Read what `Block.save_parameters` of a network in float32 wrote.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    ValueError
        It is damaged, or another kind of file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except (ValueError, struct.error) as error:
        raise ValueError(f"{path} is damaged ({error}): copy the folder again, or train anew") from error


def _read(file, file_size):
    def take(layout):
        return struct.unpack(layout, file.read(struct.calcsize(layout)))

    magic, _, count = take("<3Q")
    if magic != FILE_MAGIC:
        raise ValueError("it does not begin as such a file does")
    arrays = []
    for _ in range(count):
        magic, storage, ndim = take("<IiI")
        if (magic, storage) != (ARRAY_MAGIC, DENSE) or not 1 <= ndim <= MAX_DIMENSIONS:
            raise ValueError("no dense array where there should be one")
        *shape, _device, _number, dtype = take(f"<{ndim}q2ii")
        size = math.prod(shape)
        if dtype != FLOAT32 or min(shape) < 1 or size * 4 > file_size - file.tell():
            raise ValueError(f"no float32 array of shape {tuple(shape)}")
        arrays.append(np.fromfile(file, "<f4", size).reshape(shape))
    names = []
    for _ in range(*take("<Q")):
        (length,) = take("<Q")
        if length > MAX_NAME:
            raise ValueError(f"a name of {length} bytes")
        names.append(file.read(length).decode())
    if file.read(1):
        raise ValueError("it goes on where it should end")
    return dict(zip(names, arrays, strict=True))
