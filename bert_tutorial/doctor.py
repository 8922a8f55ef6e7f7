"""What was found on this machine and what was chosen, for the reader and for bug reports."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from . import operators
from .datasets import imdb_is_fetched
from .fetching import cache_dir
from .pretrained import is_fetched
from .runtime import choose_device, cpu_flags, list_gpus, mxnet_has_cuda, settings

PACKAGES = (
    "bert_tutorial",
    "mxnet",
    "gluonnlp",
    "d2l",
    "numpy",
    "tokenizers",
    "huggingface_hub",
    "jupyterlab",
)
INSTRUCTION_SETS = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")


def doctor():
    """Print versions, CPU, threads, BLAS kernels, GPUs, and which weights and data work offline."""
    for heading, lines in _findings():
        print(heading)
        for line in lines:
            print(f"  {line}")


def _findings():
    yield f"Python {platform.python_version()} on {platform.platform()}", [sys.executable]
    yield "Packages", [f"{name} {_version(name)}" for name in PACKAGES]
    flags = cpu_flags()
    found = [name for name in INSTRUCTION_SETS if name in flags]
    yield (
        "CPU",
        [
            f"{platform.machine()}: {', '.join(found) or 'instruction sets unknown'}",
            f"threads: {settings.threads} ({settings.threads_chosen_by})",
            f"BLAS kernels: {settings.blas_kernels} ({settings.blas_chosen_by})",
            f"BERT's own operators: {operators.status()[1]}",
        ],
    )
    ctx, reason = choose_device()
    yield (
        "Device",
        [f"{ctx}: {reason}", f"MXNet build: {'GPU' if mxnet_has_cuda() else 'CPU'}", *_gpu_lines()],
    )
    if settings.lost:
        yield "Lost", settings.lost
    yield (
        f"Cache {cache_dir()}",
        [
            *(f"{name}: {_reachable(is_fetched(name))}" for name in ("minilm-l6", "bert-base")),
            f"imdb: {_reachable(imdb_is_fetched())}",
            "small, sample: shipped with the course",
        ],
    )


def _gpu_lines():
    for gpu in list_gpus():
        capability = ".".join(map(str, gpu.compute_capability))
        verdict = "has kernels" if gpu.supported else "has no kernels: use the CPU, or a GPU of 5.0 to 8.9"
        yield f"GPU {gpu.index}, {gpu.name}, compute capability {capability}: MXNet 1.9.1 {verdict}"


def _reachable(fetched):
    return "in the cache, works offline" if fetched else "not fetched yet"


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
