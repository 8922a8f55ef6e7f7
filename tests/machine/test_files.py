"""A file is written whole or not at all."""

import os

from bert_tutorial.machine.files import atomic_path, write_text

import mxnet as mx
import pytest


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


def test_two_writers_of_one_file_publish_it_whole(tmp_path):
    """Finding 7: one published the half that the other had written."""
    path = tmp_path / "file"
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            second.write_text("sec")
        assert path.read_text() == "sec"
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError(), OSError("\n"), mx.MXNetError("")])
def test_an_error_without_text(tmp_path, error):
    """Finding 30."""
    with (
        pytest.raises(OSError, match=rf"cannot write .*file; .*{type(error).__name__}"),
        atomic_path(tmp_path / "file"),
    ):
        raise error
