"""Saving whole or not at all: a file is written beside its place, flushed to the disk, then renamed into it."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import mxnet as mx
import numpy as np

STATE = "state"


@contextmanager
def atomic_path(path):
    """Give a temporary path to write to; on success it takes the place of `path`."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text):
    """Write a small text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_parameters(net, path):
    """Write a block's parameters atomically, in MXNet's own format (no pickle)."""
    with atomic_path(path) as temporary:
        net.save_parameters(str(temporary))


def save_checkpoint(path, arrays, state):
    """Write named arrays and a JSON-able state into one file.

    Parameters
    ----------
    path : str or path
    arrays : dict of str to mxnet.nd.NDArray
    state : dict
    """
    encoded = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    with atomic_path(path) as temporary:
        mx.nd.save(str(temporary), {**arrays, STATE: mx.nd.array(encoded, dtype=np.uint8)})


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote.

    Returns
    -------
    arrays : dict of str to mxnet.nd.NDArray
    state : dict

    Raises
    ------
    ValueError
        The file is damaged or no checkpoint.
    """
    try:
        arrays = mx.nd.load(str(path))
        state = json.loads(arrays.pop(STATE).asnumpy().tobytes())
    except (mx.MXNetError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not a checkpoint; delete it and start again") from error
    return arrays, state
