"""IMDB from every source, and one clear error for each way it can be wrong."""

import io
import json
import re
import shutil
import tarfile
from collections import Counter

from bert_tutorial import load_imdb
from bert_tutorial.text import imdb
from bert_tutorial.text.corpora import load_corpus
from bert_tutorial.text.imdb import load_pretraining_reviews

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imdb_sources import DEEP, REVIEWS, as_archive, as_json


def test_every_source_gives_the_same_reviews(root):
    assert sorted(load_imdb("train", root)) == [
        ("Bad.", 0),
        ("Good. Very good.", 1),
        ("Nice enough.", 1),
        ("Poor.", 0),
    ]
    assert sorted(load_imdb("test", str(root))) == [("Dull.", 0), ("Splendid.", 1)]


def test_every_source_gives_the_same_unlabelled_reviews(root):
    reviews = load_pretraining_reviews(root)
    assert reviews[:3] == ["Not labelled.", "Nor this.", "Unknown."]
    assert sorted(reviews[3:]) == ["Bad.", "Good. Very good.", "Nice enough.", "Poor."], "and none of the test"
    drawn = load_pretraining_reviews(str(root), limit=2)
    assert drawn == load_pretraining_reviews(root, limit=2)
    assert drawn == [review for review in reviews if review in drawn], "in their order"
    assert len(drawn) == 2
    assert load_pretraining_reviews(root, limit=9) == reviews


@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
@pytest.mark.parametrize("damage", [
    ["b", "7"], [3, 7], ["b"], ["b", 7, 8], ["b", True], ["b", 7.0], {"b": 7}, None, "ab", DEEP, '["b', "", "\udcff",
])  # fmt: skip
def test_json_that_is_wrong_is_one_error_that_names_it(tmp_path, name, damage):
    """Finding 14: TypeError for wrong types, RecursionError for deep nesting."""
    wrong = damage if isinstance(damage, str) and damage != "ab" else json.dumps(damage)
    lines = [json.dumps(["Good.", 9]), wrong]
    text = "\n".join(lines) if name == "train.jsonl" else f"[{', '.join(lines)}]"
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    if name == "train.jsonl" and not damage and damage is not None:
        assert list(load_imdb("train", tmp_path)) == [("Good.", 1)]  # an empty last line
        return
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))) as raised:
        load_imdb("train", tmp_path)
    assert "\n" not in str(raised.value)
    if not isinstance(damage, str):
        assert "review 2" in str(raised.value)


@pytest.mark.parametrize("content", ['{"a": 7}', "7", "null", '"ab"'])
def test_json_that_is_no_list(tmp_path, content):
    (tmp_path / "test.json").write_text(content)
    with pytest.raises(ValueError, match=r"test\.json, review 1"):
        load_imdb("test", tmp_path)


def test_neutral_scores_are_an_error(folder):
    (folder / "train/pos/7_5.txt").write_text("So so.")
    with pytest.raises(ValueError, match=r"7_5\.txt.*5"):
        load_imdb("train", folder)


def test_an_empty_review_is_an_error(folder):
    (folder / "test/pos/7_8.txt").write_text(" <br /> ")
    with pytest.raises(ValueError, match=r"7_8\.txt.*empty"):
        load_imdb("test", folder)


def load_train(path):
    return load_imdb("train", path)


@pytest.mark.parametrize("load", [load_train, load_pretraining_reviews, load_corpus])
@pytest.mark.parametrize("mode", ["gz", "bz2", "xz", "zip", "other"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_archive_is_one_error_that_names_it(folder, tmp_path, load, mode, damage):
    """Finding 14: LZMAError for a damaged .tar.xz."""
    path = tmp_path / f"a.tar.{mode}"
    if mode in ("gz", "bz2", "xz"):
        with tarfile.open(path, f"w:{mode}") as archive:
            archive.add(folder, arcname=folder.name)
    elif mode == "zip":
        shutil.make_archive(path, "zip", folder)
        path = path.with_suffix(".zip.zip")
    else:
        path.write_bytes(b"PK, but no archive" * 100)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] if damage == "cut" else content[:half] + b"\0" * 40 + content[half + 40 :])
    with pytest.raises(ValueError, match=re.escape(str(path))) as raised:
        load(path)
    assert "\n" not in str(raised.value)


def member(name, size, kind=tarfile.REGTYPE):
    header = tarfile.TarInfo(name)
    header.size, header.type = size, kind
    return header.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_member_too_large_for_a_review_is_refused_by_name(tmp_path, kind):
    """Finding 28: it was read whole, and so was what belongs to a header."""
    path = tmp_path / "a.tar"
    path.write_bytes(member("train/pos/0_9.txt", 2**36, kind))
    with pytest.raises(ValueError, match=r"a\.tar .*train/pos/0_9\.txt has 68,719,476,736 bytes"):
        load_imdb("train", path)


def test_large_files_that_are_no_reviews_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(imdb, "LARGEST_REVIEW", 5)
    content = {"train/pos/0_9.txt": b"Good.", "train/big.bin": bytes(2000), "test/pos/0_9.txt": b"Very long."}
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, text in content.items():
            header = tarfile.TarInfo(name)
            header.size = len(text)
            archive.addfile(header, io.BytesIO(text))
    assert list(load_imdb("train", tmp_path / "a.tar")) == [("Good.", 1)]
    with pytest.raises(ValueError, match="test/pos/0_9"):
        load_imdb("test", tmp_path / "a.tar")


@pytest.mark.parametrize("packed", [False, True])
def test_a_review_that_is_not_utf8_is_named(folder, tmp_path, packed):
    (folder / "train/pos/3_9.txt").write_bytes("Tr\xe8s bon".encode("cp1252"))
    root = as_archive(folder, tmp_path / "a.tar.gz") if packed else folder
    with pytest.raises(ValueError, match=r"3_9\.txt: after 'Tr' the byte 0xe8 .*UTF-8"):
        load_imdb("train", root)


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_archive_is_named_or_harmless(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    names = [name for name in REVIEWS if name.startswith("train")]
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(REVIEWS[name])
            archive.addfile(member, io.BytesIO(REVIEWS[name].encode()))
    content = bytearray((folder / "a.tar.gz").read_bytes())
    content[data.draw(st.integers(10, len(content) - 9))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "a.tar.gz").write_bytes(content)
    try:
        found = sorted(load_imdb("train", folder / "a.tar.gz"))
    except (ValueError, FileNotFoundError) as error:
        found = str(error)
    assert found == [("Bad.", 0), ("Good. Very good.", 1), ("Nice enough.", 1), ("Poor.", 0)] or "a.tar.gz" in found


def test_damaged_json_is_an_error(folder, tmp_path):
    root = as_json(folder, tmp_path / "json")
    (root / "train.json").write_text('[["Good.", 9], ["Ba')
    with pytest.raises(ValueError, match=r"train\.json"):
        load_imdb("train", root)


def test_missing_things_are_errors(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_imdb("train", tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="no train reviews"):
        load_imdb("train", tmp_path / "bare")
    with pytest.raises(ValueError, match="dev"):
        load_imdb("dev", folder)
    for load in (load_pretraining_reviews, lambda *args, **kwargs: load_imdb("train", *args, **kwargs)):
        with pytest.raises(ValueError, match="limit"):
            load(folder, limit=0)


def test_download_tries_the_hosts_in_order_and_keeps_json(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path / "cache"))
    asked = []

    def download(url, path, known_hash=None):
        asked.append(url)
        assert known_hash == "sha1:01ada507287d82875905620988597833ad4e0903"
        if len(asked) == 1:
            raise OSError("first host is down")
        as_archive(folder, path)

    monkeypatch.setattr(imdb, "download", download)
    assert len(load_imdb("train")) == 4
    assert asked == list(imdb.ACL_IMDB_URLS.values())
    assert len(load_imdb("test")) == 2
    assert len(asked) == 2, "the second split came from the cache"
    assert sorted(p.name for p in (tmp_path / "cache/imdb").iterdir()) == ["test.jsonl", "train.jsonl", "unsup.jsonl"]
    assert len(load_pretraining_reviews()) == 7


def test_gluonnlp_is_the_last_source(cache, monkeypatch):
    asked = {}

    def download(url, path, known_hash=None):
        if "gz" in url:
            raise OSError("down")
        asked[path.name] = known_hash
        path.write_text(json.dumps([[f"From {path.name}.", 0]]))

    monkeypatch.setattr(imdb, "download", download)
    assert load_pretraining_reviews() == ["From unsup.json.", "From train.json."]
    assert asked == {f"{split}.json": known_hash for split, known_hash in imdb.GLUONNLP_HASHES.items()}
    assert len(set(asked.values())) == 3


def test_a_cache_from_before_there_were_unlabelled_reviews(cache, folder):
    cache.mkdir()
    (as_json(folder, cache / "imdb") / "unsup.json").unlink()
    assert len(load_imdb("train")) == 4
    with pytest.raises(FileNotFoundError, match="Remove that folder"):
        load_pretraining_reviews()


def test_missing_unlabelled_reviews_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_pretraining_reviews(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no unlabelled reviews"):
        load_pretraining_reviews(tmp_path)


def test_real_archive(imdb_sample):
    train, test = load_imdb("train", imdb_sample), load_imdb("test", imdb_sample)
    assert Counter(label for _, label in train) == {0: 1000, 1: 1000}
    assert Counter(label for _, label in test) == {0: 500, 1: 500}
    assert not any("<br" in text for text, _ in train)
