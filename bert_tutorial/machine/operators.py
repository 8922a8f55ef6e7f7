"""BERT's own CPU operators: operators.cc, compiled for this machine the first time, loaded into MXNet.

Where that does not work (no C++ compiler, a GPU build of MXNet, BERT_TUTORIAL_OPERATORS=plain) the blocks use
MXNet's operators instead: the same functions, more slowly. So they do where somebody could tell the difference: a block
that an operator would leave out was replaced or has hooks, or the arrays are not float32.
"""

import functools
import os
import platform
import subprocess
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

from .chosen import chosen
from .compiling import compiled_library, find_compiler, first_error
from .cpu import compiler_flags, cpu_flags
from .cuda import mxnet_has_cuda
from .untouched import is_untouched

SOURCE = Path(__file__).with_name("operators.cc")
MXNET = Path(mx.__file__).parent
FLAGS = (
    "-std=c++17 -O3 -fopenmp -shared -fPIC "
    # what vector instructions need; not -ffast-math, which would round the whole process's smallest numbers to 0
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math"
)
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
        library = _compiled()
        # From this many gradients of one array on, MXNet asks operators to add theirs; a library's cannot
        os.environ["MXNET_EXEC_INPLACE_GRAD_SUM_CAP"] = "1000000"  # read with the first gradients
        chosen.own_variables.append("MXNET_EXEC_INPLACE_GRAD_SUM_CAP")
        mx.library.load(str(library), verbose=False)
    except (OSError, subprocess.SubprocessError, mx.MXNetError) as error:
        return False, f"operators.cc could not be compiled or loaded: {first_error(error)}"
    return True, f"compiled from operators.cc for this CPU ({library})"


def _compiled():
    return compiled_library(
        "operators",
        "BERT's CPU operators",
        find_compiler("CXX", "c++"),
        [*FLAGS.split(), *compiler_flags(platform.machine(), cpu_flags())],
        [SOURCE.read_bytes(), mx.__version__],
        lambda _: [f"-I{MXNET}/include", SOURCE, MXNET / "src" / "lib_api.cc"],
    )


def can_take(array):
    """Whether the operators can be used on this array, symbol or parameter."""
    return available() and _is_float32(array)


def _is_float32(array):
    """Whether an array is float32, or all parameters that a symbol is made from; False for a symbol of none."""
    if not isinstance(array, mx.symbol.Symbol):
        return np.dtype(array.dtype) == np.float32
    numbers = {attributes.get("__dtype__") for attributes in array.attr_dict().values()}
    return numbers & FLOAT_NUMBERS == {"0"}


def can_add_norm(norm, dropout=None):
    """Whether `bert_add_norm` may stand for a LayerNorm and, if there is one, a Dropout of the second summand."""
    untouched = is_untouched(norm, nn.LayerNorm) and (dropout is None or is_untouched(dropout, nn.Dropout))
    return untouched and norm.gamma.shape[0] > 0 and can_take(norm.gamma)  # size 0: known from the first call on


def bert_attention(F, query, key, value, mask, num_heads, dropout):
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
    dropout : mxnet.gluon.nn.Dropout
        Of the attention weights.

    Returns
    -------
    (B, Lq, C)
    """
    mode = _mode(F, F.slice(query, begin=(0, 0, 0), end=(1, 1, 1)))
    mask = F.stop_gradient(mask if _is_float32(mask) else F.cast(mask, dtype="float32"))
    query, key, value = _own(F, query, key, value)
    return F.bert_attention(query, key, value, mask, mode, num_heads=num_heads, dropout=dropout._rate)[0]


def bert_add_norm(F, X, Y, norm, dropout=None):
    """norm(X + dropout(Y)) of blocks that `can_add_norm` allows; the plain form is in `AddNorm`.

    Parameters
    ----------
    F : module
        mxnet.ndarray or mxnet.symbol.
    X, Y : arrays of the same shape
    norm : mxnet.gluon.nn.LayerNorm
    dropout : mxnet.gluon.nn.Dropout, optional

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
    rate = 0 if dropout is None else dropout._rate
    return F.bert_add_norm(X, Y, gamma, beta, mode, dropout=rate, epsilon=norm._epsilon)[0]


def bert_gelu(F, X):
    """GELU of any shape; the plain form is MXNet's."""
    return F.bert_gelu(*_own(F, X))


def bert_dense(F, X, weight, bias):
    """X weight^T + bias; the plain form is MXNet's FullyConnected.

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


def _own(F, *arrays):
    """Arrays whose gradients may be written: a library's operator cannot add to them, as grad_req="add" asks.

    A variable of the graph gets a copy, which takes the written gradient; MXNet adds that to the variable's.
    """
    return [F.identity(array) if _is_variable(array) else array for array in arrays]


def _is_variable(array):
    if isinstance(array, mx.nd.NDArray):
        return mx.autograd.is_recording() and array.grad is not None
    return array.get_children() is None


def _mode(F, element):
    """1 when predicting, 0 or 2 when training: only MXNet's Dropout knows which it is."""
    return F.Dropout(F.ones_like(F.reshape(element, shape=(1,))), p=0.5)
