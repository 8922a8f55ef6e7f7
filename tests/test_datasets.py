"""Datasets from every source, and one clear error for each way they can be wrong."""

import io
import json
import random
import re
import tarfile
from collections import Counter
from itertools import combinations
from pathlib import Path

from bert_tutorial import datasets, load_imdb, load_reviews, records
from bert_tutorial.datasets import load_unlabelled_reviews

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

REVIEWS = {
    "train/pos/0_9.txt": "Good.<br /><br />Very good.",
    "train/pos/1_7.txt": "Nice  enough.",
    "train/neg/0_1.txt": "Bad.",
    "train/neg/1_4.txt": "Poor.",
    "train/unsup/0_0.txt": "Not<br />labelled.",
    "train/unsup/1_0.txt": "Nor this.",
    "train/unsup/2_0.txt": "Unknown.",
    "test/pos/0_10.txt": "Splendid.",
    "test/neg/0_3.txt": "Dull.",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in REVIEWS.items():
        path = tmp_path / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "aclImdb"


def as_archive(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return path


def as_json(folder, target):
    target.mkdir()
    for split, folders in datasets.FOLDERS.items():
        names = [name for name in REVIEWS if name.startswith(folders)]
        pairs = [[REVIEWS[name], int(re.search(r"_(\d+)\.", name)[1])] for name in names]
        (target / f"{split}.json").write_text(json.dumps(pairs), encoding="utf-8")
    return target


@pytest.fixture(params=["folder", "folder above", "archive", "json"])
def root(request, folder, tmp_path):
    return {
        "folder": lambda: folder,
        "folder above": lambda: folder.parent,
        "archive": lambda: as_archive(folder, tmp_path / "a.tar.gz"),
        "json": lambda: as_json(folder, tmp_path / "json"),
    }[request.param]()


def test_every_source_gives_the_same_reviews(root):
    assert sorted(load_imdb("train", root)) == [
        ("Bad.", 0),
        ("Good. Very good.", 1),
        ("Nice enough.", 1),
        ("Poor.", 0),
    ]
    assert sorted(load_imdb("test", str(root))) == [("Dull.", 0), ("Splendid.", 1)]


def test_every_source_gives_the_same_unlabelled_reviews(root):
    reviews = load_unlabelled_reviews(root)
    assert reviews == ["Not labelled.", "Nor this.", "Unknown."]
    drawn = load_unlabelled_reviews(str(root), limit=2)
    assert drawn == load_unlabelled_reviews(root, limit=2)
    assert drawn == [review for review in reviews if review in drawn], "in their order"
    assert len(drawn) == 2
    assert load_unlabelled_reviews(root, limit=9) == reviews


def in_memory(scored, limit):
    """What `load_imdb` gives of (text, score) pairs in the order of their source."""
    pairs = [(" ".join(text.replace("<br />", " ").split()), int(score > 5)) for text, score in scored]
    random.Random(0).shuffle(pairs)
    counts, kept = Counter(), []
    for text, label in pairs:
        if limit is None or counts[label] < (limit + label) // 2:
            counts[label] += 1
            kept.append((text, label))
    return kept


def no_disk():
    raise OSError("no folder can be written to")


def write_source(kind, scored, root):
    """Write (text, score) pairs as a source of IMDB; return where, and the pairs in the order of the source."""
    if kind == "json":
        (root / "train.json").write_text(
            json.dumps(scored, ensure_ascii=False), encoding="utf-8", errors="surrogatepass"
        )
        return root, scored
    names = {
        f"train/{'pos' if score > 5 else 'neg'}/{i}_{score}.txt": (text, score)
        for i, (text, score) in enumerate(scored)
    }
    if kind == "folder":
        for name, (text, _) in names.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode())
    else:
        with tarfile.open(root / "reviews.tar", "w") as archive:
            for name, (text, _) in names.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        root = root / "reviews.tar"
    return root, [names[name] for name in sorted(names)]


texts = st.one_of(st.text(max_size=60), st.sampled_from(["a\r\nb", "\n\n", "one<br />two", "\u2028 great \x85"]))
reviews = st.lists(
    st.tuples(
        texts.filter(lambda text: text.replace("<br />", " ").split()), st.sampled_from([1, 2, 3, 4, 7, 8, 9, 10])
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["folder", "archive", "json"]),
    scored=reviews,
    limit=st.none() | st.integers(1, 12),
    chunk=st.integers(1, 80),
    disk=st.booleans(),
)
def test_reviews_on_disk_are_those_in_memory(kind, scored, limit, chunk, disk, tmp_path_factory):
    root, scored = write_source(kind, scored, tmp_path_factory.mktemp("source"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "CHUNK", chunk)
        if not disk:
            patch.setattr(records, "temporary_file", no_disk)
        loaded = load_imdb("train", root, limit)
    expected = in_memory(scored, limit)
    assert list(loaded) == expected
    assert len(loaded) == len(expected)
    assert loaded[:3] == expected[:3]
    assert loaded[-1:] == expected[-1:]
    if expected:
        assert loaded[-1] == expected[-1]
    with pytest.raises(IndexError):
        loaded[len(expected)]


@settings(max_examples=100)
@given(
    items=st.lists(st.lists(st.one_of(st.text(), st.integers(0, 10)), max_size=3)),
    indent=st.sampled_from([None, 1]),
    chunk=st.integers(1, 30),
    cut=st.integers(0, 10**6),
)
def test_json_is_read_in_pieces_and_whole_or_not_at_all(items, indent, chunk, cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "train.json"
    text = json.dumps(items, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "CHUNK", chunk)
        path.write_text(f" {text}\n")
        assert list(datasets._read_json(path)) == items
        for damaged in (text[: cut % len(text)], f"{text},", f"{text}]", f"{text}[]"):
            path.write_text(damaged)
            with pytest.raises(ValueError, match=r"train\.json is damaged"):
                list(datasets._read_json(path))


def test_a_source_may_go_once_it_is_read(root, monkeypatch):
    loaded = load_imdb("train", root)
    expected = list(loaded)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("read again"))
    assert list(loaded) == expected
    assert len(expected) == 4


def test_a_full_disk_stops_nobody(root, monkeypatch):
    expected = list(load_imdb("train", root))

    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError("no space left on device")

    monkeypatch.setattr(records, "temporary_file", lambda: FullDisk("/dev/null", "w+"))
    assert list(load_imdb("train", root)) == expected


def test_limit_is_balanced_and_repeatable(root):
    drawn = list(load_imdb("train", root, limit=2))
    assert sorted(label for _, label in drawn) == [0, 1]
    assert drawn == list(load_imdb("train", root, limit=2))
    assert len(load_imdb("train", root, limit=1000)) == 4


def test_neutral_scores_are_an_error(folder):
    (folder / "train/pos/7_5.txt").write_text("So so.")
    with pytest.raises(ValueError, match=r"7_5\.txt.*5"):
        load_imdb("train", folder)


def test_an_empty_review_is_an_error(folder):
    (folder / "test/pos/7_8.txt").write_text(" <br /> ")
    with pytest.raises(ValueError, match=r"7_8\.txt.*empty"):
        load_imdb("test", folder)


def test_a_half_written_archive_is_an_error(folder, tmp_path):
    path = as_archive(folder, tmp_path / "a.tar.gz")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"a\.tar\.gz"):
        load_imdb("train", path)


@settings(max_examples=60, deadline=None)
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
    for load in (load_unlabelled_reviews, lambda *args, **kwargs: load_imdb("train", *args, **kwargs)):
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

    monkeypatch.setattr(datasets, "download", download)
    assert len(load_imdb("train")) == 4
    assert asked == list(datasets.ACL_IMDB_URLS.values())
    assert len(load_imdb("test")) == 2
    assert len(asked) == 2, "the second split came from the cache"
    assert sorted(p.name for p in (tmp_path / "cache/imdb").iterdir()) == ["test.json", "train.json", "unsup.json"]
    assert len(load_unlabelled_reviews()) == 3


def test_gluonnlp_is_the_last_source(cache, monkeypatch):
    asked = {}

    def download(url, path, known_hash=None):
        if "gz" in url:
            raise OSError("down")
        asked[path.name] = known_hash
        path.write_text(json.dumps([[f"From {path.name}.", 0]]))

    monkeypatch.setattr(datasets, "download", download)
    assert load_unlabelled_reviews() == ["From unsup.json."]
    assert asked == {f"{split}.json": known_hash for split, known_hash in datasets.GLUONNLP_HASHES.items()}
    assert len(set(asked.values())) == 3


def test_a_cache_from_before_there_were_unlabelled_reviews(cache, folder):
    cache.mkdir()
    (as_json(folder, cache / "imdb") / "unsup.json").unlink()
    assert len(load_imdb("train")) == 4
    with pytest.raises(FileNotFoundError, match="Remove that folder"):
        load_unlabelled_reviews()


def test_missing_unlabelled_reviews_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_unlabelled_reviews(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no unlabelled reviews"):
        load_unlabelled_reviews(tmp_path)


def test_real_archive(imdb_sample):
    train, test = load_imdb("train", imdb_sample), load_imdb("test", imdb_sample)
    assert Counter(label for _, label in train) == {0: 1000, 1: 1000}
    assert Counter(label for _, label in test) == {0: 500, 1: 500}
    assert not any("<br" in text for text, _ in train)


def test_shipped_reviews_are_as_described():
    train, test = load_reviews("train"), load_reviews("test")
    assert Counter(label for _, label in train) == {0: 150, 1: 150}
    assert Counter(label for _, label in test) == {0: 50, 1: 50}
    texts = [text for text, _ in [*train, *test]]
    assert all(30 <= len(text.split()) <= 120 for text in texts)

    def trigrams(text):
        words = re.findall(r"[a-z']+", text.lower())
        return set(zip(words, words[1:], words[2:], strict=False))

    grams = [trigrams(text) for text in texts]
    nearest = max(len(a & b) / len(a | b) for a, b in combinations(grams, 2))
    assert nearest < 0.2, "two reviews are nearly the same"


def table(path, rows, header="split\tlabel\ttext"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_own_tables(tmp_path):
    path = table(tmp_path / "own.tsv", ['train\t1\tHe said "wow', "test\t0\tno"])
    assert list(load_reviews("train", path)) == [('He said "wow', 1)]
    path = table(tmp_path / "own.csv", ['train,1,"good, really"', "test,0,no"], header="split,label,text")
    assert list(datasets.load_dataset(path, "train")) == [("good, really", 1)]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["1\tgood"], "label\ttext", "split"),
        (["train\t1\tgood"], "split\tlabel\ttxt", "text"),
        (["train\t2\tgood"], "split\tlabel\ttext", "line 2"),
        (["train\t1\tgood", "train\t0\t "], "split\tlabel\ttext", "line 3.*empty"),
        (["train\t1"], "split\tlabel\ttext", "line 2"),
        (["test\t1\tgood"], "split\tlabel\ttext", "'train'"),
        ([], "", "split"),
    ],
)
def test_tables_that_are_wrong(tmp_path, rows, header, message):
    with pytest.raises(ValueError, match=message):
        load_reviews("train", table(tmp_path / "own.tsv", rows, header))


def test_load_dataset_names(tmp_path):
    assert len(datasets.load_dataset("sample", "test")) == 100
    with pytest.raises(FileNotFoundError, match="sample, imdb"):
        datasets.load_dataset("sampel", "test")


@settings(max_examples=30)
@given(labels=st.lists(st.integers(0, 1), min_size=2, max_size=40), seed=st.integers(0, 99))
def test_validation_split_is_gluonnlps(labels, seed):
    pairs = [(f"review {i}", label) for i, label in enumerate(labels)]
    np.random.seed(seed)
    expected = nlp.data.train_valid_split(pairs, 0.1, stratify=labels)
    np.random.seed(seed)
    found = datasets.split_off_validation(pairs)
    assert [list(part) for part in found] == [[tuple(pair) for pair in part] for part in expected]


def test_validation_split_keeps_the_share_of_each_class():
    reviews = load_reviews("train")
    train, valid = datasets.split_off_validation(reviews)
    assert len(train) == 270
    assert Counter(label for _, label in valid) == {0: 15, 1: 15}
    assert not {text for text, _ in train} & {text for text, _ in valid}
