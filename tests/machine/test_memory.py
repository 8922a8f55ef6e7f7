"""Gradients that take no memory before they are written."""

import json
import subprocess
import sys

from bert_tutorial.machine.memory import untouched_zeros

import mxnet as mx
import numpy as np
import pytest


@pytest.mark.parametrize("ctx", [mx.cpu(), mx.cpu(1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (500, 70)])
def test_they_are_zeros_of_any_shape_and_type(shape, dtype, ctx):
    array = untouched_zeros(shape, ctx, dtype)
    assert (array.shape, np.dtype(array.dtype), array.context) == (shape, np.dtype(dtype), ctx)
    array[0] += 1
    expected = np.zeros(shape)
    expected[0] = 1
    np.testing.assert_array_equal(array.asnumpy(), expected)


PROGRAM = """
import json
import bert_tutorial
from bert_tutorial.machine.memory import untouched_zeros
import mxnet as mx
import psutil

def resident():
    mx.nd.waitall()
    return psutil.Process().memory_info().rss

mx.nd.ones(10).wait_to_read()
sizes = [resident()]
arrays = [untouched_zeros((2**24,), mx.cpu(), "float32") for _ in range(4)]  # 64 MiB each
sizes.append(resident())
arrays[0][: 2**23] = 1
sizes.append(resident())
assert arrays[0].asnumpy()[[0, 2**23 - 1, 2**23]].tolist() == [1, 1, 0]
del arrays
sizes.append(resident())
print(json.dumps([size - sizes[0] for size in sizes[1:]]))
"""


@pytest.mark.slow
def test_memory_is_taken_as_it_is_written_and_given_back():
    """Finding 3: a network that only predicts has its gradients for nothing."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    made, half_written, deleted = json.loads(done.stdout)
    assert made < 2**23
    assert 2**24 < half_written < 2**26
    assert deleted < 2**26  # asnumpy's copy may stay


@pytest.mark.slow
def test_a_program_that_ends_with_gradients_ends_well():
    program = """
import bert_tutorial
from bert_tutorial.weights.filling import attach_gradient
from mxnet import autograd, nd
from mxnet.gluon import nn
net = nn.Dense(500, in_units=500)
net.collect_params().setattr("grad_req", "null")
net.initialize()
for parameter in net.collect_params().values():
    attach_gradient(parameter)
for _ in range(3):
    with autograd.record():
        loss = net(nd.ones((2, 500))).sum()
    loss.backward()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
