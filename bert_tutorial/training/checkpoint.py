"""Saving whole or not at all: a file is written beside its place, flushed to the disk, then renamed into it.

A checkpoint is one safetensors file (no pickle): named arrays, and as its metadata a JSON state and a SHA-256 of both.
The one before it is kept as well, so that a damaged file costs minutes, not the run.
"""

import ctypes
import hashlib
import json
import logging
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, check_call
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

DIGEST_SIZE = hashlib.sha256().digest_size  # bytes
CHUNK = 2**20  # bytes


def last_line(error):
    """What an error says in its last line, or its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


@contextmanager
def write_errors(path):
    """Whatever goes wrong while `path` is written becomes an OSError that names it; other libraries' name nothing.

    Raises
    ------
    OSError
    """
    try:
        yield
    except (OSError, mx.MXNetError, SafetensorError) as error:
        raise OSError(f"cannot write {path}; is the disk full? ({last_line(error)})") from error


@contextmanager
def atomic_path(path):
    """Give a temporary path to write to, which nobody else has; on success it takes the place of `path`.

    It lies in a folder of its own: some libraries write to further temporary files beside it.
    """
    path = Path(path)
    with write_errors(path), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".part") as folder:
        temporary = Path(folder, path.name)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors makes a file of its own, as 0600, but a class may share one folder
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        with suppress(OSError):  # not all file systems can; what it is for is a power cut within seconds
            _flush_folder(path.parent)


def remove_leftovers(path):
    """Delete what processes that were killed while they wrote `path` left beside it."""
    for left in Path(path).parent.glob(f".{Path(path).name}*.part"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:  # of an older version
            left.unlink(missing_ok=True)


def write_text(path, text):
    """Write a small text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
    arrays = {name: view(array) for name, array in arrays.items()}
    state = json.dumps(state)
    checksum = hashlib.sha256(state.encode())
    for name in sorted(arrays):
        _take_in(name, arrays[name], checksum)
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={"state": state, "sha256": checksum.hexdigest()})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if path.exists():  # between this and the next renaming there is only the previous one: `load_checkpoint` knows
            path.replace(previous_path(path))


def view(array):
    """An array as NumPy sees it: in the same memory if it is on the CPU, so it must not change meanwhile."""
    array = array.as_in_context(mx.cpu())
    array.wait_to_read()
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    dtype = np.dtype(array.dtype)
    memory = (ctypes.c_char * (array.size * dtype.itemsize)).from_address(address.value)
    memory.owner = array  # which lives as long as the view does
    return np.frombuffer(memory, dtype).reshape(array.shape)


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
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
    with safe_open(path, framework="numpy") as file:
        names, metadata = sorted(file.keys()), file.metadata()
    if not metadata or set(metadata) != {"state", "sha256"}:
        raise ValueError("it is no checkpoint")
    checksum = hashlib.sha256(metadata["state"].encode())
    arrays = {}
    for name, array in read_arrays(path, names):
        _take_in(name, array, checksum)
        arrays[name] = mx.nd.array(array, mx.cpu(), array.dtype)
    if checksum.hexdigest() != metadata["sha256"]:
        raise ValueError("its checksum is wrong")
    return arrays, json.loads(metadata["state"])


def read_arrays(path, names):
    """Give the name and the array of each of a safetensors file's tensors, with no more than one of them in memory."""
    for name in names:
        with safe_open(path, framework="numpy") as file:  # what was read stays in memory until it is closed
            yield name, file.get_tensor(name)


def _take_in(name, array, checksum):
    checksum.update(json.dumps([name, array.dtype.name, array.shape]).encode())
    checksum.update(array)


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
