"""The stand-ins for Arm's libraries; here made of the OpenBLAS inside SciPy, on whatever CPU this is."""

import ctypes
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from bert_tutorial.machine import arm_libraries, compiling
from bert_tutorial.machine.chosen import chosen

import numpy as np
import pytest
import scipy

CALLER = """
void cblas_sgemm(int order, int a_trans, int b_trans, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc);
void spotrf_(const char *triangle, const int *n, float *a, const int *lda, int *info);
double pow(double, double);
float product(int n, const float *a, const float *b, float *c) {
  cblas_sgemm(101, 111, 112, n, n, n, 0.5, a, n, b, n, 0, c, n);
  return pow(c[0], 2);
}
int cholesky(int n, float *a) {
  int info;
  spotrf_("L", &n, a, &n, &info);
  return info;
}
"""


@pytest.fixture
def openblas():
    found = list(Path(scipy.__file__).parent.with_name("scipy.libs").glob("libscipy_openblas-*.so"))
    if not found or arm_libraries.platform.machine() not in arm_libraries.JUMPS:
        pytest.skip("this SciPy brings no OpenBLAS of its own")
    return found[0]


@pytest.fixture
def caller(tmp_path, monkeypatch):
    """A library that calls BLAS, LAPACK and the C library, linked with one that is not there."""
    name = f"libwanted-{tmp_path.name}.so"  # each test its own: what is loaded stays
    monkeypatch.setattr(arm_libraries, "STAND_IN", name)
    compiler = shutil.which("cc")
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C compiler")
    (tmp_path / "caller.c").write_text(CALLER)
    (tmp_path / "empty.c").touch()
    library, wanted = tmp_path / "libcaller.so", tmp_path / name
    for command in (
        [compiler, "-shared", tmp_path / "empty.c", "-o", wanted, f"-Wl,-soname,{name}"],
        [compiler, "-shared", "-fPIC", "-Wl,--no-as-needed", tmp_path / "caller.c", "-o", library, wanted, "-lm"],
    ):
        subprocess.run(command, check=True)
    wanted.unlink()
    return library


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Where the stand-ins are kept."""
    folder = tmp_path / "package"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(compiling, "PACKAGE", folder)
    return folder


def test_calls_go_on_in_openblas(caller, openblas, package, capsys):
    """And give what NumPy gives; without the stand-in the library does not load."""
    with pytest.raises(OSError, match="libwanted"):
        ctypes.CDLL(str(caller))
    for compiled in (True, False):  # the second time it is there
        assert arm_libraries.load_stand_in(caller, openblas).startswith("OpenBLAS 0.")
        assert ("Compiling a stand-in for libwanted-" in capsys.readouterr().err) == compiled
    assert len(list(package.iterdir())) == 1

    library = ctypes.CDLL(str(caller))
    library.product.restype = ctypes.c_float
    a, b, c = np.arange(9, dtype="float32"), np.arange(1, 10, dtype="float32"), np.zeros(9, "float32")
    squared = library.product(3, *(array.ctypes.data_as(ctypes.c_void_p) for array in (a, b, c)))
    expected = a.reshape(3, 3) @ b.reshape(3, 3).T / 2
    np.testing.assert_array_equal(c.reshape(3, 3), expected)
    assert squared == expected[0, 0] ** 2
    matrix = np.array([4, 2, 2, 5], "float32")
    assert library.cholesky(2, matrix.ctypes.data_as(ctypes.c_void_p)) == 0
    assert matrix.tolist() == [2, 1, 2, 2]


def test_an_empty_library_is_found_by_its_name(package):
    with pytest.raises(OSError, match="libempty"):
        ctypes.CDLL("libempty.so")
    arm_libraries.load_empty("libempty.so")
    ctypes.CDLL("libempty.so")


def test_only_what_is_called_is_offered(caller, openblas):
    names = arm_libraries.undefined_names(caller)
    assert {"cblas_sgemm", "spotrf_"} <= set(names)
    assert not any("@" in name or name == "pow" for name in names)  # pow is the C library's


def test_the_source_has_one_jump_a_function():
    text = arm_libraries.assembly(["cblas_sgemm", "sgesv_"], "aarch64")
    assert "\ncblas_sgemm: b scipy_cblas_sgemm\n" in text
    assert text.count(": b scipy_") == text.count(".globl") == 2


@pytest.fixture
def arm(monkeypatch, package):
    """Linux on ARM, as far as Python can tell."""
    monkeypatch.setattr(arm_libraries.sys, "platform", "linux")
    monkeypatch.setattr(arm_libraries.platform, "machine", lambda: "aarch64")


@pytest.mark.parametrize(
    ("compiler", "openblas_there", "reason"),
    [
        ("no-such-compiler", True, "no C compiler: 'no-such-compiler' was not found"),
        ("cc", False, "scipy_openblas32"),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(
    arm, openblas, caller, tmp_path, monkeypatch, compiler, openblas_there, reason
):
    (tmp_path / "lib").mkdir()
    for library in openblas.parent.iterdir():
        (tmp_path / "lib" / library.name).symlink_to(library)
    (tmp_path / "lib" / "libscipy_openblas.so").symlink_to(openblas)
    caller.rename(tmp_path / "libmxnet.so")

    def find_spec(package):
        there = package == "mxnet" or openblas_there
        return ModuleSpec(package, None, origin=str(tmp_path / "__init__.py")) if there else None

    monkeypatch.setattr(arm_libraries, "find_spec", find_spec)
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(ImportError) as raised:
        arm_libraries.load_arm_libraries()
    message = str(raised.value)
    assert reason in message
    assert "apt install gcc" in message
    assert "pip install scipy-openblas32" in message
    assert "\n" not in message


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(arm_libraries.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(arm_libraries, "find_spec", None)
    arm_libraries.load_arm_libraries()


@pytest.mark.skipif(
    (sys.platform, arm_libraries.platform.machine()) != ("linux", "aarch64"), reason="this is not Linux on ARM"
)
def test_mxnet_computes_with_the_stand_ins():
    """Matrix products, and linear algebra by LAPACKE and by LAPACK."""
    import mxnet as mx

    assert chosen.arm_libraries.startswith("OpenBLAS")
    a = np.random.default_rng(0).normal(size=(30, 30)).astype("float32")
    positive = a @ a.T + 30 * np.eye(30, dtype="float32")
    np.testing.assert_allclose(mx.nd.dot(mx.nd.array(a), mx.nd.array(a)).asnumpy(), a @ a, rtol=1e-4, atol=1e-4)
    lower = mx.nd.linalg.potrf(mx.nd.array(positive)).asnumpy()
    np.testing.assert_allclose(lower, np.linalg.cholesky(positive), rtol=1e-4, atol=1e-4)
    inverse = mx.nd.linalg.inverse(mx.nd.array(positive)).asnumpy()
    np.testing.assert_allclose(inverse, np.linalg.inv(positive), rtol=1e-3, atol=1e-4)
    solution = mx.np.linalg.solve(mx.np.array(positive), mx.np.array(a)).asnumpy()
    np.testing.assert_allclose(solution, np.linalg.solve(positive, a), rtol=1e-3, atol=1e-4)
