"""BERT's own CPU operators: operators.cc, compiled for this machine the first time, loaded into MXNet.

Where that does not work (no C++ compiler, a GPU build of MXNet, BERT_TUTORIAL_OPERATORS=plain) the blocks use
MXNet's operators instead: the same functions, more slowly. So they do where somebody could tell the difference: a block
that an operator would leave out was replaced or has hooks, or the arrays are not float32.
"""

import functools
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
import numpy as np
import pooch

from .runtime import cpu_flags, mxnet_has_cuda, settings

SOURCE = Path(__file__).with_name("operators.cc")
MXNET = Path(mx.__file__).parent
FLAGS = (
    "-std=c++17 -O3 -march=native -fopenmp -shared -fPIC "
    # what vector instructions need; not -ffast-math, which would round the whole process's smallest numbers to 0
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math"
)
X86 = {"x86_64", "amd64", "i386", "i686"}
FLOAT_NUMBERS = {"0", "1", "2", "12"}  # how MXNet's symbols call float32, float64, float16 and bfloat16


def status():
    """Load the operators, once a process, unless BERT_TUTORIAL_OPERATORS=plain stands in the environment now.

    Returns
    -------
    loaded : bool
    reason : str
        One sentence for the reader.
    """
    if os.environ.get("BERT_TUTORIAL_OPERATORS") == "plain":
        return False, "BERT_TUTORIAL_OPERATORS=plain in your environment"
    return _load()


def available():
    """Whether the operators can be used."""
    return status()[0]


@functools.cache
def _load():
    if mxnet_has_cuda():
        return False, "this MXNet is a GPU build"
    try:
        compiler = _compiler()
        library = _library(compiler, _key(compiler))
        # From this many gradients of one array on, MXNet asks operators to add theirs; a library's cannot
        os.environ["MXNET_EXEC_INPLACE_GRAD_SUM_CAP"] = "1000000"  # read with the first gradients
        settings.own_variables.append("MXNET_EXEC_INPLACE_GRAD_SUM_CAP")
        mx.library.load(str(library), verbose=False)
    except (OSError, subprocess.SubprocessError, mx.MXNetError) as error:
        return False, f"operators.cc could not be compiled or loaded: {_reason(error)}"
    return True, f"compiled from operators.cc for this CPU ({library})"


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


def _library(compiler, key):
    """The library in a folder that only its user can write to, compiled now if it is not there or damaged.

    Its name ends in the SHA-256 of its content: a damaged library would end the process.
    """
    folder = _folder()
    for library in sorted(folder.glob(f"operators-{key}-*.so")):
        if _is_sound(library):
            return library
        library.unlink(missing_ok=True)
    return _compile(compiler, folder, key)


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


def _reason(error):
    """The first error of a compiler, which tells the cause, or the last line."""
    lines = str(getattr(error, "stderr", None) or error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if "error:" in line), lines[-1])


# --- where an operator may stand for blocks ---------------------------------------------------------------------
def take(array):
    """Whether the operators can be used on this array, symbol or parameter."""
    return available() and _is_float32(array)


def _is_float32(array):
    """Whether an array is float32, or all parameters that a symbol is made from; False for a symbol of none."""
    if not isinstance(array, mx.symbol.Symbol):
        return np.dtype(array.dtype) == np.float32
    numbers = {attributes.get("__dtype__") for attributes in array.attr_dict().values()}
    return numbers & FLOAT_NUMBERS == {"0"}


def is_untouched(block, kind, **parts):
    """Whether a block, with these parts in it, computes what its class says and nobody watches it.

    Parameters
    ----------
    block : mxnet.gluon.Block
    kind : type
        The class it must be of; a class derived from it may compute something else.
    **parts : type
        By name, the classes of blocks inside.
    """
    return (
        type(block) is kind
        and not (block._forward_hooks or block._forward_pre_hooks)
        and not vars(block).keys() & {"forward", "hybrid_forward"}
        and not getattr(block, "_axes", ())  # of a Dropout: elements that share their fate
        and 0 <= getattr(block, "_rate", 0) < 1  # the same
        and all(is_untouched(getattr(block, name), part) for name, part in parts.items())
    )


def _own(F, *arrays):
    """Arrays whose gradients may be written: a library's operator cannot add to them, as grad_req="add" asks.

    A variable of the graph gets a copy, which takes the written gradient; MXNet adds that to the variable's.
    """
    return [F.identity(array) if _is_variable(array) else array for array in arrays]


def _is_variable(array):
    if isinstance(array, mx.nd.NDArray):
        return mx.autograd.is_recording() and array.grad is not None
    return array.get_children() is None


def attention(F, query, key, value, mask, num_heads, dropout):
    """Scaled dot-product attention of all heads; the plain form is in `MultiHeadAttention`.

    Parameters
    ----------
    F : module
        mxnet.ndarray or mxnet.symbol.
    query : (B, Lq, C)
    key, value : (B, Lk, C)
    mask : 0/1 array (B, 1 or Lq, Lk)
        Of any number type.
    num_heads : int
    dropout : float
        Probability of dropping an attention weight.

    Returns
    -------
    (B, Lq, C)
    """
    mode = _mode(F, F.slice(query, begin=(0, 0, 0), end=(1, 1, 1)))
    mask = F.stop_gradient(mask if _is_float32(mask) else F.cast(mask, dtype="float32"))
    query, key, value = _own(F, query, key, value)
    return F.bert_attention(query, key, value, mask, mode, num_heads=num_heads, dropout=dropout)[0]


def add_norm(F, X, Y, norm, dropout):
    """LayerNorm(X + dropout(Y)); the plain form is in `blocks.add_norm`.

    Parameters
    ----------
    F : module
        mxnet.ndarray or mxnet.symbol.
    X, Y : arrays of the same shape
    norm : mxnet.gluon.nn.LayerNorm
        Its parameters are used.
    dropout : float
        Probability of dropping an element of Y.

    Returns
    -------
    The shape of X.
    """
    if F is mx.ndarray:
        gamma, beta = norm.gamma.data(X.context), norm.beta.data(X.context)
    else:
        gamma, beta = norm.gamma.var(), norm.beta.var()
    mode = _mode(F, F.slice_axis(beta, axis=0, begin=0, end=1))
    X, Y, gamma, beta = _own(F, X, Y, gamma, beta)
    return F.bert_add_norm(X, Y, gamma, beta, mode, dropout=dropout, epsilon=norm._epsilon)[0]


def gelu(F, X):
    """GELU of any shape; the plain form is MXNet's."""
    return F.bert_gelu(*_own(F, X))


def dense(F, X, weight, bias):
    """X weight^T + bias; the plain form is in `NarrowingDense`.

    Parameters
    ----------
    F : module
        mxnet.ndarray or mxnet.symbol.
    X : (..., K)
    weight : (N, K)
    bias : (N,)

    Returns
    -------
    (..., N)
    """
    return F.bert_dense(*_own(F, X, weight, bias))


def _mode(F, element):
    """1 when predicting, 0 or 2 when training: only MXNet's Dropout knows which it is."""
    return F.Dropout(F.ones_like(F.reshape(element, shape=(1,))), p=0.5)
