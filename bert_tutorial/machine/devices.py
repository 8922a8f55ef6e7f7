"""Devices to compute on: those that a caller names, or the best one here."""

import mxnet as mx

from .cuda import list_gpus, mxnet_has_cuda
from .launched import local_rank


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
    gpus = list_gpus()
    if not gpus:
        return mx.cpu(), "no NVIDIA GPU found"
    if not mxnet_has_cuda():
        return mx.cpu(), f"{gpus[0].name} found, but this MXNet is the CPU build"
    supported = [gpu for gpu in gpus if gpu.supported]
    if supported:
        rank, _ = local_rank()
        gpu = supported[rank % len(supported)]
        return mx.gpu(gpu.index), f"{gpu.name} is supported"
    major, minor = gpus[0].compute_capability
    return mx.cpu(), (
        f"{gpus[0].name} has compute capability {major}.{minor}; MXNet 1.9.1 holds kernels for 5.0 to 8.9 only"
    )
