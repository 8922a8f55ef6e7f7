"""BERT's own CPU operators: operators.cc, compiled for this machine the first time, loaded into MXNet.

Where that does not work (no C++ compiler, a GPU build of MXNet, BERT_TUTORIAL_OPERATORS=plain) the blocks use
MXNet's operators instead: the same functions, more slowly.
"""

import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import mxnet as mx

from .fetching import cache_dir
from .runtime import cpu_flags, mxnet_has_cuda

SOURCE = Path(__file__).with_name("operators.cc")
MXNET = Path(mx.__file__).parent
FLAGS = (
    "-std=c++17 -O3 -march=native -fopenmp -shared -fPIC "
    # what vector instructions need; not -ffast-math, which would round the whole process's smallest numbers to 0
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math"
)


@functools.cache
def status():
    """Load the operators, once a process.

    Returns
    -------
    loaded : bool
    reason : str
        One sentence for the reader.
    """
    if os.environ.get("BERT_TUTORIAL_OPERATORS") == "plain":
        return False, "BERT_TUTORIAL_OPERATORS=plain in your environment"
    if mxnet_has_cuda():
        return False, "this MXNet is a GPU build"
    library = _library_path()
    try:
        if not library.exists():
            _compile(library)
        mx.library.load(str(library), verbose=False)
    except (OSError, subprocess.SubprocessError, mx.MXNetError) as error:
        return False, f"operators.cc could not be compiled or loaded: {_last_line(error)}"
    return True, f"compiled from operators.cc for this CPU ({library})"


def available():
    """Whether the operators can be used."""
    return status()[0]


def _library_path():
    """A file beside this one, or in the cache where that folder is not ours to write; named by all it depends on."""
    parts = [SOURCE.read_bytes(), FLAGS, mx.__version__, platform.machine(), *sorted(cpu_flags())]
    key = hashlib.sha256(b"\0".join(part if isinstance(part, bytes) else part.encode() for part in parts))
    folder = SOURCE.parent if os.access(SOURCE.parent, os.W_OK) else cache_dir()
    return folder.resolve() / f"operators-{key.hexdigest()[:16]}.so"


def _compile(library):
    print("Compiling BERT's CPU operators, once ...", file=sys.stderr)
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [*shlex.split(os.environ.get("CXX", "c++")), *FLAGS.split(), f"-I{MXNET}/include"]
    if "avx512f" in cpu_flags():
        command.append("-mprefer-vector-width=512")
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # one for each process that compiles now
        temporary = Path(folder) / library.name
        command += ["-o", str(temporary), str(SOURCE), str(MXNET / "src" / "lib_api.cc")]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        temporary.replace(library)


def _last_line(error):
    text = str(getattr(error, "stderr", None) or error).strip()
    return text.splitlines()[-1] if text else type(error).__name__


def attention(F, query, key, value, mask, num_heads, dropout):
    """Scaled dot-product attention of all heads; the plain form is in `MultiHeadAttention`.

    Parameters
    ----------
    F : module
        mxnet.ndarray or mxnet.symbol.
    query : (B, Lq, C)
    key, value : (B, Lk, C)
    mask : 0/1 array (B, 1 or Lq, Lk)
    num_heads : int
    dropout : float
        Probability of dropping an attention weight.

    Returns
    -------
    (B, Lq, C)
    """
    mode = _mode(F, F.slice(query, begin=(0, 0, 0), end=(1, 1, 1)))
    mask = F.stop_gradient(mask)
    return F.bert_attention(query, key, value, mask, mode, num_heads=num_heads, dropout=dropout)[0]


def add_norm(F, X, Y, norm, dropout):
    """LayerNorm(X + dropout(Y)); the plain form is in `AddNorm`.

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
    return F.bert_add_norm(X, Y, F.identity(gamma), F.identity(beta), mode, dropout=dropout, epsilon=norm._epsilon)[0]


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
    # A library's operator writes its gradients and cannot add to them, as grad_req="add" asks; the copy can.
    return F.bert_dense(X, F.identity(weight), F.identity(bias))


def _mode(F, element):
    """1 when predicting, 0 or 2 when training: only MXNet's Dropout knows which it is."""
    return F.Dropout(F.ones_like(F.reshape(element, shape=(1,))), p=0.5)
