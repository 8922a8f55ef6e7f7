"""What a training keeps to put back: on a disk, and gone with the process."""

import errno
import math
import os
import tempfile

from bert_tutorial import train_loop
from bert_tutorial.training import keeper
from bert_tutorial.training.keeper import KeptValues
from bert_tutorial.training.progress import TrainingDivergedError

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mxnet import gluon, nd
from small_runs import LOSS, ONE, TWO, build, fine_tune, parameters, reviews


class Files:
    """Every temporary file that is made, and how often something is kept in one."""

    def __init__(self, monkeypatch):
        self.kept, self.files = [], []
        keep, make = KeptValues.keep, keeper.temporary_file

        def temporary_file():
            self.files.append(make())
            return self.files[-1]

        def keep_and_tell(kept, arrays, when):
            self.kept.append(when)
            keep(kept, arrays, when)

        monkeypatch.setattr(keeper, "temporary_file", temporary_file)
        monkeypatch.setattr(KeptValues, "keep", keep_and_tell)


@pytest.fixture
def files(monkeypatch):
    return Files(monkeypatch)


shapes = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4)


@given(shapes, st.sampled_from(["float32", "float16", "float64"]))
def test_kept_values_come_back(shapes, dtype):
    found = {}
    for number, shape in enumerate(shapes):
        found[str(number)] = gluon.Parameter(str(number), shape=shape, dtype=dtype)
        found[str(number)].initialize(mx.init.Normal(1), TWO)
    kept = KeptValues(found)
    kept.keep({name: p.data(TWO[0]) * math.nan for name, p in found.items()}, "first")
    kept.keep({name: p.data(TWO[0]) for name, p in found.items()}, "then")
    before = {name: p.data(TWO[0]).asnumpy() for name, p in found.items()}
    for parameter in found.values():
        parameter.set_data(nd.zeros(parameter.shape))
    kept.put_back()
    assert kept.when == "then"
    for name, parameter in found.items():
        for data in parameter.list_data():
            np.testing.assert_array_equal(data.asnumpy(), before[name])
            assert data.dtype == np.dtype(dtype)


def test_nothing_is_kept_before_there_is_something_to_keep(files):
    """Finding 24."""

    def broken(logits, labels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fine_tune(build(ONE), ONE, broken)
    assert files.kept == files.files == []


@pytest.mark.parametrize(
    ("valid", "expected"), [(False, ["before training", "of epoch 1", "of epoch 2"]), (True, ["before training"])]
)
def test_nothing_is_kept_twice(files, valid, expected):
    """Finding 24: not after the last epoch, whose values nothing can spoil, nor after one that is not the best."""
    net = build(ONE)
    history = fine_tune(net, ONE, valid=valid, lr=1e-2)
    best = [n for n, row in enumerate(history) if valid and row is min(history[: n + 1], key=lambda r: (
        -r["valid_accuracy"], r["valid_loss"]))]  # fmt: skip
    assert files.kept == expected + [f"of epoch {n + 1}" for n in best]
    assert len(files.files) == 1
    assert all(file.closed for file in files.files)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_file_has_no_name(tmp_path, monkeypatch, checkpoint):
    """Finding 24: so a process that is killed leaves nothing. With a checkpoint it is beside it, on the same disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    folder = tmp_path / "run"
    folder.mkdir()
    seen = []

    def look(row):
        open_files = (os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd"))
        seen.extend(os.path.dirname(name) for name in open_files if name.startswith(str(tmp_path)))
        assert set(os.listdir(tmp_path)) == {"run"}
        assert set(os.listdir(folder)) <= {"c.params", "c.previous.params"}

    fine_tune(build(ONE), ONE, on_epoch=look, checkpoint=folder / "c.params" if checkpoint else None)
    assert set(seen) == {str(folder if checkpoint else tmp_path)}
    assert set(os.listdir(tmp_path)) == {"run"}


@pytest.mark.parametrize("full", [False, True])
def test_without_a_disk_the_values_are_kept_in_memory(monkeypatch, full):
    def temporary_file():
        if full:
            return open("/dev/full", "rb+")
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(keeper, "temporary_file", temporary_file)
    net, start = build(ONE), parameters(build(ONE))
    with pytest.raises(TrainingDivergedError, match="before training"):
        train_loop(net, reviews([2, 3]), None, 1, 1e-3, ONE, lambda logits, labels: LOSS(logits, labels) * math.nan)
    for name, array in parameters(net).items():
        np.testing.assert_array_equal(array, start[name])


def test_a_checkpoints_folder_that_is_not_there_is_an_error_before_any_work(tmp_path):
    with pytest.raises(OSError, match="no/such"):
        fine_tune(build(ONE), ONE, lambda *_: pytest.fail("it has trained"), checkpoint=tmp_path / "no/such/c.params")
