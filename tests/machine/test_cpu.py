"""What is settled before MXNet loads. Each case needs a fresh interpreter."""

import functools
import importlib
import json
import os
import random
import signal
import subprocess
import sys

from bert_tutorial import seed_everything
from bert_tutorial.machine import cpu, cuda, devices, interrupts, runtime
from bert_tutorial.machine.chosen import chosen
from bert_tutorial.machine.cuda import GPU

import mxnet as mx
import numpy as np
import pytest

REPORT = """
import json, os
import mxnet
from bert_tutorial.machine.chosen import chosen
assert int(mxnet.nd.ones((2, 3)).sum().asscalar()) == 6
left = {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "OPENBLAS_", "MXNET_"))}
print(json.dumps({**vars(chosen), "of_openmp": mxnet.base._LIB.omp_get_max_threads(), "left": left}))
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


@pytest.mark.parametrize(
    ("machine", "text", "flags"),
    [
        ("x86_64", "processor\t: 0\nflags\t\t: fpu avx2\nvmx flags\t: x\nflags : other", {"fpu", "avx2"}),
        ("aarch64", "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n", {"fp", "asimd"}),
        ("aarch64", "processor\t: 0\nflags\t\t: fpu avx512f\n", set()),
    ],
)
def test_cpu_flags(machine, text, flags):
    """Finding 21: ARM calls them Features; an emulator may show the CPU below it."""
    assert cpu._flags_of_cpuinfo(text, machine) == flags


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
    found = fresh("import numpy; numpy.bool = numpy.bool_; import mxnet; import bert_tutorial")
    assert found["threads"] == found["of_openmp"]
    assert found["blas_kernels"] == "OpenBLAS's own choice"
    lost = "\n".join(found["lost"])
    assert "BLAS" in lost
    assert ("cores" in lost) == (found["threads"] < cpu.usable_cores())


@pytest.mark.parametrize(
    ("flags", "kernels"),
    [
        ("sse3 avx2 fma avx512f avx512dq avx512bw avx512vl avx512cd", "SKYLAKEX"),
        ("sse3 avx2 fma avx512f", "HASWELL"),
        ("sse3 avx2 fma", "HASWELL"),
        ("sse3 avx", None),
        ("", None),
    ],
)
def test_blas_kernels_fit_the_cpu(flags, kernels):
    assert cpu.blas_kernels(set(flags.split())) == kernels


@pytest.mark.parametrize(("content", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None)])
def test_a_containers_quota_counts(tmp_path, content, cpus):
    (tmp_path / "cpu.max").write_text(content)
    assert cpu._cgroup_cpus(tmp_path / "cpu.max") == cpus


def test_no_quota_file():
    assert cpu._cgroup_cpus("/nowhere") is None


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two sockets of two cores with two hyper-threads each, numbered as Linux does."""

    def usable(cpus, with_sysfs=True, psutil=4, quota=None):
        find = functools.partial(physical_cores, folder=tmp_path if with_sysfs else tmp_path / "nowhere")
        monkeypatch.setattr(cpu, "_physical_cores", find)
        monkeypatch.setattr(cpu.psutil, "cpu_count", lambda logical: psutil)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cpus, raising=False)
        monkeypatch.setattr(cpu, "_cgroup_cpus", lambda: quota)
        return cpu.usable_cores()

    physical_cores = cpu._physical_cores
    for i in range(8):
        topology = tmp_path / f"cpu{i}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{i % 4},{i % 4 + 4}\n")
    return usable


@pytest.mark.parametrize(
    ("cpus", "cores"), [(range(8), 4), ({0, 4}, 1), ({0, 1, 4}, 2), ({1, 2}, 2), ({3, 6, 7}, 2), ({5}, 1)]
)
def test_two_hyper_threads_are_one_core(machine, cpus, cores):
    """Finding 29."""
    assert machine(cpus) == machine(cpus, psutil=None) == cores


@pytest.mark.parametrize(("cpus", "psutil", "cores"), [(range(8), 4, 4), (range(8), None, 8), ({0, 5}, 4, 2)])
def test_cores_where_linux_does_not_tell(machine, cpus, psutil, cores):
    """Finding 29: psutil knows no cores on some ARM and virtual machines."""
    assert machine(cpus, with_sysfs=False, psutil=psutil) == cores


def test_the_quota_limits_the_cores(machine):
    assert machine(range(8), quota=3) == 3
    assert machine({0, 4}, quota=3) == 1


def test_cores_without_affinity_masks(machine, monkeypatch):
    """As on macOS."""
    machine(range(8))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu.usable_cores() == 4


def test_numpy_2_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(ImportError, match=r"pip install 'numpy"):
        runtime.prepare()


doctor = importlib.import_module("bert_tutorial.doctor")  # the package exports the function of this name

T4, A100, ADA, H100, OLD = (
    GPU(i, name, capability)
    for i, (name, capability) in enumerate(
        [("T4", (7, 5)), ("A100", (8, 0)), ("L4", (8, 9)), ("H100", (9, 0)), ("K40", (3, 5))]
    )
)


@pytest.mark.parametrize(
    ("gpus", "has_cuda", "device", "reason"),
    [
        ([], True, mx.cpu(), "no NVIDIA GPU"),
        ([T4], False, mx.cpu(), "CPU build"),
        ([T4], True, mx.gpu(0), "T4 is supported"),
        ([H100], True, mx.cpu(), "9.0"),
        ([OLD], True, mx.cpu(), "3.5"),
        ([A100, H100], True, mx.gpu(1), "A100 is supported"),
        ([H100, ADA], True, mx.gpu(2), "L4 is supported"),
    ],
)
def test_device_choice(monkeypatch, gpus, has_cuda, device, reason):
    monkeypatch.setattr(devices, "list_gpus", lambda: gpus)
    monkeypatch.setattr(devices, "mxnet_has_cuda", lambda: has_cuda)
    ctx, why = devices.choose_device()
    assert ctx == device
    assert reason in why


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
    """An empty place to install to; the names of the libraries loaded, of which only those in the place exist."""
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
    for place in cuda.CUDA_LIBRARIES:
        path = tmp_path / "nvidia" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return loaded


def test_cuda_libraries_are_loaded_after_those_they_need(loaded, tmp_path):
    install(tmp_path, "mxnet-cu117")
    cuda.load_cuda_libraries()
    assert loaded[0] == "libcuda.so.1"
    assert sorted(loaded[1:]) == sorted(os.path.basename(place) for place in cuda.CUDA_LIBRARIES)
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


@pytest.mark.parametrize("place", cuda.CUDA_LIBRARIES)
def test_missing_cuda_library_names_its_package(loaded, tmp_path, place):
    install(tmp_path, "mxnet-cu117")
    (tmp_path / "nvidia" / place).unlink()
    with pytest.raises(ImportError, match=cuda.CUDA_LIBRARIES[place]):
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


@pytest.mark.parametrize(
    ("gpu", "has_cuda", "advice"), [(H100, True, "use the CPU"), (T4, False, "make gpu"), (ADA, True, "has kernels")]
)
def test_doctor_has_a_verdict_for_each_gpu(monkeypatch, capsys, gpu, has_cuda, advice):
    for module in (devices, doctor):
        monkeypatch.setattr(module, "list_gpus", lambda: [gpu])
        monkeypatch.setattr(module, "mxnet_has_cuda", lambda: has_cuda)
    monkeypatch.setattr(doctor, "driver_cuda_version", lambda: (10, 1))
    doctor.doctor()
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith(f"  GPU {gpu.index}, {gpu.name}")]
    assert advice in line
    (line,) = [line for line in printed.splitlines() if "CUDA 10.1" in line]
    assert cuda.OLDEST_DRIVER in line


@pytest.mark.gpu
def test_a_supported_gpu_computes():
    ctx, reason = devices.choose_device()
    if ctx.device_type != "gpu":
        pytest.skip(f"no GPU that this MXNet can use: {reason}")
    assert mx.nd.ones((2, 2), ctx=ctx).sum().asscalar() == 4


def draw():
    return random.random(), np.random.rand(), mx.nd.random.uniform(shape=(2,)).asnumpy().tolist()


def test_seeds_reach_all_three_generators():
    assert seed_everything(3) == 3
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
    with pytest.raises(ValueError, match="-1"):
        seed_everything(-1)


class Deleted:
    """Python drops exceptions in __del__, and MXNet's arrays have one."""

    def __del__(self):
        interrupt()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(1000))  # Python handles the signal between two of its instructions


def test_ctrl_c_during_a_deletion_is_kept():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell's foreground
    try:
        interrupts.keep_interrupts()
        Deleted()
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_kept_interrupt()
        interrupts.raise_kept_interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        signal.signal(signal.SIGINT, previous)
