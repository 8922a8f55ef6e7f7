"""Datasets from every source, and one clear error for each way they can be wrong."""

import io
import json
import random
import re
import shutil
import tarfile
from collections import Counter
from itertools import combinations
from pathlib import Path

from bert_tutorial import load_imdb, load_reviews
from bert_tutorial.cli import main
from bert_tutorial.text import datasets, imdb, records
from bert_tutorial.text.corpora import load_corpus
from bert_tutorial.text.imdb import load_unlabelled_reviews

import gluonnlp as nlp
import numpy as np
import pytest
from click.testing import CliRunner
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
    for split, folders in imdb.FOLDERS.items():
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
    if kind == "jsonl":
        (root / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in scored))
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


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["folder", "archive", "json", "jsonl"]),
    scored=reviews,
    limit=st.none() | st.integers(1, 12),
    disk=st.booleans(),
)
def test_reviews_on_disk_are_those_in_memory(kind, scored, limit, disk, tmp_path_factory):
    root, scored = write_source(kind, scored, tmp_path_factory.mktemp("source"))
    with pytest.MonkeyPatch.context() as patch:
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


DEEP = "[" * 100_000


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


def load_train(path):
    return load_imdb("train", path)


@pytest.mark.parametrize("load", [load_train, load_unlabelled_reviews, load_corpus])
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

    monkeypatch.setattr(imdb, "download", download)
    assert len(load_imdb("train")) == 4
    assert asked == list(imdb.ACL_IMDB_URLS.values())
    assert len(load_imdb("test")) == 2
    assert len(asked) == 2, "the second split came from the cache"
    assert sorted(p.name for p in (tmp_path / "cache/imdb").iterdir()) == ["test.jsonl", "train.jsonl", "unsup.jsonl"]
    assert len(load_unlabelled_reviews()) == 3


def test_gluonnlp_is_the_last_source(cache, monkeypatch):
    asked = {}

    def download(url, path, known_hash=None):
        if "gz" in url:
            raise OSError("down")
        asked[path.name] = known_hash
        path.write_text(json.dumps([[f"From {path.name}.", 0]]))

    monkeypatch.setattr(imdb, "download", download)
    assert load_unlabelled_reviews() == ["From unsup.json."]
    assert asked == {f"{split}.json": known_hash for split, known_hash in imdb.GLUONNLP_HASHES.items()}
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
        (["train\t1\tgood\tand more"], "split\tlabel\ttext", "line 2.*tab"),
        (["train,1,good"], "split,label,text", "separated by commas"),
        ([], "", "split"),
    ],
)
def test_tables_that_are_wrong(tmp_path, rows, header, message):
    with pytest.raises(ValueError, match=message):
        load_reviews("train", table(tmp_path / "own.tsv", rows, header))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column"),
        (b"\n\n", "no column"),
        (
            "split,label,text\ntrain,1,good\ntrain,0,caf\xe9".encode("cp1252"),
            r"line 3: after 'train,0,caf' .*0xe9.*UTF-8",
        ),
        ("split,label,text\n\ntrain,0,no".encode("utf-16"), "line 1: .*0xff.*UTF-8"),
        ("split,label,text\n\ntrain,0,no".encode("utf-16-le"), "line 1: .*UTF-16.*UTF-8"),
        (b"split;label;text\ntrain;1;good", "separated by semicolons"),
        (b'"split";"label";"text"\ntrain;1;good', "separated by semicolons"),
        (b"split\tlabel\ttext\ntrain\t1\tgood", "separated by tabs"),
        (b"split,label,text\ntrain,1,good, really", "line 2.*quotes"),
        (b'split,label,text\ntrain,1,good\ntrain,1,"not\nclosed\ntrain,0,no', "line 3.*quotes"),
        (b'split,label,text\ntrain,1,"not\nclosed\ntrain,0,"no"\n', "line 2.*quotes"),
        (b'split,label,text\ntrain,1,"two\nlines"\n\ntrain,2,no', "line 5.*label"),
    ],
)
def test_usual_mistakes_in_csv_are_named_with_the_line_and_the_remedy(tmp_path, content, message):
    """Findings 14 and 15."""
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{message}") as raised:
        load_reviews("train", path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["REV.CSV", "Rev.Tsv"])
def test_names_and_headers_in_any_case(tmp_path, name):
    """Finding 15: REV.CSV was called "not a whole tar archive"."""
    separator = "," if name == "REV.CSV" else "\t"
    path = table(
        tmp_path / name, ["train\t1\tgood".replace("\t", separator)], separator.join([" Split", "LABEL", "Text "])
    )
    assert list(datasets.load_dataset(path, "train")) == [("good", 1)]


@pytest.mark.parametrize("name", ["own.csv", "own.tsv"])
def test_a_long_review_is_read(tmp_path, name, monkeypatch):
    """Finding 14: csv.Error over 131,072 characters."""
    separator = "," if name == "own.csv" else "\t"
    text = "a long film " * 90_000
    path = table(tmp_path / name, [separator.join(("train", "1", text))], separator.join(("split", "label", "text")))
    ((found, _),) = load_reviews("train", path)
    assert found == text.strip()


def test_a_csv_of_old_macs_and_blank_lines(tmp_path):
    (tmp_path / "own.csv").write_bytes(b"split,label,text\rtrain,1,good\r\rtrain,0,no\r")
    assert sorted(load_reviews("train", tmp_path / "own.csv")) == [("good", 1), ("no", 0)]


@settings(max_examples=60)
@given(
    name=st.sampled_from(
        ["a.tsv", "a.csv", "train.json", "unsup.jsonl", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "A.TXT", "none"]
    ),
    start=st.sampled_from(["", "split,label,text\n", "split\tlabel\ttext\ntrain\t1\t", "[", '["a", 7]', "own"]),
    noise=st.binary(max_size=50) | st.text("[]{},\t\r\n\"'0:aé", max_size=50).map(str.encode),
)
def test_no_bytes_give_anything_but_one_line_that_names_the_file(tmp_path_factory, name, start, noise):
    path = tmp_path_factory.mktemp("noise") / name
    magic = {".gz": b"\x1f\x8b\x08", ".xz": b"\xfd7zXZ\0", ".bz2": b"BZh9", ".tar": bytes(512)}
    path.write_bytes((magic.get(path.suffix, b"") if start == "own" else start.encode()) + noise)
    root = path.parent if "json" in name else path
    for load in (
        lambda: datasets.load_dataset(root, "train"),
        lambda: load_unlabelled_reviews(root),
        lambda: load_corpus(root),
    ):
        said = complaint(load)
        assert said is None or (str(root) in said and "\n" not in said)


def complaint(load):
    try:
        load()
    except (ValueError, OSError) as error:
        return str(error)


@pytest.mark.parametrize("name", ["own.csv", "train.json", "a.tar.xz"])
def test_the_command_says_it_in_one_line(tmp_path, name, monkeypatch):
    """Findings 14 and 15."""
    monkeypatch.chdir(tmp_path)
    content = {
        "own.csv": "split,label,text\ntrain,1,\xe9".encode("cp1252"),
        "train.json": DEEP.encode(),
        "a.tar.xz": b"no",
    }
    (tmp_path / name).write_bytes(content[name])
    result = CliRunner().invoke(main, ["finetune", "--data", "." if "json" in name else name])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.output.startswith("Error: ")
    assert name in result.output


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
