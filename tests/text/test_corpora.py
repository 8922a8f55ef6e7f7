"""Corpora: a reader's own text, reviews, and how they are split."""

import json
import tarfile

from bert_tutorial.text import corpora
from bert_tutorial.text.corpora import Corpus, Document, load_corpus

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def reviews(tmp_path):
    folder = tmp_path / "aclImdb/train/unsup"
    folder.mkdir(parents=True)
    for i, text in enumerate(["Good.<br /><br />Very good. i liked it.", "Bad", "So so. Well."]):
        (folder / f"{i}_0.txt").write_text(text)
    return tmp_path / "aclImdb"


@pytest.mark.parametrize("layout", ["folder", "folder above", "archive", "json", "imdb"])
def test_reviews_are_documents(reviews, layout, cache):
    root = {"folder above": reviews.parent, "imdb": "imdb"}.get(layout, reviews)
    if layout == "archive":
        root = reviews.with_suffix(".tar.gz")
        with tarfile.open(root, "w:gz") as archive:
            archive.add(reviews, arcname="aclImdb")
    elif layout in ("json", "imdb"):
        root = cache / "imdb"
        root.mkdir(parents=True)
        texts = [path.read_text() for path in sorted(reviews.glob("train/unsup/*"))]
        (root / "unsup.json").write_text(json.dumps([[text, 0] for text in texts]))
    corpus = load_corpus("imdb" if layout == "imdb" else root)
    assert corpus.documents == (
        Document("imdb", (("Good.", "Very good. i liked it."),)),
        Document("imdb", (("Bad",),)),
        Document("imdb", (("So so.", "Well."),)),
    )
    assert len(load_corpus(root, limit=2).documents) == 2


def test_real_reviews(imdb_sample):
    corpus = load_corpus(imdb_sample)
    assert len(corpus.documents) == 1500 + 2000
    lengths = [len(document.sentences) for document in corpus.documents]
    assert 5 < sum(lengths) / len(lengths) < 30
    assert not any("<br" in sentence for document in corpus.documents for sentence in document.sentences)


TEXTS = {
    "b.txt": "\ufeffOne line\ngoes on. Two here.\nthree in lower case.\n\n \nNew passage",
    "deep/a.md": "A file below.\r\n\r\nWith two passages.",
    "empty.txt": " \n\n",
    "skipped.rst": "Not this one.",
}


@pytest.fixture
def texts(tmp_path):
    for name, text in TEXTS.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return tmp_path / "texts"


def test_text_files_are_documents_with_a_passage_a_paragraph(texts):
    first = Document("b.txt", (("One line goes on.", "Two here.", "three in lower case."), ("New passage",)))
    second = Document("a.md", (("A file below.",), ("With two passages.",)))
    corpus = load_corpus(texts)
    assert corpus.documents == (first, second)
    assert first.sentences == ("One line goes on.", "Two here.", "three in lower case.", "New passage")
    assert load_corpus(str(texts / "b.txt")).documents == (first,)
    assert corpus.describe().startswith(f"{texts}: 2 documents, 6 sentences, 0.0 MB")


def test_the_digest_tells_texts_apart(texts):
    described = load_corpus(texts).describe()
    assert load_corpus(texts).describe() == described
    (texts / "b.txt").write_text(TEXTS["b.txt"].replace("Two", "Too"))
    assert load_corpus(texts).describe() != described


def test_what_is_no_corpus(texts, tmp_path):
    with pytest.raises(FileNotFoundError, match="docstrings, imdb"):
        load_corpus("docstring")
    with pytest.raises(ValueError, match=r"skipped\.rst"):
        load_corpus(texts / "skipped.rst")
    with pytest.raises(FileNotFoundError, match=r"empty\.txt"):
        load_corpus(texts / "empty.txt")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="bare"):
        load_corpus(tmp_path / "bare")
    with pytest.raises(ValueError, match="limit"):
        load_corpus(texts, limit=0)
    (texts / "latin.txt").write_bytes("Ein Zeichen für dich.".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt.*byte 13 .*0xfc"):
        load_corpus(texts)


def numbered(count):
    return Corpus("numbers", tuple(Document(str(i), ((f"Document {i}.",),)) for i in range(count)), "none")


@given(st.integers(2, 60), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_split_is_disjoint_complete_and_always_the_same(count, ratio):
    corpus = numbered(count)
    train, valid = corpus.split(ratio)
    assert train.documents
    assert valid.documents
    assert sorted(train.documents + valid.documents) == sorted(corpus.documents)
    assert abs(len(valid.documents) - ratio * count) <= 1
    assert corpus.split(ratio) == (train, valid)
    for part in (train, valid):
        assert list(part.documents) == sorted(part.documents, key=lambda document: int(document.source))


def test_splits_that_cannot_be():
    with pytest.raises(ValueError, match="two files"):
        numbered(1).split()
    for ratio in (0, 1, -0.1):
        with pytest.raises(ValueError, match="ratio"):
            numbered(3).split(ratio)


@given(st.integers(1, 30), st.integers(1, 40))
def test_limit_draws_the_same_documents_in_order(count, limit):
    drawn = corpora.draw(list(range(count)), limit)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(count, limit)
    assert drawn == corpora.draw(list(range(count)), limit)
