"""The device that is chosen."""

from bert_tutorial.machine import devices
from bert_tutorial.machine.cuda import GPU

import mxnet as mx
import pytest

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


@pytest.mark.gpu
def test_a_supported_gpu_computes():
    ctx, reason = devices.choose_device()
    if ctx.device_type != "gpu":
        pytest.skip(f"no GPU that this MXNet can use: {reason}")
    assert mx.nd.ones((2, 2), ctx=ctx).sum().asscalar() == 4
