"""The names that MXNet still uses of older NumPys: all of them are there, for MXNet alone, and nothing else is."""

import ast
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

from bert_tutorial.machine import mxnet_numpy

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

NUMPY_IN_MXNET = mx.numpy.fallback.onp


def numpy_names(tree):
    """The names that a file reads off NumPy: "bool" for `_np.bool`."""
    called = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "numpy"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called:
            yield node.attr


def python_files(package):
    """Module name and syntax tree of each file of a package that is installed."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    for path in folder.rglob("*.py"):
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_name_that_mxnet_reads_off_numpy_is_there_and_no_other_is_lent():
    warnings.simplefilter("ignore")
    used = {name: set(numpy_names(tree)) for name, tree in python_files("mxnet")}
    names = set().union(*used.values()) | set(mx.numpy_dispatch_protocol._NUMPY_ARRAY_FUNCTION_LIST)
    assert [name for name in names if "." not in name and not hasattr(NUMPY_IN_MXNET, name)] == []
    assert set(mxnet_numpy.LENT) <= names
    for module, names in used.items():
        if names & set(mxnet_numpy.LENT):
            assert any(value is NUMPY_IN_MXNET for value in vars(sys.modules[module]).values()), module


@pytest.mark.slow
@pytest.mark.parametrize("package", ["gluonnlp", "d2l"])
def test_gluonnlp_and_d2l_need_none_of_them(package):
    files = [tree for name, tree in python_files(package) if package == "gluonnlp" or name == "d2l.mxnet"]
    assert files
    assert not set().union(*map(numpy_names, files)) & set(mxnet_numpy.LENT)


ALONE = """
import sys, types, numpy
if {named}:
    numpy.int = numpy.PINF = "the user's"
before, old = dict(vars(numpy)), {{name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "numpy"}}
import bert_tutorial
assert sys.modules["numpy"] is numpy
assert all(sys.modules[name] is module for name, module in old.items())
changed = {{name for name, value in vars(numpy).items() if before.get(name) is not value}}
assert all(isinstance(vars(numpy)[name], types.ModuleType) for name in changed), changed  # NumPy's, loaded when needed
stand_in = type(sys.modules["mxnet.numpy.fallback"].onp)
for name, module in sys.modules.items():
    if isinstance(module, types.ModuleType) and name.split(".")[0] != "mxnet":
        assert not any(type(value) is stand_in for value in vars(module).values()), name
assert not {named} or sys.modules["mxnet.numpy.fallback"].onp.PINF == "the user's"
"""


@pytest.mark.parametrize("named", [False, True])
def test_numpy_stays_as_it_was_and_mxnet_alone_has_the_other(named):
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(named=named)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_old_names_still_do_what_they_did():
    x = mx.np.array([[3, 1], [2, 4]])
    assert mx.np.msort(x).asnumpy().tolist() == [[2, 1], [3, 4]]
    assert mx.np.in1d(x, mx.np.array([3, 4])).asnumpy().tolist() == [True, False, False, True]
    assert mx.np.trapz(x[0]).item() == 2
    assert mx.np.alltrue(x > 0).item()
    assert mx.np.sometrue(x > 3).item()
    assert (mx.np.product(x).item(), mx.np.round_(x / 2).asnumpy().tolist()) == (24, [[2, 0], [1, 2]])
    assert mx.np.pad(x, ((1, 0), (0, 0)), "constant").shape == (3, 2)
    assert np.signbit(mx.np.NZERO)
    assert x[x > 2].asnumpy().tolist() == [3, 4]
    assert mx.gluon.contrib.estimator.LoggingHandler().priority == np.inf
    with pytest.raises(RuntimeError, match="numpy-financial"):
        mx.np.pv(0.1, 2, 3)


def test_numpys_functions_find_mxnets():
    """MXNet finds its operator by NumPy's function, which an old name must not take from it."""
    x, dispatch = mx.np.array([[3.0, 1.0], [2.0, 4.0]]), mx.numpy_dispatch_protocol._NUMPY_ARRAY_FUNCTION_DICT
    for name in ("prod", "any", "round", "mean"):
        assert dispatch[getattr(np, name)] is getattr(mx.np, name)
        assert isinstance(getattr(np, name)(x), mx.np.ndarray)


TWO, THREE = np.int64(2), np.int64(3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nd.zeros((TWO, THREE)),
        lambda: nd.arange(6).reshape((TWO, 3)),
        lambda: nd.random.normal(shape=(TWO, THREE)),
        lambda: nd.zeros((4, 4))[TWO:, : np.int32(3)],
        lambda: mx.np.zeros((TWO, THREE)),
        lambda: mx.np.resize(mx.np.arange(6), (TWO, THREE)),  # ended the process: a Python error in a callback of C's
        lambda: mx.sym.zeros((TWO, THREE)).eval()[0],
        lambda: dense(THREE)(nd.zeros((2, 4))),
    ],
)
def test_shapes_may_be_numpys_integers(make):
    """NumPy 2 writes them as np.int64(2), which MXNet's C++ does not read."""
    assert make().shape == (2, 3)


def dense(units):
    layer = mx.gluon.nn.Dense(units)
    layer.initialize()
    return layer


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8"])
@pytest.mark.parametrize("scalar", [3, np.int64(3), np.float32(3), np.float64(3)])
def test_an_array_keeps_its_number_type_beside_a_scalar(dtype, scalar):
    x = nd.array([1, 2], dtype=dtype)
    assert (x * scalar).dtype == (scalar + x).dtype == np.dtype(dtype)
    assert (x * scalar).asnumpy().tolist() == [3, 6]


FIRST = """
try:
    import mxnet
except AttributeError:
    import bert_tutorial
"""


def test_an_import_of_mxnet_that_failed_is_named_with_the_remedy():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "restart the kernel, and import bert_tutorial first" in done.stderr.splitlines()[-1]
