"""A checkpoint: one safetensors file (no pickle) of named arrays, with a JSON state and a SHA-256 of both as metadata.

The one before it is kept as well, so that a damaged file costs minutes, not the run.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

import mxnet as mx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..machine.files import atomic_path, read_arrays
from ..machine.memory import view


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


def _take_in(name, array, checksum):
    checksum.update(json.dumps([name, array.dtype.name, array.shape]).encode())
    checksum.update(array)
