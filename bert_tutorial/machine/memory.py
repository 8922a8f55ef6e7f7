"""Gradients of loaded parameters: zeros whose memory is not touched before the first backward pass.

Gluon fills gradients with zeros when a parameter gets its values: as much memory again as the weights, which a network
that only predicts never needs.
"""

import ctypes
import mmap
import sys

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, NDArrayHandle, check_call
from mxnet.ndarray.ndarray import DLContext, DLDataType, DLManagedTensor

ALIGNMENT = 64  # bytes, as MXNet's own arrays
CPU = 1  # DLPack's number

_libc = ctypes.CDLL(None)
_libc.calloc.restype = ctypes.c_void_p
_libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def attach_gradient(parameter):
    """Give a parameter with values, and grad_req "null", its gradient and grad_req "write"."""
    parameter._grad_req = "write"
    parameter._grad = [untouched_zeros(data.shape, data.context, data.dtype) for data in parameter._data]
    mx.autograd.mark_variables(parameter._data, parameter._grad, parameter.grad_req)


def untouched_zeros(shape, ctx, dtype):
    """mx.nd.zeros, whose memory the system clears page by page, as each is first read or written.

    On cpu(0) alone, the only device that DLPack can name to MXNet's CPU build. The memory is one block of C's `calloc`:
    a DLPack header, the shape, the numbers. MXNet gives it back with `free`; a Python function in its place would be
    called by MXNet's threads after Python's end.
    """
    dtype = np.dtype(dtype)
    if ctx != mx.cpu(0) or dtype.name not in DLDataType.TYPE_MAP:
        return mx.nd.zeros(shape, ctx, dtype)
    header = ctypes.sizeof(DLManagedTensor)
    extent = (ctypes.c_int64 * len(shape))(*shape)
    room = header + ctypes.sizeof(extent) + ALIGNMENT
    size = room + int(np.prod(shape)) * dtype.itemsize
    block = _libc.calloc(1, size)
    if block is None:
        raise MemoryError(f"no memory for a gradient of shape {shape}")
    _return_pages(block, block + size)
    managed = DLManagedTensor.from_address(block)
    ctypes.memmove(block + header, extent, ctypes.sizeof(extent))
    tensor = managed.dl_tensor
    tensor.data = (block + room) // ALIGNMENT * ALIGNMENT
    tensor.ctx = DLContext(CPU, 0)
    tensor.ndim = len(shape)
    tensor.dtype = DLDataType.TYPE_MAP[dtype.name]
    tensor.shape = ctypes.cast(block + header, ctypes.POINTER(ctypes.c_int64))
    managed.deleter = ctypes.cast(_libc.free, type(managed.deleter))
    handle = NDArrayHandle()
    check_call(_LIB.MXNDArrayFromDLPackEx(ctypes.c_void_p(block), False, ctypes.byref(handle)))
    return mx.nd.NDArray(handle)


def _return_pages(begin, end):
    """Where `calloc` had to clear memory that was used before: Linux takes the pages back until they are needed."""
    begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if sys.platform == "linux" and begin < end:
        _libc.madvise(begin, end - begin, mmap.MADV_DONTNEED)
