"""The NumPy that MXNet sees: the installed one, and the names of older ones that MXNet 1.9.1 still uses.

NumPy itself stays as it is, so no other library and no user sees these names. `tests/machine/test_mxnet_numpy.py` reads
MXNet's Python code for them.
"""

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np


def _renamed(name):
    """What calls NumPy's `name`, and is not `name`: MXNet has an operator for each, and finds it by the function."""
    return lambda *args, **options: getattr(np, name)(*args, **options)


def _financial(name):
    def left(*args, **options):
        raise RuntimeError(f"{name} left NumPy in version 1.20; run: pip install numpy-financial")

    return left


LENT = {
    # Gone in NumPy 1.24, and `bool` back in 2.0.
    "bool": np.bool_,  # the number type of comparisons and of masks, each time that MXNet makes one
    "int": int,  # mxnet.test_utils
    # Gone in NumPy 2.0.
    "Inf": np.inf,  # the priority of the Estimator's event handlers
    "NAN": np.nan,  # these are mxnet.numpy's names, too
    "NaN": np.nan,
    "NINF": -np.inf,
    "NZERO": -0.0,
    "PINF": np.inf,
    "PZERO": 0.0,
    "alltrue": _renamed("all"),
    "compat": SimpleNamespace(basestring=str),  # mxnet.numpy.pad
    "msort": lambda a: np.sort(a, axis=0),
    "product": _renamed("prod"),
    "round_": _renamed("round"),
    "sometrue": _renamed("any"),
    # Gone in NumPy 2.4.
    "in1d": lambda *args, **options: np.ravel(np.isin(*args, **options)),
    "trapz": _renamed("trapezoid"),
    # Gone in NumPy 1.20; up to 1.26 they were still there, to say so. mxnet.numpy has them as its own.
    **{name: _financial(name) for name in ("mirr", "npv", "pmt", "ppmt", "pv", "rate")},
}


class _Numpy(ModuleType):
    def __setattr__(self, name, module):  # a part of NumPy that was just imported
        setattr(np, name, module)

    def __getattr__(self, name):
        if name in LENT and name not in vars(np):
            return LENT[name]
        return getattr(np, name)


def lent_names():
    """The names that the installed NumPy does not have, or that the user has not given it."""
    return [name for name in LENT if name not in vars(np)]


class _StrType(type):
    def __instancecheck__(cls, value):
        return isinstance(value, str)


class _Str(metaclass=_StrType):
    """`str`, but a shape of NumPy's integers is (2, 3) and not, as NumPy 2 has it, (np.int64(2), np.int64(3))."""

    def __new__(cls, value):
        text = str(value)
        if "np." in text and not isinstance(value, str):
            with np.printoptions(legacy="1.25"):
                text = str(value)
        return text


def write_shapes_plainly():
    """Let MXNet write shapes as its C++ reads them: its operators refuse the others, and some end the process."""
    from mxnet._ctypes import ndarray, symbol
    from mxnet.symbol import symbol as variables

    ndarray.str = symbol.str = variables.str = _Str


@contextmanager
def old_names():
    """MXNet that is imported in here gets NumPy with the old names, and keeps it so.

    One object for all of MXNet's files: they use some of the names long after they were imported. Whoever else imports
    NumPy meanwhile, OpenCV on behalf of MXNet or NumPy itself, is given the plain one at the end.
    """
    before, with_old_names = set(sys.modules), _Numpy("numpy")
    sys.modules["numpy"] = with_old_names
    try:
        yield
    finally:
        sys.modules["numpy"] = np
        for name in set(sys.modules) - before:
            if name.split(".")[0] != "mxnet" and isinstance(sys.modules[name], ModuleType):
                _replace(with_old_names, np, vars(sys.modules[name]))


def _replace(old, new, variables):
    for name in [name for name, value in variables.items() if value is old]:
        variables[name] = new
