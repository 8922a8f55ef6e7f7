"""What must be settled before MXNet loads: compatibility, threads, BLAS kernels; then devices and seeds.

`prepare` runs once, when `bert_tutorial` is imported. It never overrides what the user set in the
environment, and it records what it chose, for `bert-tutorial doctor` to show. What it chooses is this process's own:
programs that this one starts do not find it in their environment.
"""

import ctypes
import os
import pickle
import platform
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import psutil

SYSTEM_LIBRARIES = "apt install libgomp1 libquadmath0 (Debian, Ubuntu) or dnf install libgomp libquadmath (Fedora)"

# The CUDA builds of MXNet 1.9.1 hold machine code for these architectures and no PTX,
# so a GPU outside the range has nothing to run.
OLDEST_COMPUTE_CAPABILITY = (5, 0)
NEWEST_COMPUTE_CAPABILITY = (8, 9)
COMPUTE_CAPABILITY = (75, 76)  # major and minor, among the attributes of a device in cuda.h

GPU_BUILD = "mxnet-cu117"
OLDEST_DRIVER = "450.80.02"  # for all of CUDA 11, see NVIDIA's "CUDA Compatibility", minor version compatibility
INSTALL_GPU_BUILD = f"pip uninstall --yes mxnet {GPU_BUILD} && pip install --no-deps {GPU_BUILD}==1.9.1"
INSTALL_CPU_BUILD = f"pip uninstall --yes mxnet {GPU_BUILD} && pip install mxnet==1.9.1"

# The shared libraries that the GPU build names, each below those that it needs itself: where the package on the right
# has it. cuDNN and NVRTC open more, which they find beside themselves.
CUDA_LIBRARIES = {
    "cuda_runtime/lib/libcudart.so.11.0": "nvidia-cuda-runtime-cu11==11.7.99",
    "cuda_nvrtc/lib/libnvrtc.so.11.2": "nvidia-cuda-nvrtc-cu11==11.7.99",
    "nvtx/lib/libnvToolsExt.so.1": "nvidia-nvtx-cu11==11.7.91",
    "cublas/lib/libcublasLt.so.11": "nvidia-cublas-cu11==11.10.3.66",
    "cublas/lib/libcublas.so.11": "nvidia-cublas-cu11==11.10.3.66",
    "cudnn/lib/libcudnn.so.8": "nvidia-cudnn-cu11==8.5.0.96",
    "cufft/lib/libcufft.so.10": "nvidia-cufft-cu11==10.7.2.91",
    "curand/lib/libcurand.so.10": "nvidia-curand-cu11==10.2.10.91",
    "cusparse/lib/libcusparse.so.11": "nvidia-cusparse-cu11==11.7.4.91",
    "cusolver/lib/libcusolver.so.11": "nvidia-cusolver-cu11==11.4.0.1",
    "nccl/lib/libnccl.so.2": "nvidia-nccl-cu11==2.14.3",
}


@dataclass
class Settings:
    """What `prepare` found and chose."""

    threads: int = 0
    threads_chosen_by: str = ""
    blas_kernels: str = ""
    blas_chosen_by: str = ""
    own_variables: list = field(default_factory=list)  # of the environment, set by us and not by the user
    lost: list = field(default_factory=list)
    interrupted: bool = False


settings = Settings()


def usable_cores():
    """Number of physical cores this process may use.

    Hyper-threads do not count (matrix products gain nothing from them); a CPU affinity mask and a
    container's CPU quota do.
    """
    logical = range(os.cpu_count() or 1)
    cores = _physical_cores(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else logical)
    return min(cores, _cgroup_cpus() or cores)


def _physical_cores(cpus, folder="/sys/devices/system/cpu"):
    """How many cores these logical CPUs, given by number, belong to."""
    try:
        return len({Path(folder, f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in cpus})
    except OSError:  # not Linux, or hidden from a container
        return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))  # None on some machines


def _cgroup_cpus(path="/sys/fs/cgroup/cpu.max"):
    try:
        quota, period = Path(path).read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no limit
        return None


def cpu_flags():
    """Instruction sets of this CPU as a set of lower-case names; empty where the system does not tell."""
    try:
        if sys.platform == "darwin":
            keys = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
            found = subprocess.run(["sysctl", "-n", *keys], capture_output=True, text=True, timeout=10)
            return set(found.stdout.lower().split())
        return _flags_of_cpuinfo(Path("/proc/cpuinfo").read_text(), platform.machine())
    except (OSError, subprocess.SubprocessError):
        return set()


def _flags_of_cpuinfo(text, machine):
    """The first CPU's; an emulated ARM machine may show the flags of the x86 CPU below it, which do not count."""
    title = "Features" if machine.startswith(("aarch64", "arm")) else "flags"
    return set(next((line.split(":")[1].lower().split() for line in text.splitlines() if line.startswith(title)), []))


def blas_kernels(flags):
    """Best OpenBLAS 0.3.13 kernel family for a CPU with these instruction sets; None leaves it to OpenBLAS.

    The OpenBLAS inside MXNet's wheel takes CPUs newer than itself for an SSE3 machine.
    """
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags:
        return "SKYLAKEX"
    if {"avx2", "fma"} <= flags:
        return "HASWELL"
    return None


def prepare():
    """Make MXNet importable and fast here; call before the first `import mxnet`.

    Raises
    ------
    ImportError
        NumPy 2, a Python without distutils, a library MXNet needs and does not find, or both of its builds.
    """
    _follow_launcher()
    _require_supported_versions()
    if "bool" not in vars(np):
        np.bool = np.bool_  # MXNet 1.9.1 still uses the alias that NumPy 1.24 removed
    already_loaded = "mxnet" in sys.modules
    variables = _choose_blas_kernels(already_loaded) | _choose_threads(already_loaded)
    if not already_loaded:
        load_cuda_libraries()
    _refuse_pickles()
    with _in_environment(variables):  # they are read as MXNet's libraries load, and only then
        _import_mxnet()


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


def _follow_launcher():
    """In a process of `launching`: end when the launcher does, stop when it says so."""
    if "BERT_TUTORIAL_LAUNCHED" in os.environ:
        threading.Thread(target=_listen_to_launcher, daemon=True).start()


def _listen_to_launcher():
    while os.read(sys.stdin.fileno(), 100):  # it says "stop" and nothing else
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)


def _refuse_pickles():
    """In a server of `launching`: MXNet unpickles the optimizer it is sent, and a pickle can run any program.

    Our workers send none (`update_on_kvstore=False`).
    """
    if os.environ.get("DMLC_ROLE") == "server":
        pickle.loads = _end_at_a_pickle


def _end_at_a_pickle(*_):
    print("Error: this server was sent a pickle, which could run any program: refused", file=sys.stderr, flush=True)
    os._exit(1)  # an exception would be printed, and the server would go on


def place_on_machine():
    """Number of this process among the workers of a run on this machine, and how many there are."""
    place, count = os.environ.get("BERT_TUTORIAL_PLACE", "0/1").split("/")
    return int(place), int(count)


def _require_supported_versions():
    if int(np.__version__.split(".")[0]) >= 2:
        raise ImportError(f"MXNet 1.9.1 does not work with NumPy {np.__version__}; run: pip install 'numpy>=1.26,<2'")
    if sys.version_info >= (3, 12):
        try:
            import setuptools  # noqa: F401  (brings back distutils, which Python 3.12 removed)
        except ImportError:
            raise ImportError("MXNet 1.9.1 needs distutils; run: pip install 'setuptools<81'") from None


def _choose_blas_kernels(already_loaded):
    """The environment variables for MXNet to load with."""
    kernels = blas_kernels(cpu_flags())
    if "OPENBLAS_CORETYPE" in os.environ:
        settings.blas_kernels = os.environ["OPENBLAS_CORETYPE"]
        settings.blas_chosen_by = "OPENBLAS_CORETYPE in your environment"
    elif kernels is None:
        settings.blas_kernels, settings.blas_chosen_by = (
            "OpenBLAS's own choice",
            "nothing better known for this CPU",
        )
    elif already_loaded:
        settings.blas_kernels, settings.blas_chosen_by = "OpenBLAS's own choice", "MXNet was loaded first"
        settings.lost.append(
            f"MXNet was imported before bert_tutorial, so its BLAS could not be set to {kernels}: matrix products "
            "may run at a third of their speed. Restart the kernel and import bert_tutorial first."
        )
    else:
        settings.blas_kernels, settings.blas_chosen_by = kernels, "this CPU's instruction sets"
        return {"OPENBLAS_CORETYPE": kernels}
    return {}


def _choose_threads(already_loaded):
    """The environment variables for MXNet to load with."""
    _, workers_here = place_on_machine()
    cores = max(1, usable_cores() // workers_here)
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # OpenMP takes one number a nesting level
    if already_loaded:
        from mxnet.base import _LIB

        settings.threads = _LIB.omp_get_max_threads() if hasattr(_LIB, "omp_get_max_threads") else 1
        settings.threads_chosen_by = "MXNet was loaded first"
        if settings.threads < cores and not wish:
            settings.lost.append(
                f"MXNet was imported before bert_tutorial, so it uses {settings.threads} of {cores} cores. Restart the "
                "kernel and import bert_tutorial first."
            )
        return {}
    if wish.isdigit() and int(wish):
        settings.threads, settings.threads_chosen_by = int(wish), "OMP_NUM_THREADS in your environment"
    else:
        settings.threads, settings.threads_chosen_by = cores, "physical cores this process may use"
        if workers_here > 1:
            settings.threads_chosen_by = f"{workers_here} workers share the physical cores"
    return {"OMP_NUM_THREADS": str(settings.threads)}  # of the forms that OpenMP takes, the only one MXNet survives


def load_cuda_libraries():
    """Load what MXNet's GPU build needs, if it is installed, so that `import mxnet` finds it in the process.

    The libraries come from the `nvidia-*-cu11` packages, else from where the system looks. `LD_LIBRARY_PATH` need not
    be set, and would be too late here.

    Raises
    ------
    ImportError
        No NVIDIA driver, a library missing, or the CPU build installed as well.
    """
    if not _is_installed(GPU_BUILD):
        return
    if _is_installed("mxnet"):
        raise ImportError(
            f"mxnet and {GPU_BUILD} are both installed, and each has overwritten files of the other; "
            f"run: {INSTALL_GPU_BUILD} (or, for the CPU: {INSTALL_CPU_BUILD})"
        )
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ImportError(
            f"{GPU_BUILD} is installed, but the NVIDIA driver is not ({error}). Install a driver of version "
            f"{OLDEST_DRIVER} or newer, or take MXNet's CPU build: {INSTALL_CPU_BUILD}"
        ) from None
    for place, package in CUDA_LIBRARIES.items():
        paths = [Path(folder, "nvidia", place) for folder in sys.path]
        path = next((path for path in paths if path.is_file()), Path(place).name)
        try:
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ImportError(
                f"{GPU_BUILD} could not load a CUDA library: {error}; run: pip install {package}"
            ) from None
    # MXNet compiles fused operators for the very GPU it runs on, and NVRTC 11.7 does not know 8.9
    if "MXNET_USE_FUSION" not in os.environ:
        os.environ["MXNET_USE_FUSION"] = "0"  # read whenever a network is hybridized
        settings.own_variables.append("MXNET_USE_FUSION")


def _is_installed(package):
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _import_mxnet():
    try:
        import mxnet  # noqa: F401
    except OSError as error:  # the dynamic loader's complaint, e.g. libquadmath.so.0
        raise ImportError(
            f"MXNet could not be loaded: {error}. Install its system libraries: {SYSTEM_LIBRARIES}"
        ) from error


def keep_interrupts():
    """Make sure that Ctrl-C ends a training.

    Python drops an exception raised while an object is deleted, and MXNet's arrays are deleted all the time. A Ctrl-C
    that comes then is kept for `raise_kept_interrupt`.
    """

    def handle(signum, frame):
        while frame is not None:
            if frame.f_code.co_name == "__del__":
                settings.interrupted = True
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, handle)


def raise_kept_interrupt():
    """Raise the KeyboardInterrupt that could not be raised when it came."""
    if settings.interrupted:
        settings.interrupted = False
        raise KeyboardInterrupt


@contextmanager
def interrupts_held():
    """Hold Ctrl-C and SIGTERM back until `raise_kept_interrupt`, so that no step is cut in two.

    The second one is not held. Outside the main thread, which alone may handle signals, nothing is held.
    """

    def handle(signum, frame):
        if settings.interrupted:
            settings.interrupted = False
            raise KeyboardInterrupt
        settings.interrupted = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    unknown = (signal.SIG_IGN, None)  # None: not installed by Python, which could not put it back
    held = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) not in unknown]
    previous = {number: signal.signal(number, handle) for number in held}
    try:
        yield
    except BaseException:
        settings.interrupted = False  # this ends the run as well; the next one must not be stopped
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    raise_kept_interrupt()


def seed_everything(seed):
    """Seed Python's, NumPy's and MXNet's random numbers; all three are used in training.

    Parameters
    ----------
    seed : int
        0 to 2**31 - 1.

    Returns
    -------
    int
        The seed, for printing.
    """
    import mxnet as mx

    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must lie between 0 and 2**31 - 1, not {seed}")
    random.seed(seed)
    np.random.seed(seed)
    mx.random.seed(seed)
    return seed


@dataclass(frozen=True)
class GPU:
    """One GPU as its driver describes it."""

    index: int  # what MXNet calls it: mxnet.gpu(index)
    name: str
    compute_capability: tuple

    @property
    def supported(self):
        """Whether MXNet 1.9.1's CUDA builds hold kernels for it."""
        return OLDEST_COMPUTE_CAPABILITY <= self.compute_capability <= NEWEST_COMPUTE_CAPABILITY


def list_gpus():
    """The NVIDIA GPUs that this process may use, with the driver's own numbers for them; empty without a driver.

    The driver's library is asked, as MXNet asks it: `nvidia-smi` counts in another order, knows nothing of
    CUDA_VISIBLE_DEVICES, and before driver 510 does not tell the compute capability.
    """
    driver = _open_driver()
    if driver is None:
        return []
    gpus = []
    for index in range(_ask(driver.cuDeviceGetCount)):
        device = _ask(driver.cuDeviceGet, index)
        name = ctypes.create_string_buffer(256)
        driver.cuDeviceGetName(name, len(name), device)
        capability = tuple(_ask(driver.cuDeviceGetAttribute, attribute, device) for attribute in COMPUTE_CAPABILITY)
        gpus.append(GPU(index, name.value.decode(), capability))
    return gpus


def driver_cuda_version():
    """The newest CUDA that the NVIDIA driver serves, as (major, minor); None without a driver."""
    driver = _open_driver()
    if driver is None:
        return None
    number = _ask(driver.cuDriverGetVersion)  # 11070 for 11.7
    return number // 1000, number % 1000 // 10


def _open_driver():
    """The library of the NVIDIA driver, ready to be asked; None if there is none, or it finds no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver


def _ask(function, *arguments):
    """What a function of the driver answers: an int, written to where its first argument points."""
    answer = ctypes.c_int()
    function(ctypes.byref(answer), *arguments)
    return answer.value


def mxnet_has_cuda():
    """Whether the installed MXNet was built for GPUs."""
    import mxnet as mx

    return mx.runtime.Features().is_enabled("CUDA")


def list_devices(ctx):
    """The devices that `ctx`, an mxnet.Context or a list of them, stands for.

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    ValueError
        There is none, one comes twice, or something else is among them.
    """
    import mxnet as mx

    devices = [ctx] if isinstance(ctx, mx.Context) else ctx
    if not (
        isinstance(devices, list | tuple)
        and devices
        and all(isinstance(device, mx.Context) for device in devices)
        and len(set(devices)) == len(devices)
    ):
        raise ValueError(f"ctx must be an mxnet.Context or a list of different ones, not {ctx!r}")
    return list(devices)


def choose_device():
    """The device to run on, and why.

    Returns
    -------
    ctx : mxnet.Context
        The first GPU this MXNet has kernels for, else the CPU. The workers of a run on one machine take its GPUs in
        turn.
    reason : str
        One sentence for the reader.
    """
    import mxnet as mx

    gpus = list_gpus()
    if not gpus:
        return mx.cpu(), "no NVIDIA GPU found"
    if not mxnet_has_cuda():
        return mx.cpu(), f"{gpus[0].name} found, but this MXNet is the CPU build"
    supported = [gpu for gpu in gpus if gpu.supported]
    if supported:
        gpu = supported[place_on_machine()[0] % len(supported)]
        return mx.gpu(gpu.index), f"{gpu.name} is supported"
    major, minor = gpus[0].compute_capability
    return mx.cpu(), (
        f"{gpus[0].name} has compute capability {major}.{minor}; MXNet 1.9.1 holds kernels for 5.0 to 8.9 only"
    )


def peak_memory():
    """Largest resident memory of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
