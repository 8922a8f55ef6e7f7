"""A file is whole or not there."""

import os
import resource
from contextlib import contextmanager

from bert_tutorial.checkpoint import (
    atomic_path,
    checkpoint_exists,
    load_checkpoint,
    previous_path,
    remove_checkpoint,
    save_checkpoint,
    save_parameters,
    write_text,
)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def save(path, number):
    save_checkpoint(path, {"a": nd.full((3, 5), number)}, {"number": number})


def load(path):
    arrays, state = load_checkpoint(path)
    assert (arrays["a"].asnumpy() == state["number"]).all()
    return state["number"]


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The bytes of two checkpoints, the newer one first; and a folder to put them in."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "c.params"
    for number in (1, 2):
        save(path, number)
    return path, path.read_bytes(), previous_path(path).read_bytes()


damages = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 10**6), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0, 10**6), st.just(0)),
    st.tuples(st.just("append"), st.just(0), st.integers(0, 255)),
)


def damage(content, kind, position, value):
    position %= len(content)
    if kind == "flip":
        return content[:position] + bytes([content[position] ^ value]) + content[position + 1 :]
    return content[:position] if kind == "cut" else content + bytes([value])


@given(damages)
def test_any_damage_is_found_and_the_one_before_is_used(contents, how):
    path, newest, previous = contents
    path.write_bytes(damage(newest, *how))
    previous_path(path).write_bytes(previous)
    assert load(path) == 1
    assert load(path) == 1  # the damaged file is out of the way: the next save does not keep it as the one before
    save(path, 3)
    path.unlink()
    assert load(path) == 1


@given(damages, damages)
def test_both_damaged_is_one_error_that_names_them(contents, how, how_previous):
    path, newest, previous = contents
    path.write_bytes(damage(newest, *how))
    previous_path(path).write_bytes(damage(previous, *how_previous))
    with pytest.raises(ValueError, match=r"c\.params and .*c\.previous\.params\. Delete"):
        load_checkpoint(path)


def test_the_damaged_file_is_named(tmp_path, caplog):
    path = tmp_path / "c.params"
    for number in (1, 2):
        save(path, number)
    path.write_bytes(path.read_bytes()[:-1])
    assert load(path) == 1
    assert [record.getMessage().split()[0] for record in caplog.records] == [str(path)]


def test_the_one_before_is_used_where_the_newest_is_missing(tmp_path):
    path = tmp_path / "c.params"
    for number in (1, 2):
        save(path, number)
    path.unlink()
    assert checkpoint_exists(path)
    assert load(path) == 1


def test_nothing_there(tmp_path):
    path = tmp_path / "c.params"
    assert not checkpoint_exists(path)
    with pytest.raises(FileNotFoundError, match=r"c\.params"):
        load_checkpoint(path)


def test_removing_takes_both(tmp_path):
    path = tmp_path / "c.params"
    for number in (1, 2):
        save(path, number)
    remove_checkpoint(path)
    assert os.listdir(tmp_path) == []
    remove_checkpoint(path)


def test_what_a_killed_process_left_is_ignored(tmp_path):
    path = tmp_path / "c.params"
    left = tmp_path / ".c.params.part"
    left.write_bytes(b"half")
    assert not checkpoint_exists(path)
    save(path, 1)
    left.write_bytes(b"half" * 1000)
    assert load(path) == 1
    save(path, 2)
    assert load(path) == 2
    assert not left.exists()


@contextmanager
def largest_file(size):
    """What a full disk does, to all files at once."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("missing", [1, 20, 40, 5000, 50_000])
def test_a_full_disk_leaves_both_checkpoints(tmp_path, missing):
    """The write fails in MXNet, as MXNet closes its file, or after it."""
    path = tmp_path / "c.params"
    arrays = {"a": nd.ones((100, 200))}
    for number in (1, 2):
        save_checkpoint(path, arrays, {"number": number})
    size = path.stat().st_size
    with largest_file(size - missing), pytest.raises(OSError, match=r"c\.params"):
        save_checkpoint(path, arrays, {"number": 3})
    assert load_checkpoint(path)[1] == {"number": 2}
    assert load_checkpoint(previous_path(path))[1] == {"number": 1}
    assert set(os.listdir(tmp_path)) == {path.name, previous_path(path).name}
