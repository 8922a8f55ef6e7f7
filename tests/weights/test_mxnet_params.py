"""MXNet's format is read as MXNet reads it, and nothing in it crashes the process."""

from bert_tutorial.weights.mxnet_params import read_params

import mxnet as mx
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_mxnets_format_is_read_as_mxnet_reads_it(tmp_path):
    shapes = [(1,), (3, 4), (2, 3, 4)]
    arrays = {f"é.{i}": mx.nd.random.normal(shape=shape, ctx=mx.cpu(1)) for i, shape in enumerate(shapes)}
    mx.nd.save(str(tmp_path / "a"), arrays)
    found = read_params(tmp_path / "a")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array.asnumpy())


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_else_in_the_place_of_a_number(tmp_path, data):
    """Finding 10: what comes out is an error or arrays of the size of the file."""
    mx.nd.save(str(tmp_path / "a"), {"b": mx.nd.ones((2, 3)), "c": mx.nd.ones(4)})
    content = bytearray((tmp_path / "a").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.binary(min_size=1, max_size=8))
    content[position : position + len(new)] = new
    (tmp_path / "a").write_bytes(content[: data.draw(st.integers(position + 1, len(content)))])
    try:
        found = read_params(tmp_path / "a")
    except ValueError:
        return
    assert sum(array.nbytes for array in found.values()) < len(content)
