"""Tables of reviews: the shipped one, a reader's own, and one clear error for each way they can be wrong."""

import re
from collections import Counter
from itertools import combinations

from bert_tutorial import load_reviews
from bert_tutorial.text import datasets

import pytest


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
