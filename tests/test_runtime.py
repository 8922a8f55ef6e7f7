"""What is settled before MXNet loads. Each case needs a fresh interpreter."""

import json
import os
import random
import subprocess
import sys

from bert_tutorial import runtime, seed_everything
from bert_tutorial.runtime import GPU

import mxnet as mx
import numpy as np
import pytest

REPORT = """
import json, os
from bert_tutorial.runtime import settings
print(json.dumps({**vars(settings), "OMP": os.environ["OMP_NUM_THREADS"], "BLAS": os.environ.get("OPENBLAS_CORETYPE")}))
"""


def fresh(code, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**clean, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_all_physical_cores_are_used():
    found = fresh("import bert_tutorial" + REPORT)
    assert found["threads"] == int(found["OMP"]) == runtime.usable_cores()
    assert found["lost"] == []
    assert found["BLAS"] == runtime.blas_kernels(runtime.cpu_flags())


def test_the_users_environment_wins():
    found = fresh("import bert_tutorial" + REPORT, OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="NEHALEM")
    assert (found["threads"], found["OMP"], found["BLAS"]) == (1, "1", "NEHALEM")
    assert "your environment" in found["threads_chosen_by"]
    assert "your environment" in found["blas_chosen_by"]


@pytest.mark.skipif(runtime.blas_kernels(runtime.cpu_flags()) is None, reason="no better BLAS kernels known here")
def test_mxnet_loaded_first_loses_the_blas_kernels_only():
    found = fresh("import numpy; numpy.bool = numpy.bool_; import mxnet; import bert_tutorial" + REPORT)
    assert found["threads"] == runtime.usable_cores()
    assert found["BLAS"] is None
    assert "BLAS" in found["lost"][0]


def test_mxnet_works_after_the_import():
    code = "import bert_tutorial, mxnet, d2l.mxnet, gluonnlp; print(int(mxnet.nd.ones((2, 3)).sum().asscalar()))"
    assert fresh(code) == 6


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
    assert runtime.blas_kernels(set(flags.split())) == kernels


@pytest.mark.parametrize(("content", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None)])
def test_a_containers_quota_counts(tmp_path, content, cpus):
    (tmp_path / "cpu.max").write_text(content)
    assert runtime._cgroup_cpus(tmp_path / "cpu.max") == cpus


def test_no_quota_file():
    assert runtime._cgroup_cpus("/nowhere") is None


def test_numpy_2_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(ImportError, match=r"pip install 'numpy"):
        runtime.prepare()


T4, A100, ADA, H100, OLD = (
    GPU(i, name, capability)
    for i, (name, capability) in enumerate(
        [("T4", (7, 5)), ("A100", (8, 0)), ("L4", (8, 9)), ("H100", (9, 0)), ("K40", (3, 5))]
    )
)


@pytest.mark.parametrize(
    ("gpus", "cuda", "device", "reason"),
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
def test_device_choice(monkeypatch, gpus, cuda, device, reason):
    monkeypatch.setattr(runtime, "list_gpus", lambda: gpus)
    monkeypatch.setattr(runtime, "mxnet_has_cuda", lambda: cuda)
    ctx, why = runtime.choose_device()
    assert ctx == device
    assert reason in why


def test_gpus_are_read_from_the_driver(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, Tesla T4, 7.5'\necho '1, NVIDIA H100 80GB HBM3, 9.0'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert runtime.list_gpus() == [GPU(0, "Tesla T4", (7, 5)), GPU(1, "NVIDIA H100 80GB HBM3", (9, 0))]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert runtime.list_gpus() == []


@pytest.mark.gpu
def test_a_supported_gpu_computes():
    ctx, reason = runtime.choose_device()
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


def test_ctrl_c_during_a_deletion_is_kept():
    """Python drops exceptions in __del__, and MXNet's arrays have one."""
    code = """
import os, signal
from bert_tutorial import runtime

class Array:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell's foreground
runtime.keep_interrupts()
Array()
print("lost by Python")
try:
    runtime.raise_kept_interrupt()
except KeyboardInterrupt:
    print("kept")
runtime.raise_kept_interrupt()
try:
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(1000))
except KeyboardInterrupt:
    print("raised at once")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["lost by Python", "kept", "raised at once"]
    assert result.stderr == ""
