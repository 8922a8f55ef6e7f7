import hashlib
import os
import tempfile
import time

from bert_tutorial.machine import fetching
from bert_tutorial.machine.fetching import FetchError, check_hash, download, fetch

import pytest

CONTENT = b"weights" * 1000
SHA1 = f"sha1:{hashlib.sha1(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
WRONG = f"sha256:{'0' * 64}"


def writes(text, calls=None):
    """A source: writes `text` into the file `weights`."""

    def write_files(folder):
        if calls is not None:
            calls.append(text)
        (folder / "weights").write_text(text)

    return write_files


def fails(error, calls=None):
    """A source that writes half a file before it fails."""

    def write_files(folder):
        if calls is not None:
            calls.append(str(error))
        (folder / "half").write_text("ha")
        raise error

    return write_files


def accept(folder):
    """A check that finds nothing wrong."""


def refuse(text):
    def check(folder):
        if (folder / "weights").read_text() == text:
            raise ValueError(f"{text} is damaged")

    return check


def test_first_working_source_is_taken_and_kept(cache):
    calls = []
    sources = [("a", fails(OSError("a is down"), calls)), ("b", writes("b", calls)), ("c", writes("c", calls))]
    folder = fetch("model", sources, accept)
    assert folder == cache / "model"
    assert [path.name for path in folder.iterdir()] == ["weights"], "nothing of the first source"
    assert calls == ["a is down", "b"]
    assert fetch("model", sources, accept) == folder
    assert calls == ["a is down", "b"], "the second time comes from the cache"
    assert [path.name for path in cache.iterdir()] == ["model"]


def test_a_source_that_fails_its_check_is_passed_over(cache):
    folder = fetch("model", [("a", writes("bad")), ("b", writes("good"))], refuse("bad"))
    assert (folder / "weights").read_text() == "good"


def test_all_failing_says_what_was_tried_and_leaves_nothing(cache):
    long = "very " * 1000
    sources = [
        ("the index", fails(OSError("no route\n to host"))),
        ("the hub", writes("bad")),
        ("the zoo", fails(RuntimeError())),
        ("the shed", fails(RuntimeError(long))),
    ]
    with pytest.raises(FetchError) as caught:
        fetch("hf/org/model", sources, refuse("bad"))
    message = str(caught.value)
    lines = [line.strip() for line in message.splitlines()]
    assert "the index: no route to host" in lines
    assert "the hub: bad is damaged" in lines
    assert "the zoo: RuntimeError" in lines
    assert "the shed: very" in message
    assert long not in message
    assert "hf/org/model" in lines[0]
    assert str(cache) in lines[-1]
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interrupting_leaves_nothing_and_tries_no_more(cache, stop):
    calls = []
    with pytest.raises(stop):
        fetch("model", [("a", fails(stop())), ("b", writes("b", calls))], accept)
    assert calls == []
    assert list(cache.iterdir()) == []


def test_half_written_folder_is_never_seen(cache):
    seen = []

    def look(folder):
        writes("whole")(folder)
        seen.append((cache / "org/model").exists())

    def check(folder):
        seen.append((cache / "org/model").exists())

    assert fetch("org/model", [("a", look)], check) == cache / "org/model"
    assert seen == [False, False]


def test_two_processes_fetching_the_same_do_not_disturb_each_other(cache):
    """The other one lands while this one still writes."""

    def write_files(folder):
        writes("ours")(folder)
        (cache / "model").mkdir()
        writes("theirs")(cache / "model")

    never = fails(AssertionError("the second source is not needed"))
    folder = fetch("model", [("a", write_files), ("b", never)], accept)
    assert (folder / "weights").read_text() == "theirs"
    assert [path.name for path in cache.iterdir()] == ["model"]


def test_landed_files_are_readable_by_others(cache):
    def write_files(folder):
        for parent in (folder, tempfile.mkdtemp(dir=folder)):
            file, _ = tempfile.mkstemp(dir=parent)  # 0600, as libraries write that land files whole
            os.close(file)

    umask = os.umask(0o022)
    try:
        folder = fetch("org/model", [("a", write_files)], accept)
    finally:
        os.umask(umask)
    assert folder.parent.stat().st_mode & 0o055 == 0o055
    assert folder.stat().st_mode & 0o055 == 0o055
    found = list(folder.rglob("*"))
    assert len(found) == 3
    for path in found:
        wanted = 0o055 if path.is_dir() else 0o044
        assert path.stat().st_mode & wanted == wanted


def test_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path / "file" / "cache"))
    calls = []
    with pytest.raises(FetchError, match="BERT_TUTORIAL_CACHE"):
        fetch("model", [("a", writes("a", calls))], accept)
    assert calls == [], "nothing was downloaded in vain"


def test_read_only_cache(cache, monkeypatch):
    """By a stand-in: to root, who may run the tests, no folder is read-only."""
    cache.mkdir()

    def read_only(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(cache))

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    calls = []
    with pytest.raises(FetchError, match="BERT_TUTORIAL_CACHE"):
        fetch("model", [("a", writes("a", calls))], accept)
    assert calls == []


def test_cache_folder_without_the_variable_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("BERT_TUTORIAL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert fetching.cache_dir().is_relative_to(tmp_path)


@pytest.mark.parametrize("known_hash", [SHA1, SHA256])
def test_check_hash(tmp_path, known_hash):
    path = tmp_path / "weights"
    path.write_bytes(CONTENT)
    check_hash(path, known_hash)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="weights"):
        check_hash(path, known_hash)


@pytest.mark.parametrize("known_hash", [None, SHA1, SHA256])
def test_download(web, tmp_path, capfd, known_hash):
    web.files["/weights"] = CONTENT
    download(f"{web.url}/weights", tmp_path / "file", known_hash)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert "100%" in capfd.readouterr().err, "a progress bar"


def test_download_with_a_wrong_hash_keeps_nothing(web, tmp_path):
    web.files["/weights"] = CONTENT
    with pytest.raises(ValueError, match="hash"):
        download(f"{web.url}/weights", tmp_path / "file", WRONG)
    assert list(tmp_path.iterdir()) == []


def test_download_of_a_missing_file(web, tmp_path):
    with pytest.raises(FetchError, match="404"):
        download(f"{web.url}/weights", tmp_path / "file", SHA1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["silent", "stalled"])
def test_download_gives_up_on_a_server_that_stops(web, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fetching, "READ_TIMEOUT", 0.3)
    web.files["/weights"] = CONTENT
    web.silent = kind == "silent"
    web.stalled = {"/weights"}
    start = time.monotonic()
    with pytest.raises(FetchError, match="timed out"):
        download(f"{web.url}/weights", tmp_path / "file")
    assert 0.3 <= time.monotonic() - start < 5
    assert list(tmp_path.iterdir()) == []


def test_download_from_a_closed_port_names_the_reason(web, tmp_path):
    web.close()
    with pytest.raises(FetchError) as caught:
        download(f"{web.url}/weights", tmp_path / "file")
    assert str(caught.value).startswith(f"{web.url}/weights: ")
    assert "refused" in str(caught.value)


def test_download_cut_short_is_an_error_even_without_a_hash(web, tmp_path):
    web.files["/weights"] = CONTENT
    web.stalled = {"/weights"}
    web.closing.set()  # so it closes the connection half-way
    with pytest.raises(FetchError, match=str(len(CONTENT) // 2)):
        download(f"{web.url}/weights", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
