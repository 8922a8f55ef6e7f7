"""A run's folder has one owner, and nothing in it is lost by mistake."""

import os
import signal
import subprocess
import sys

from bert_tutorial.training.run_folder import (
    CHECKPOINT,
    CHECKPOINTS,
    OLDER_CHECKPOINTS,
    RESULTS,
    claim,
    discard_unfinished,
)

import filelock
import pytest

PROGRAM = """
import sys
from bert_tutorial.training.run_folder import claim

with claim(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that owns the folder `run`."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def test_a_second_process_is_told_of_the_first_until_that_is_killed(tmp_path, owner):
    """Finding 6."""
    folder = tmp_path / "run"
    for options in ({}, {"resume": True}, {"overwrite": True}):
        text = rf"run belongs to process {owner.pid} on .+, since 20\d\d-"
        with pytest.raises(OSError, match=text), claim(folder, **options):
            pass
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with claim(folder):
        pass
    assert os.listdir(folder) == []


def test_the_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), claim(tmp_path):
        raise KeyError
    with claim(tmp_path), pytest.raises(OSError, match=str(os.getpid())), claim(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_an_unfinished_run_wants_a_word(tmp_path, name):
    """Finding 6."""
    (tmp_path / name).write_text("half a run")
    with pytest.raises(FileExistsError, match=r"unfinished run.*--resume.*--overwrite"), claim(tmp_path):
        pass
    for options in ({"resume": True}, {"overwrite": True}):
        with claim(tmp_path, **options):
            assert (tmp_path / name).exists(), "it stays until the new run begins"
    discard_unfinished(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [*RESULTS, *OLDER_CHECKPOINTS])
@pytest.mark.parametrize("resume", [False, True])
def test_what_would_be_replaced_wants_a_word(tmp_path, name, resume):
    """Finding 6: a finished run, another's files, an unfinished run of an older version."""
    (tmp_path / name).write_text("")
    with pytest.raises(FileExistsError, match=r"--overwrite .* or choose another --output"), claim(tmp_path, resume):
        pass
    with claim(tmp_path, overwrite=True):
        pass
    assert os.listdir(tmp_path) == [name]


def test_other_files_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with claim(tmp_path):
        pass


def test_what_killed_processes_left_is_cleared_away(tmp_path):
    """Finding 7."""
    for name in (".model.safetensors.0a1b.part", f".{CHECKPOINT}.0a1b.part", ".config.json.part", ".notes.part"):
        (tmp_path / name).write_text("half")
    with claim(tmp_path):
        assert sorted(os.listdir(tmp_path)) == [".lock", ".notes.part"]


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(95, "Operation not supported")])
def test_a_file_system_without_locks_gives_one_warning(tmp_path, monkeypatch, caplog, error):
    def acquire(self, *arguments, **options):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with claim(tmp_path):
        pass
    (record,) = caplog.records
    assert str(tmp_path) in record.getMessage()


def test_another_users_lock(tmp_path, monkeypatch):
    def acquire(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(PermissionError, match=r"cannot lock .*\.lock: Permission denied"), claim(tmp_path):
        pass
