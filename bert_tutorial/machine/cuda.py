"""NVIDIA's GPUs: which there are, and the libraries that MXNet's GPU build needs."""

import ctypes
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .chosen import chosen

# The CUDA builds of MXNet 1.9.1 hold machine code for these architectures and no PTX,
# so a GPU outside the range has nothing to run.
OLDEST_COMPUTE_CAPABILITY, NEWEST_COMPUTE_CAPABILITY = (5, 0), (8, 9)
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
    for path, package in CUDA_LIBRARIES.items():
        installed = [Path(folder, "nvidia", path) for folder in sys.path]
        library = next((library for library in installed if library.is_file()), Path(path).name)
        try:
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ImportError(
                f"{GPU_BUILD} could not load a CUDA library: {error}; run: pip install {package}"
            ) from None
    # MXNet compiles fused operators for the very GPU it runs on, and NVRTC 11.7 does not know 8.9
    if "MXNET_USE_FUSION" not in os.environ:
        os.environ["MXNET_USE_FUSION"] = "0"  # read whenever a network is hybridized
        chosen.own_variables.append("MXNET_USE_FUSION")


def _is_installed(package):
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


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
