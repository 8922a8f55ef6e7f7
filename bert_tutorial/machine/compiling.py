"""Compiling a library for this machine, the first time, and keeping it where nobody else can change it."""

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

import pooch

from .cpu import cpu_flags

PACKAGE = Path(__file__).parent


def compiled_library(name, purpose, compiler, flags, ingredients, arguments):
    """The library in a folder that only its user can write to, compiled now if it is not there or damaged.

    The name of its file ends in the SHA-256 of its content: a damaged library would end the process.

    Parameters
    ----------
    name : str
        What the name of its file begins with.
    purpose : str
        For the reader, who has to wait.
    compiler, flags : lists of str
        As `find_compiler` gives it; what it is told of the machine and of the library.
    ingredients : list of str or bytes
        What the library depends on beyond them and the CPU: its source, versions.
    arguments : callable
        Given an empty folder, the rest of the command, a list: sources, which it may write there, and other paths.

    Raises
    ------
    OSError, subprocess.SubprocessError
        The compiler failed, or the folder cannot be written to.
    """
    prefix = f"{name}-{_key(compiler, flags, ingredients)}"
    folder = _folder()
    for library in sorted(folder.glob(f"{prefix}-*.so")):
        if _is_sound(library):
            return library
        library.unlink(missing_ok=True)
    print(f"Compiling {purpose}, once ...", file=sys.stderr)
    return _compile([*compiler, *flags], arguments, folder, prefix)


def find_compiler(variable, command):
    """The command of a compiler, named by a variable of the environment or by its usual name, as a list of words.

    Raises
    ------
    FileNotFoundError
        It is not installed.
    """
    name, *arguments = shlex.split(os.environ.get(variable, "")) or [command]
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no {'C++' if variable == 'CXX' else 'C'} compiler: {name!r} was not found")
    return [path, *arguments]


def _key(compiler, flags, ingredients):
    """What the compiled library depends on, as 16 letters."""
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=60).stdout
    parts = [*ingredients, *flags, platform.machine(), *sorted(cpu_flags())]
    parts += [os.path.realpath(compiler[0]), *compiler[1:], version]
    key = hashlib.sha256(b"\0".join(part if isinstance(part, bytes) else part.encode() for part in parts))
    return key.hexdigest()[:16]


def _folder():
    """The folder of this file, or, where that is not ours to write or others may write there too, one of the user's."""
    folder = PACKAGE.resolve()
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


def _compile(command, arguments, folder, prefix):
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # one for each process that compiles now
        temporary = Path(scratch, "library.so")
        command = [*command, "-o", str(temporary), *map(str, arguments(Path(scratch)))]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)  # a slow machine
        temporary.chmod(0o755)  # whatever the user's umask lets others do
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        return temporary.replace(folder / f"{prefix}-{_digest(temporary)}.so")


def first_error(error):
    """The first error of a compiler, which tells the cause, or the last line but GCC's word that its linker failed."""
    lines = str(getattr(error, "stderr", None) or error).strip().splitlines() or [type(error).__name__]
    lines = [line for line in lines if not line.startswith("collect2:")] or lines
    return next((line for line in lines if "error:" in line), lines[-1])
