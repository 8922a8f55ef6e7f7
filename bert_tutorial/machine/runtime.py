"""What must be settled before MXNet loads: versions, threads, BLAS kernels.

`prepare` runs once, when `bert_tutorial` is imported. It never overrides what the user set in the environment, and it
records what it chose in `chosen`. What it chooses is this process's own: programs that this one starts do not find it
in their environment.
"""

import os
import platform
import sys
from contextlib import contextmanager

from .arm_libraries import load_arm_libraries
from .chosen import chosen
from .cpu import blas_kernels, cpu_flags, usable_cores
from .cuda import load_cuda_libraries
from .launched import follow_launcher, local_rank, refuse_pickles
from .mxnet_numpy import old_names, write_shapes_plainly

SYSTEM_LIBRARIES = {
    "x86_64": "apt install libgomp1 libquadmath0 (Debian, Ubuntu) or dnf install libgomp libquadmath (Fedora)",
    "aarch64": "apt install libgomp1 (Debian, Ubuntu) or dnf install libgomp (Fedora)",
}


def prepare():
    """Make MXNet importable and fast here; call before the first `import mxnet`.

    Raises
    ------
    ImportError
        An import of MXNet that failed before, a Python without distutils, a library MXNet needs and does not find,
        or both of its builds.
    """
    follow_launcher()
    _require_distutils()
    _refuse_half_loaded()
    already_loaded = "mxnet" in sys.modules
    variables = _choose_blas_kernels(already_loaded) | _choose_threads(already_loaded)
    refuse_pickles()
    with _in_environment(variables):  # MXNet's libraries read the variables
        if not already_loaded:
            load_cuda_libraries()
            load_arm_libraries()
        with _hidden("sklearn", "scipy"), old_names():
            _import_mxnet()
    write_shapes_plainly()


@contextmanager
def _in_environment(variables):
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _hidden(*names):
    """Let libraries that are not loaded yet look as if they were not installed.

    MXNet 1.9.1 loads scikit-learn and SciPy if it can: a second and 55 MB, for a class of its first versions, and for
    SciPy's sparse matrices. Who gives MXNet such a matrix imports SciPy before `bert_tutorial`.
    """
    names = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # None: it cannot be imported
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _require_distutils():
    if sys.version_info >= (3, 12):
        try:
            import setuptools  # noqa: F401  (brings back distutils, which Python 3.12 removed)
        except ImportError:
            raise ImportError("MXNet 1.9.1 needs distutils; run: pip install 'setuptools<81'") from None


def _refuse_half_loaded():
    if "mxnet" not in sys.modules and any(name.startswith("mxnet.") for name in sys.modules):
        raise ImportError(
            "An import of MXNet has failed in this Python, and half of it is loaded. MXNet 1.9.1 alone does not work "
            "with NumPy 1.24 and newer: restart the kernel, and import bert_tutorial first."
        )


def _choose_blas_kernels(already_loaded):
    """The environment variables for MXNet to load with."""
    kernels = blas_kernels(cpu_flags())
    if "OPENBLAS_CORETYPE" in os.environ:
        chosen.blas_kernels = os.environ["OPENBLAS_CORETYPE"]
        chosen.blas_chosen_by = "OPENBLAS_CORETYPE in your environment"
    elif kernels is None:
        chosen.blas_kernels, chosen.blas_chosen_by = "OpenBLAS's own choice", "nothing better known for this CPU"
    elif already_loaded:
        chosen.blas_kernels, chosen.blas_chosen_by = "OpenBLAS's own choice", "MXNet was loaded first"
        chosen.lost.append(
            f"MXNet was imported before bert_tutorial, so its BLAS could not be set to {kernels}: matrix products "
            "may run at a third of their speed. Restart the kernel and import bert_tutorial first."
        )
    else:
        chosen.blas_kernels, chosen.blas_chosen_by = kernels, "this CPU's instruction sets"
        return {"OPENBLAS_CORETYPE": kernels}
    return {}


def _choose_threads(already_loaded):
    """The environment variables for MXNet to load with."""
    _, workers_here = local_rank()
    cores = max(1, usable_cores() // workers_here)
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # OpenMP takes one number a nesting level
    if already_loaded:
        from mxnet.base import _LIB

        chosen.threads = _LIB.omp_get_max_threads() if hasattr(_LIB, "omp_get_max_threads") else 1
        chosen.threads_chosen_by = "MXNet was loaded first"
        if chosen.threads < cores and not wish:
            chosen.lost.append(
                f"MXNet was imported before bert_tutorial, so it uses {chosen.threads} of {cores} cores. Restart the "
                "kernel and import bert_tutorial first."
            )
        return {}
    if wish.isdigit() and int(wish):
        chosen.threads, chosen.threads_chosen_by = int(wish), "OMP_NUM_THREADS in your environment"
    else:
        chosen.threads, chosen.threads_chosen_by = cores, "physical cores this process may use"
        if workers_here > 1:
            chosen.threads_chosen_by = f"{workers_here} workers share the physical cores"
    return {"OMP_NUM_THREADS": str(chosen.threads)}  # of the forms that OpenMP takes, the only one MXNet survives


def _import_mxnet():
    try:
        import mxnet  # noqa: F401
    except OSError as error:  # the dynamic loader's complaint, e.g. libquadmath.so.0
        libraries = SYSTEM_LIBRARIES["aarch64" if platform.machine() == "aarch64" else "x86_64"]
        raise ImportError(f"MXNet could not be loaded: {error}. Install its system libraries: {libraries}") from error
