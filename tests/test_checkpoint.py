"""A file is whole or not there."""

import os

from bert_tutorial.checkpoint import atomic_path, load_checkpoint, save_checkpoint, save_parameters, write_text

import numpy as np
import pytest
from mxnet import gluon, nd


def test_round_trip(tmp_path):
    arrays = {"a/b": nd.array([[1.5, -2]]), "c": nd.array([3], dtype="int32")}
    state = {"epoch": 2, "name": "é", "history": [{"loss": 0.1}]}
    save_checkpoint(tmp_path / "c.params", arrays, state)
    found, found_state = load_checkpoint(tmp_path / "c.params")
    assert found_state == state
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].asnumpy(), array.asnumpy())
    assert os.listdir(tmp_path) == ["c.params"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_damaged_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "c.params"
    save_checkpoint(path, {"a": nd.ones((20, 20))}, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"c\.params"):
        load_checkpoint(path)


def test_other_parameters_are_no_checkpoint(tmp_path):
    net = gluon.nn.Dense(2, in_units=2)
    net.initialize()
    save_parameters(net, tmp_path / "net.params")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "net.params")
