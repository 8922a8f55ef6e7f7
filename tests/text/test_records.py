"""Byte strings on disk."""

import os
import tempfile

from bert_tutorial.machine import files
from bert_tutorial.machine.files import temporary_file
from bert_tutorial.text.records import Records, keep_on_disk

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Stand-ins for /var/tmp and /tmp."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    for name in ("disk", "memory"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(files, "ON_DISK", str(tmp_path / "disk"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "memory"))
    return tmp_path


def folder_of(file):
    return os.readlink(f"/proc/self/fd/{file.fileno()}").rsplit("/", 2)[-2]


@pytest.mark.parametrize(("chosen", "there", "expected"), [
    (False, True, "disk"), (False, False, "memory"), (True, True, "memory"),
])  # fmt: skip
def test_temporary_files_are_on_disk_unless_told_otherwise(folders, monkeypatch, chosen, there, expected):
    """Finding 24: /tmp is memory on several systems."""
    if chosen:
        monkeypatch.setenv("TMPDIR", str(folders / "memory"))
    if not there:
        (folders / "disk").rmdir()
    with temporary_file() as file:
        assert folder_of(file) == expected
        assert not any(os.listdir(folders / name) for name in os.listdir(folders)), "nobody else sees it"


@given(st.lists(st.binary(max_size=20)))
def test_records_come_back(items):
    stored = keep_on_disk(lambda: iter(items))
    assert isinstance(stored, Records)
    assert list(stored) == items
    assert [stored[i - len(items)] for i in range(len(items))] == items


def test_a_file_that_was_cut_is_an_error():
    file = temporary_file()
    stored = Records.write(file, [b"one", b"two"])
    file.truncate(4)
    assert stored[0] == b"one"
    with pytest.raises(OSError, match="record 1"):
        stored[1]
