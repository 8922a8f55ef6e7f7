"""What was found on this machine and what was chosen, for the reader and for bug reports."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import mxnet as mx

from .machine import operators
from .machine.chosen import chosen
from .machine.cpu import cpu_flags
from .machine.cuda import INSTALL_GPU_BUILD, OLDEST_DRIVER, driver_cuda_version, list_gpus, mxnet_has_cuda
from .machine.devices import choose_device
from .machine.fetching import cache_dir
from .machine.mxnet_numpy import lent_names
from .text.imdb import imdb_is_fetched
from .weights.sources import is_fetched

PACKAGES = (
    "bert_tutorial",
    "gluonnlp",
    "d2l",
    "numpy",
    "scikit-learn",
    "tokenizers",
    "huggingface_hub",
    "jupyterlab",
)


INSTRUCTION_SETS = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
INSTRUCTION_SETS += ("asimd", "asimddp", "sve", "sve2", "i8mm", "bf16")  # of ARM


def doctor():
    """Print versions, CPU, threads, BLAS kernels, GPUs, and which weights and data work offline."""
    for heading, lines in _findings():
        print(heading)
        for line in lines:
            print(f"  {line}")


def _findings():
    yield f"Python {platform.python_version()} on {platform.platform()}", [sys.executable]
    yield "Packages", [f"mxnet {mx.__version__}", *(f"{name} {_version(name)}{_remark(name)}" for name in PACKAGES)]
    flags = cpu_flags()
    found = [name for name in INSTRUCTION_SETS if name in flags]
    yield (
        "CPU",
        [
            f"{platform.machine()}: {', '.join(found) or 'instruction sets unknown'}",
            f"threads: {chosen.threads} ({chosen.threads_chosen_by})",
            f"BLAS kernels: {chosen.blas_kernels} ({chosen.blas_chosen_by})",
            f"BERT's own operators: {operators.status()[1]}",
            *([f"in place of Arm Performance Libraries: {chosen.arm_libraries}"] if chosen.arm_libraries else []),
        ],
    )
    ctx, reason = choose_device()
    yield (
        "Device",
        [f"{ctx}: {reason}", f"MXNet build: {'GPU' if mxnet_has_cuda() else 'CPU'}", *_gpu_lines()],
    )
    if chosen.lost:
        yield "Lost", chosen.lost
    yield (
        f"Cache {cache_dir()}",
        [
            *(f"{name}: {_reachable(is_fetched(name))}" for name in ("minilm-l6", "bert-base")),
            f"imdb: {_reachable(imdb_is_fetched())}",
            "small, sample, sentences: shipped with the course",
        ],
    )


def _gpu_lines():
    gpus = list_gpus()
    for gpu in gpus:
        capability = ".".join(map(str, gpu.compute_capability))
        yield f"GPU {gpu.index}, {gpu.name}, compute capability {capability}: {_verdict(gpu)}"
    if gpus and (cuda := driver_cuda_version()) < (11, 0):
        yield f"the driver serves CUDA {cuda[0]}.{cuda[1]}, MXNet needs 11: install driver {OLDEST_DRIVER} or newer"


def _verdict(gpu):
    if not gpu.supported:
        return (
            "MXNet 1.9.1 has no kernels for it: use the CPU, or a GPU of 5.0 to 8.9 (GTX 900 to RTX 40, T4, V100, "
            "A100, L4)"
        )
    if mxnet_has_cuda():
        return "MXNet 1.9.1 has kernels for it"
    return (
        "MXNet 1.9.1 has kernels for it, but the CPU build is installed; run: make gpu (without make: "
        f"pip install -e '.[gpu]' && {INSTALL_GPU_BUILD})"
    )


def _reachable(fetched):
    return "in the cache, works offline" if fetched else "not fetched yet"


def _remark(package):
    names = lent_names() if package == "numpy" else ()
    return f" (to MXNet, with {len(names)} names of older ones)" if names else ""


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
