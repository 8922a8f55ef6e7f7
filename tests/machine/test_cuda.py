"""GPUs as the driver tells of them, and the libraries of MXNet's GPU build."""

import os
import subprocess
import sys

from bert_tutorial.machine import cuda
from bert_tutorial.machine.chosen import chosen
from bert_tutorial.machine.cuda import GPU

import pytest

# The functions that are asked, as cuda.h declares them. A device's handle need not be its index.
DRIVER = """
#include <stdio.h>
static const char *const names[] = {"Tesla T4", "NVIDIA H100 80GB HBM3"};
static const int capabilities[][2] = {{7, 5}, {9, 0}};
int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDriverGetVersion(int *version) { *version = 11020; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 40 + ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "%s", names[device - 40]); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (attribute != 75 && attribute != 76) return 1;
    *value = capabilities[device - 40][attribute - 75];
    return 0;
}
"""


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """Make this machine's NVIDIA driver one whose cuInit answers what it is called with."""

    def install_driver(init):
        library = tmp_path / f"libcuda-{init}.so"
        command = ["cc", "-shared", "-fPIC", f"-DINIT={init}", "-x", "c", "-", "-o", library]
        subprocess.run(command, input=DRIVER, text=True, check=True)
        monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: load({"libcuda.so.1": str(library)}[name]))

    load = cuda.ctypes.CDLL
    return install_driver


def test_gpus_are_read_from_the_driver(driver):
    driver(init=0)
    assert cuda.list_gpus() == [GPU(0, "Tesla T4", (7, 5)), GPU(1, "NVIDIA H100 80GB HBM3", (9, 0))]
    assert cuda.driver_cuda_version() == (11, 2)


def test_a_driver_without_a_gpu(driver):
    driver(init=100)  # CUDA_ERROR_NO_DEVICE
    assert cuda.list_gpus() == []
    assert cuda.driver_cuda_version() is None


def test_no_driver(monkeypatch):
    def load(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", load)
    assert cuda.list_gpus() == []
    assert cuda.driver_cuda_version() is None


def install(folder, *packages):
    """What pip leaves of a package in `folder`, as far as its name and version go."""
    for package in packages:
        info = folder / f"{package.replace('-', '_')}-1.9.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.9.1\n")


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """An empty folder to install to; the names of the libraries loaded, of which only those in the folder exist."""
    loaded = []

    def load(path, mode=0):
        if not (os.path.exists(path) or (path == "libcuda.so.1" and driver.exists())):
            raise OSError(f"{path}: cannot open shared object file")
        loaded.append(os.path.basename(path))

    driver = tmp_path / "driver"
    driver.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mxnet")
    monkeypatch.setattr(cuda.ctypes, "CDLL", load)
    monkeypatch.setenv("MXNET_USE_FUSION", "")  # so that it is put back
    monkeypatch.delenv("MXNET_USE_FUSION")
    monkeypatch.setattr(chosen, "own_variables", [])
    for path in cuda.CUDA_LIBRARIES:
        library = tmp_path / "nvidia" / path
        library.parent.mkdir(parents=True, exist_ok=True)
        library.touch()
    return loaded


def test_cuda_libraries_are_loaded_after_those_they_need(loaded, tmp_path):
    install(tmp_path, "mxnet-cu117")
    cuda.load_cuda_libraries()
    assert loaded[0] == "libcuda.so.1"
    assert sorted(loaded[1:]) == sorted(os.path.basename(path) for path in cuda.CUDA_LIBRARIES)
    for library in ("libcudnn.so.8", "libcusolver.so.11"):
        assert loaded.index("libcublasLt.so.11") < loaded.index("libcublas.so.11") < loaded.index(library)


@pytest.mark.parametrize("users", [None, "1"])
def test_fused_operators_are_off_unless_the_user_wants_them(loaded, tmp_path, monkeypatch, users):
    install(tmp_path, "mxnet-cu117")
    if users:
        monkeypatch.setenv("MXNET_USE_FUSION", users)
    cuda.load_cuda_libraries()
    assert os.environ["MXNET_USE_FUSION"] == (users or "0")
    assert chosen.own_variables == ([] if users else ["MXNET_USE_FUSION"])


def test_cpu_build_loads_no_cuda_library(loaded, tmp_path):
    install(tmp_path, "mxnet")
    cuda.load_cuda_libraries()
    assert loaded == []


@pytest.mark.parametrize("path", cuda.CUDA_LIBRARIES)
def test_missing_cuda_library_names_its_package(loaded, tmp_path, path):
    install(tmp_path, "mxnet-cu117")
    (tmp_path / "nvidia" / path).unlink()
    with pytest.raises(ImportError, match=cuda.CUDA_LIBRARIES[path]):
        cuda.load_cuda_libraries()


def test_missing_driver_shows_the_way_to_the_cpu_build(loaded, tmp_path):
    install(tmp_path, "mxnet-cu117")
    (tmp_path / "driver").unlink()
    with pytest.raises(ImportError, match=r"libcuda\.so\.1.*pip install mxnet==1\.9\.1"):
        cuda.load_cuda_libraries()
    assert loaded == []


def test_both_builds_are_refused(loaded, tmp_path):
    install(tmp_path, "mxnet", "mxnet-cu117")
    with pytest.raises(ImportError, match="pip uninstall"):
        cuda.load_cuda_libraries()
