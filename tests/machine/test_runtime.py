"""What is settled before MXNet loads. Each case needs a fresh interpreter."""

import json
import os
import subprocess
import sys

from bert_tutorial.machine import cpu, mxnet_numpy, runtime

import pytest

REPORT = """
import json, os
import mxnet
from bert_tutorial.machine.chosen import chosen
assert int(mxnet.nd.ones((2, 3)).sum().asscalar()) == 6
left = {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "OPENBLAS_", "MXNET_"))}
print(json.dumps({**vars(chosen), "of_openmp": mxnet.base._LIB.omp_get_max_threads(), "left": left}))
"""

MXNET_FIRST = f"""
import runpy, sys
old_names = runpy.run_path({mxnet_numpy.__file__!r})["old_names"]
sys.modules.update(sklearn=None, scipy=None)  # as in bert_tutorial: they are not made for old names
with old_names():
    import mxnet
del sys.modules["sklearn"], sys.modules["scipy"]
import bert_tutorial
"""


def fresh(code, **variables):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "OPENBLAS_", "MXNET_"))}
    environment = {**clean, **variables}
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("left") == variables
    return found


@pytest.mark.slow
def test_all_physical_cores_are_used_and_no_trace_is_left_in_the_environment():
    """Finding 1: a process started from here would have taken it for the user's wish."""
    found = fresh("import bert_tutorial, d2l.mxnet, gluonnlp")
    assert found["threads"] == found["of_openmp"] == cpu.usable_cores()
    assert found["lost"] == []
    assert cpu.blas_kernels(cpu.cpu_flags()) in (None, found["blas_kernels"])


@pytest.mark.slow
def test_the_users_environment_wins():
    """A list, one number a nesting level, is good OpenMP, and MXNet aborts at it."""
    found = fresh("import bert_tutorial", OMP_NUM_THREADS="1,2", OPENBLAS_CORETYPE="NEHALEM")
    assert (found["threads"], found["of_openmp"], found["blas_kernels"]) == (1, 1, "NEHALEM")
    assert "your environment" in found["threads_chosen_by"]
    assert "your environment" in found["blas_chosen_by"]


@pytest.mark.slow
@pytest.mark.skipif(cpu.blas_kernels(cpu.cpu_flags()) is None, reason="no better BLAS kernels known here")
def test_mxnet_loaded_first_keeps_its_threads_and_blas_kernels():
    found = fresh(MXNET_FIRST)
    assert found["threads"] == found["of_openmp"]
    assert found["blas_kernels"] == "OpenBLAS's own choice"
    lost = "\n".join(found["lost"])
    assert "BLAS" in lost
    assert ("cores" in lost) == (found["threads"] < cpu.usable_cores())


LIGHT = """
import sys
from {first} import __name__
import bert_tutorial.cli
print(*sorted({{"sklearn", "scipy"}} & set(sys.modules)))
from scipy.sparse import csr_matrix
import sklearn.svm
"""


@pytest.mark.parametrize(("first", "loaded"), [("sys", ""), ("scipy.sparse", "scipy")])
def test_scikit_learn_is_not_loaded_with_mxnet_and_can_be_loaded_then(first, loaded):
    code = LIGHT.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, loaded), done.stderr


@pytest.mark.parametrize(
    ("machine", "packages"), [("x86_64", "apt install libgomp1 libquadmath0 "), ("aarch64", "apt install libgomp1 ")]
)
def test_a_missing_system_library_is_named_with_its_package(tmp_path, monkeypatch, machine, packages):
    (tmp_path / "mxnet.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mxnet")
    monkeypatch.setattr(runtime.platform, "machine", lambda: machine)
    with pytest.raises(ImportError, match=rf"libgomp\.so\.1.*{packages}") as raised:
        runtime._import_mxnet()
    assert ("libquadmath" in str(raised.value)) == (machine == "x86_64")
