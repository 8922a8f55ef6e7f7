"""Memory: MXNet's arrays as NumPy sees them, zeros that take none yet, and the most that the process has used."""

import ctypes
import mmap
import resource
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


def view(array):
    """An array as NumPy sees it: in the same memory if it is on the CPU, so it must not change meanwhile."""
    array = array.as_in_context(mx.cpu())
    array.wait_to_read()
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    dtype = np.dtype(array.dtype)
    memory = (ctypes.c_char * (array.size * dtype.itemsize)).from_address(address.value)
    memory.owner = array  # which lives as long as the view does
    return np.frombuffer(memory, dtype).reshape(array.shape)


def peak_memory():
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
