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
def write_errors(path):
    """Whatever goes wrong while `path` is written becomes an OSError that names it; MXNet's errors name nothing.

    Raises
    ------
    OSError
    """
    try:
        yield
    except (OSError, mx.MXNetError) as error:
        raise OSError(f"cannot write {path}; is the disk full? ({str(error).strip().splitlines()[-1]})") from error


@contextmanager
def atomic_path(path):
    """Give a temporary path to write to; on success it takes the place of `path`."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with write_errors(path):
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

    Raises
    ------
    OSError
        It could not be written; the older files are as they were.
    """
    path = Path(path)
    encoded = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    with atomic_path(path) as temporary:
        arrays = {**arrays, STATE: mx.nd.array(encoded, mx.cpu(), np.uint8)}
        # a file of a GPU's arrays could only be read where there is a GPU of that number
        mx.nd.save(str(temporary), {name: array.as_in_context(mx.cpu()) for name, array in arrays.items()})
        with temporary.open("ab") as file:
            file.write(digest(temporary, file.tell()))
            os.fsync(file.fileno())
        if path.exists():  # between this and the next renaming there is only the previous one: `load_checkpoint` knows
            path.replace(previous_path(path))


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; if that is damaged or missing, the one before it, which takes its place.

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
    path, previous = Path(path), previous_path(path)
    found = [candidate for candidate in (path, previous) if candidate.exists()]
    if not found:
        raise FileNotFoundError(f"no checkpoint {path}")
    for candidate in found:
        try:
            arrays, state = _read(candidate)
        except (mx.MXNetError, OSError, ValueError) as error:
            logging.getLogger(__name__).warning("%s cannot be used: %s", candidate, error)
            continue
        if candidate == previous:  # else the next `save_checkpoint` would put a damaged file in the place of this one
            previous.replace(path)
        return arrays, state
    raise ValueError(f"damaged or no checkpoint: {' and '.join(map(str, found))}. Delete it and start anew.")


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
    with path.open("rb") as file:
        file.seek(max(0, size))
        if file.read() != digest(path, size):
            raise ValueError("its checksum is wrong")
    arrays = mx.nd.load(str(path))  # reads as many arrays as the file says it holds, and not what follows them
    state = json.loads(arrays.pop(STATE).asnumpy().tobytes())
    return arrays, state


def digest(path, size):
    """SHA-256 of a file's first `size` bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            found.update(chunk)
            size -= len(chunk)
    return found.digest()


def _flush_folder(folder):
    """Make a renaming in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
