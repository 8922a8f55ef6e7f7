"""A file is whole or not there."""

import errno
import os
import resource
import stat
import subprocess
import sys
from contextlib import contextmanager

from bert_tutorial.machine.files import remove_leftovers, write_text
from bert_tutorial.training.checkpoint import (
    checkpoint_exists,
    load_checkpoint,
    previous_path,
    remove_checkpoint,
    save_checkpoint,
)

import mxnet as mx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mxnet import nd
from safetensors.numpy import save_file


def test_round_trip(tmp_path):
    arrays = {"a/b": nd.array([[1.5, -2]]), "c": nd.array([3], dtype="int32")}
    state = {"epoch": 2, "name": "é", "history": [{"loss": 0.1}]}
    save_checkpoint(tmp_path / "c.safetensors", arrays, state)
    found, found_state = load_checkpoint(tmp_path / "c.safetensors")
    assert found_state == state
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].asnumpy(), array.asnumpy())
    assert os.listdir(tmp_path) == ["c.safetensors"]


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_damaged_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": nd.ones((20, 20))}, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"c\.safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize("write", [save_file, nd.save], ids=["weights", "older format"])
def test_other_files_are_no_checkpoint(tmp_path, write):
    path = tmp_path / "c.safetensors"
    write(*({"a": np.ones(2)}, path) if write is save_file else (str(path), {"a": nd.ones(2)}))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)


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
    path = folder / "c.safetensors"
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


def harmless(content, damaged):
    """Blanks after the header's JSON: what the file says is the same."""
    end = 8 + int.from_bytes(content[:8], "little")
    blanks = damaged[len(content[:end].rstrip()) : end].isspace()
    return blanks and damaged[: len(content[:end].rstrip())] + damaged[end:] == content[:end].rstrip() + content[end:]


@given(damages)
def test_any_damage_is_found_and_the_one_before_is_used(contents, how):
    path, newest, previous = contents
    damaged = damage(newest, *how)
    assume(not harmless(newest, damaged))
    path.write_bytes(damaged)
    previous_path(path).write_bytes(previous)
    assert load(path) == 1
    assert load(path) == 1  # the damaged file is out of the way: the next save does not keep it as the one before
    save(path, 3)
    path.unlink()
    assert load(path) == 1


@given(damages, damages)
def test_both_damaged_is_one_error_that_names_them(contents, how, how_previous):
    path, newest, previous = contents
    damaged, damaged_previous = damage(newest, *how), damage(previous, *how_previous)
    assume(not harmless(newest, damaged) and not harmless(previous, damaged_previous))
    path.write_bytes(damaged)
    previous_path(path).write_bytes(damaged_previous)
    with pytest.raises(ValueError, match=r"c\.safetensors and .*c\.previous\.safetensors\. Delete"):
        load_checkpoint(path)


def test_the_damaged_file_is_named(tmp_path, caplog):
    path = tmp_path / "c.safetensors"
    for number in (1, 2):
        save(path, number)
    path.write_bytes(path.read_bytes()[:-1])
    assert load(path) == 1
    assert [record.getMessage().split()[0] for record in caplog.records] == [str(path)]


def test_the_one_before_is_used_where_the_newest_is_missing(tmp_path):
    path = tmp_path / "c.safetensors"
    for number in (1, 2):
        save(path, number)
    path.unlink()
    assert checkpoint_exists(path)
    assert load(path) == 1


def test_nothing_there(tmp_path):
    path = tmp_path / "c.safetensors"
    assert not checkpoint_exists(path)
    with pytest.raises(FileNotFoundError, match=r"c\.safetensors"):
        load_checkpoint(path)


def test_removing_takes_both(tmp_path):
    path = tmp_path / "c.safetensors"
    for number in (1, 2):
        save(path, number)
    remove_checkpoint(path)
    assert os.listdir(tmp_path) == []
    remove_checkpoint(path)


def test_what_a_killed_process_left_is_ignored_and_can_be_cleared_away(tmp_path):
    """Finding 7."""
    path = tmp_path / "c.safetensors"
    others = [tmp_path / ".other.part", tmp_path / "c.safetensors.part"]
    for left in (tmp_path / ".c.safetensors.part", tmp_path / ".c.safetensors.0123.part", *others):
        left.write_bytes(b"half")
    (tmp_path / ".c.safetensors.4567.part").mkdir()
    (tmp_path / ".c.safetensors.4567.part" / ".tmp89").write_bytes(b"of a library")
    assert not checkpoint_exists(path)
    save(path, 1)
    assert load(path) == 1
    remove_leftovers(path)
    assert set(tmp_path.iterdir()) == {path, *others}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_of_any_new_file(tmp_path, umask):
    """Finding 7; safetensors' own are 0600."""
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text", "")
        save(tmp_path / "c.safetensors", 1)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_folder_that_cannot_be_flushed(tmp_path, monkeypatch, number):
    """Finding 30: FUSE, CIFS and WSL refuse it when the file is in its place already."""
    flush = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_text(tmp_path / "file", "new")
    save(tmp_path / "c.safetensors", 1)
    assert load(tmp_path / "c.safetensors") == 1


def test_arrays_of_all_types_and_devices(tmp_path):
    path = tmp_path / "c.safetensors"
    arrays = {
        dtype: nd.array([[1, 2, 3]], mx.cpu(1), dtype)
        for dtype in ("float32", "float64", "float16", "uint8", "int8", "int32", "int64")
    }
    save_checkpoint(path, arrays, {})
    found, _ = load_checkpoint(path)
    for dtype, array in arrays.items():
        assert found[dtype].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found[dtype].asnumpy(), array.asnumpy())


def test_saving_and_loading_hold_no_second_copy(tmp_path):
    """Finding 34."""
    program = """
import sys
import bert_tutorial
from bert_tutorial.training.checkpoint import load_checkpoint, save_checkpoint
from bert_tutorial.machine.memory import peak_memory
from mxnet import nd

arrays = {str(i): nd.ones((500, 1000)) for i in range(80)}  # 160 MB
nd.waitall()
before = peak_memory()
save_checkpoint(sys.argv[1], arrays, {})
print(peak_memory() - before)
arrays.clear()
load_checkpoint(sys.argv[1])
print(peak_memory() - before)
"""
    command = [sys.executable, "-c", program, tmp_path / "c.safetensors"]
    saving, loading = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert saving < 20e6
    assert loading < 60e6


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
    path = tmp_path / "c.safetensors"
    arrays = {"a": nd.ones((100, 200))}
    for number in (1, 2):
        save_checkpoint(path, arrays, {"number": number})
    size = path.stat().st_size
    with largest_file(size - missing), pytest.raises(OSError, match=r"c\.safetensors"):
        save_checkpoint(path, arrays, {"number": 3})
    assert load_checkpoint(path)[1] == {"number": 2}
    assert load_checkpoint(previous_path(path))[1] == {"number": 1}
    assert set(os.listdir(tmp_path)) == {path.name, previous_path(path).name}
