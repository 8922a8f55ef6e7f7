"""Saving whole or not at all: a file is written beside its place, flushed to the disk, then renamed into it.

A checkpoint is one file: named arrays and a JSON state in MXNet's own format (no pickle), then a SHA-256 of all that.
The one before it is kept as well, so that a damaged file costs minutes, not the run.
"""

import hashlib
import json
import logging
import os
from contextlib import contextmanager
from pathlib import Path

import mxnet as mx
import numpy as np

STATE = "state"
DIGEST_SIZE = hashlib.sha256().digest_size  # bytes
CHUNK = 2**20  # bytes


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
        _flush_folder(path.parent)
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
    """Write named arrays and a JSON-able state into one file; the file it replaces stays as `previous_path(path)`.

    Parameters
    ----------
    path : str or path
    arrays : dict of str to mxnet.nd.NDArray
    state : dict
    """
    path = Path(path)
    encoded = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    with atomic_path(path) as temporary:
        mx.nd.save(str(temporary), {**arrays, STATE: mx.nd.array(encoded, dtype=np.uint8)})
        digest = _digest(temporary, temporary.stat().st_size)
        with temporary.open("ab") as file:
            file.write(digest)
            os.fsync(file.fileno())
        if path.exists():  # between this and the next renaming there is only the previous one: `load_checkpoint` knows
            path.replace(previous_path(path))


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; if that is damaged or missing, the one before it.

    Returns
    -------
    arrays : dict of str to mxnet.nd.NDArray
    state : dict

    Raises
    ------
    FileNotFoundError
        There is neither.
    ValueError
        The only one there is, or both, are damaged or no checkpoints.
    """
    paths = [candidate for candidate in (Path(path), previous_path(path)) if candidate.exists()]
    if not paths:
        raise FileNotFoundError(f"no checkpoint {path}")
    if len(paths) == 2:
        try:
            return _read(paths[0])
        except ValueError as error:
            logging.getLogger(__name__).warning("%s: using the one before it", error)
    try:
        return _read(paths[-1])
    except ValueError as error:
        raise ValueError(f"{error}; delete it and start again") from error


def previous_path(path):
    """Where the checkpoint before the one in `path` is."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def checkpoint_exists(path):
    """Whether `load_checkpoint` has something to read."""
    return Path(path).exists() or previous_path(path).exists()


def remove_checkpoint(path):
    """Delete the checkpoint and the one before it."""
    previous_path(path).unlink(missing_ok=True)
    Path(path).unlink(missing_ok=True)


def _read(path):
    size = path.stat().st_size - DIGEST_SIZE
    try:
        with path.open("rb") as file:
            file.seek(max(0, size))
            if file.read() != _digest(path, size):
                raise ValueError("wrong checksum")
        arrays = mx.nd.load(str(path))
        state = json.loads(arrays.pop(STATE).asnumpy().tobytes())
    except (mx.MXNetError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint") from error
    return arrays, state


def _digest(path, size):
    """SHA-256 of a file's first `size` bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.digest()


def _flush_folder(folder):
    """Make a renaming in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
