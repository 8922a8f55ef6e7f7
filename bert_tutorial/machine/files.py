"""Files that are written whole or not at all, and read one array at a time.

A file is written beside its place, flushed to the disk, then renamed into it.
"""

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import mxnet as mx
from safetensors import SafetensorError, safe_open

DIGEST_SIZE = hashlib.sha256().digest_size  # bytes
READ_AT_ONCE = 2**20  # bytes of a file
ON_DISK = "/var/tmp"  # by convention; /tmp is memory on several systems


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


def _flush_folder(folder):
    """Make a renaming in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def remove_oldest(folder, size, newest):
    """Remove each file with `size` bytes or more in newer ones: a larger file than that stays, too."""
    newer = 0
    with suppress(OSError):  # another process may be removing them, too
        for file in sorted(folder.iterdir(), key=lambda file: (file == newest, file.stat().st_mtime), reverse=True):
            own = file.stat().st_size
            if newer >= size:
                file.unlink()
            newer += own


def read_arrays(path, names):
    """Give the name and the array of each of a safetensors file's tensors, with no more than one of them in memory."""
    for name in names:
        with safe_open(path, framework="numpy") as file:  # what was read stays in memory until it is closed
            yield name, file.get_tensor(name)


def digest(path, size):
    """SHA-256 of a file's first `size` bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(READ_AT_ONCE, size))):
            found.update(chunk)
            size -= len(chunk)
    return found.digest()


def temporary_file():
    """Open a file that nobody else sees and that goes with the process, however it ends; on a disk, if there is one.

    It is where TMPDIR says, else in `ON_DISK`, else where Python puts its temporary files.

    Returns
    -------
    binary file
        Empty, open for reading and writing.

    Raises
    ------
    OSError
        None of these folders can be written to.
    """
    told = not {"TMPDIR", "TEMP", "TMP"}.isdisjoint(os.environ)
    folder = ON_DISK if not told and os.access(ON_DISK, os.W_OK) else None
    return tempfile.TemporaryFile(dir=folder)
