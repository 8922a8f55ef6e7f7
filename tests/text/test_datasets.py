"""Datasets by name, and one line for whatever is wrong with them."""

from collections import Counter

from bert_tutorial import load_reviews
from bert_tutorial.cli import main
from bert_tutorial.text import datasets
from bert_tutorial.text.corpora import load_corpus
from bert_tutorial.text.imdb import load_pretraining_reviews

import gluonnlp as nlp
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from imdb_sources import DEEP


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
        lambda: load_pretraining_reviews(root),
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


def test_load_dataset_names():
    for name in datasets.SHIPPED:
        assert len(datasets.load_dataset(name, "test")) == 100
    with pytest.raises(FileNotFoundError, match="sample, sentences, imdb"):
        datasets.load_dataset("sampel", "test")


def test_one_dataset_is_itself(table):
    for data in (table, str(table), [table], (str(table),)):
        assert list(datasets.load_datasets(data, "train")) == list(load_reviews("train", table))


@pytest.mark.parametrize("limit", [None, 5])
def test_datasets_are_joined_in_the_order_given(table, limit):
    names = ["sentences", table, "sample"]
    apart = [pair for name in names for pair in datasets.load_dataset(name, "test", limit)]
    joined = datasets.load_datasets(names, "test", limit)
    assert list(joined) == apart
    assert len(joined) == len(apart) == (15 if limit else 100 + 42 + 100)


def test_validation_is_split_off_joined_datasets(table):
    joined = datasets.load_datasets(["sample", table], "train")
    parts = [list(part) for part in datasets.split_off_validation(joined, stratify=[label for _, label in joined])]
    assert [len(part) for part in parts] == [414, 46]
    assert Counter(parts[0] + parts[1]) == Counter(joined)


@pytest.mark.parametrize(
    ("data", "message"), [([], "names no dataset"), (["sample", "imdb", "sample"], "'sample' twice")]
)
def test_no_dataset_and_one_twice_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        datasets.load_datasets(data, "train")


@settings(max_examples=30)
@given(labels=st.lists(st.integers(0, 1), min_size=2, max_size=40), seed=st.integers(0, 99))
def test_validation_split_is_gluonnlps(labels, seed):
    pairs = [(f"review {i}", label) for i, label in enumerate(labels)]
    np.random.seed(seed)
    expected = nlp.data.train_valid_split(pairs, 0.1, stratify=labels)
    np.random.seed(seed)
    found = datasets.split_off_validation(pairs, stratify=labels)
    assert [list(part) for part in found] == [[tuple(pair) for pair in part] for part in expected]


def test_validation_split_keeps_the_share_of_each_class():
    reviews = load_reviews("train")
    train, valid = datasets.split_off_validation(reviews, stratify=[label for _, label in reviews])
    assert len(train) == 270
    assert Counter(label for _, label in valid) == {0: 15, 1: 15}
    assert not {text for text, _ in train} & {text for text, _ in valid}
