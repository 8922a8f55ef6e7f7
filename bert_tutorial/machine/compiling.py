"""Compiling operators.cc for this machine, the first time, and keeping the library where nobody else can change it."""

import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import mxnet as mx
import pooch

from .cpu import cpu_flags

SOURCE = Path(__file__).with_name("operators.cc")
MXNET = Path(mx.__file__).parent
FLAGS = (
    "-std=c++17 -O3 -march=native -fopenmp -shared -fPIC "
    # what vector instructions need; not -ffast-math, which would round the whole process's smallest numbers to 0
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math"
)
X86 = {"x86_64", "amd64", "i386", "i686"}


def compiled_library():
    """The library in a folder that only its user can write to, compiled now if it is not there or damaged.

    Its name ends in the SHA-256 of its content: a damaged library would end the process.

    Raises
    ------
    OSError, subprocess.SubprocessError
        There is no compiler, or it failed, or the folder cannot be written to.
    """
    compiler = _compiler()
    key, folder = _key(compiler), _folder()
    for library in sorted(folder.glob(f"operators-{key}-*.so")):
        if _is_sound(library):
            return library
        library.unlink(missing_ok=True)
    return _compile(compiler, folder, key)


def _compiler():
    """The command of the C++ compiler, CXX in the environment or c++, as a list of words."""
    name, *arguments = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no C++ compiler: {name!r} was not found")
    return [path, *arguments]


def _key(compiler):
    """What the compiled library depends on, as 16 letters."""
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=60).stdout
    parts = [SOURCE.read_bytes(), FLAGS, mx.__version__, platform.machine(), *sorted(cpu_flags())]
    parts += [os.path.realpath(compiler[0]), *compiler[1:], version]
    key = hashlib.sha256(b"\0".join(part if isinstance(part, bytes) else part.encode() for part in parts))
    return key.hexdigest()[:16]


def _folder():
    """The folder of this file, or, where that is not ours to write or others may write there too, one of the user's."""
    folder = SOURCE.parent.resolve()
    if os.access(folder, os.W_OK) and _is_ours_alone(folder):
        return folder
    folder = Path(pooch.os_cache("bert_tutorial"), "operators").resolve()  # never a cache that a class may share
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours_alone(folder):
        raise PermissionError(f"{folder} is not yours alone, so others could run their code as you: delete it")
    return folder


def _is_ours_alone(path):
    """Whether the owner is this process's user or root, and nobody else may write."""
    found = path.lstat()
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_sound(library):
    try:
        return _is_ours_alone(library) and library.stem.endswith(f"-{_digest(library)}")
    except FileNotFoundError:  # another process deleted it as damaged
        return False


def _digest(path):
    return pooch.file_hash(str(path))[:16]


def _compile(compiler, folder, key):
    print("Compiling BERT's CPU operators, once ...", file=sys.stderr)
    command = [*compiler, *FLAGS.split(), f"-I{MXNET}/include"]
    if "avx512f" in cpu_flags() and platform.machine().lower() in X86:
        command.append("-mprefer-vector-width=512")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # one for each process that compiles now
        temporary = Path(scratch, "operators.so")
        command += ["-o", str(temporary), str(SOURCE), str(MXNET / "src" / "lib_api.cc")]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        temporary.chmod(0o755)  # whatever the user's umask lets others do
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        return temporary.replace(folder / f"operators-{key}-{_digest(temporary)}.so")


def first_error(error):
    """The first error of a compiler, which tells the cause, or the last line."""
    lines = str(getattr(error, "stderr", None) or error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if "error:" in line), lines[-1])
