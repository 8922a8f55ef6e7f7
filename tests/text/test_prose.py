"""Corpora: sentences are found and none is lost, markup goes, and the same machine always gives the same text."""

import json
import tarfile
from pathlib import Path

from bert_tutorial.text import corpora
from bert_tutorial.text.corpora import Corpus, Document, load_corpus, read_docstrings
from bert_tutorial.text.prose import clean_docstring, split_lines, split_sentences

import pytest
from hypothesis import given
from hypothesis import strategies as st

words = st.text("abcxyz", min_size=1, max_size=6)
plain_sentences = st.builds(
    lambda first, rest, end: " ".join([f"It{first}", *rest, "end"]) + end,
    words,
    st.lists(words, min_size=3, max_size=8),
    st.sampled_from([".", "!", "?", '."', ".)", "..."]),
)
prose = st.lists(plain_sentences, min_size=1, max_size=6)


@given(st.text() | st.text("Ab .!?\"'()[]\n") | prose.map(" ".join))
def test_cutting_loses_nothing_but_whitespace(text):
    sentences = split_sentences(text)
    assert " ".join(sentences) == " ".join(text.split())
    assert all(sentences)
    assert [split_sentences(sentence) for sentence in sentences] == [[sentence] for sentence in sentences]
    assert " ".join(split_lines(text)) == " ".join(text.split())


@given(prose, st.sampled_from([" ", "\n", "  \n "]))
def test_plain_prose_comes_back_in_sentences(sentences, between):
    assert split_sentences(between.join(sentences)) == sentences
    assert list(split_lines("\n".join(sentences).lower())) == [sentence.lower() for sentence in sentences]


@given(prose)
def test_cleaning_keeps_plain_prose(sentences):
    balanced = [s for s in sentences if '"' not in s and ")" not in s]
    assert clean_docstring("\n".join(balanced)) == balanced


@given(st.text() | st.text("ab A.`*:_-=|>\n \\[]()<"))
def test_cleaning_is_idempotent_and_leaves_no_markup(text):
    for sentence in clean_docstring(text):
        assert clean_docstring(sentence) == [sentence]
        assert not set("`|<>\\*") & set(sentence)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three? Four", ["One here.", "Two there!", "Three?", "Four"]),
        ("Use a list, e.g. Names, i.e. Words. Done.", ["Use a list, e.g. Names, i.e. Words.", "Done."]),
        ("By J. R. R. Tolkien et al. In print.", ["By J. R. R. Tolkien et al. In print."]),
        ('He said "No." Then (he left.) "Yes."', ['He said "No."', "Then (he left.)", '"Yes."']),
        ("Version 1.2 is out. numpy 2.0 is not.", ["Version 1.2 is out. numpy 2.0 is not."]),
        ("Ende gut. Über alles.", ["Ende gut.", "Über alles."]),
        (" \n ", []),
    ],
)
def test_where_sentences_end(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "docstring",
    [
        "Return the :class:`~numpy.array` of a ``given`` *shape* [1]_.",
        "Return the `array <https://a.org/b>`_ of a **given** `shape`.",
        "Return the [array](https://a.org) of a `given` shape .",
        "Title\n=====\nReturn the array of a given shape.\n\n>>> print('It is not this one.')\nNor is it this one.\n",
        "Return the array of a given shape.\n\n.. code-block:: python\n\n    # This is not the right one.\n",
        "Return the array of a given shape.\n\nSo::\n\n    This is not the right one.\n\n    Nor is it this one.\n",
        "Return the array of a given shape.\n\n```python\nThis is not the right one.\n```\n",
        "Return the array of a given shape.\n\n.. [1] A. Author, The name of a book.\n   And its other name here.\n",
        "Return the array\nof a given shape.\n\n====  ====\nThis is not the right one.\n====  ====\n",
        "Parameters\n----------\nshape : int or tuple of ints\n    Return the array\n    of a given shape.\n",
        "Args:\n    shape (int): Return the array of\n        a given shape.\n    dtype: no sentence here",
        ":param shape: Return the array of a given\n    shape.\n:type shape: int",
        ".. note:: Return the array\n   of a given shape.",
        ".. versionchanged:: 1.2.3\n   Return the array of a given shape.",
        "Note: Return the array of a given shape.",
        "- first\n- Return the array\n  of a given shape.\n- last",
        "Return the array of a given shape.\n\nSee it at https://a.org/b today. The {klass} of the shape. E = m * c.",
    ],
)
def test_markup_goes_and_prose_stays(docstring):
    assert [s.replace("numpy.array", "array") for s in clean_docstring(docstring)] == [
        "Return the array of a given shape."
    ]


def test_reading_docstrings_in_order():
    source = b'''# -*- coding: latin-1 -*-
"""Module \xe9."""
class A:
    """Class."""
    x = 1
    """Attribute."""
    def f(self):
        """
        Method.

            deeper
        """
        return "a string"
add_newdoc("numpy", "array", """
    In C.

    And more.
    """)
async def g():
    "Escape \\d."
'''
    expected = ["Module é.", "Class.", "Attribute.", "Method.\n\n    deeper", "In C.\n\nAnd more.", "Escape \\d."]
    assert read_docstrings(source) == expected
    assert read_docstrings(b"def {{ name }}(:") == []
    assert read_docstrings(b"\0") == []
    for nested in (b"-" * 100_000 + b"1", b"1" + b"+1" * 100_000):
        assert read_docstrings(nested) == []


SHARED = "This sentence stands in both of the files."


def module(*sentences):
    return '"""' + "\n\n".join(sentences) + '"""\n'


@pytest.fixture
def machine(tmp_path, monkeypatch, cache):
    """A machine with a made-up standard library and one library, `zoo`."""
    std, site = tmp_path / "std", tmp_path / "site"
    files = {
        std / "b.py": module("The second file comes after the first.", SHARED, "It has a sentence more."),
        std / "a.py": module("The first file comes before the second.", SHARED),
        std / "test/c.py": module("No test is part of the text.", "Not even with two sentences."),
        std / "single.py": module("One sentence is not enough here.", SHARED.upper()),
        std / "broken.py": "def :",
        site / "zoo/__init__.py": module("The zoo has some animals.", "Some of them can fly."),
        site / "zoo/_vendor/d.py": module("No copy of another library.", "Not even with two sentences."),
        site / "stray/e.py": module("This library is not on the list.", "It belongs to the reader."),
        site / "zoo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n",
        site / "zoo-1.0.dist-info/RECORD": "zoo/_vendor/d.py,,\nzoo/__init__.py,,\nzoo/lost.py,,\nzoo/data.txt,,\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(corpora, "LIBRARIES", ("no-such-library", "zoo"))
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda name: str(std))
    return tmp_path


EXPECTED = (
    Document("python", (("The first file comes before the second.", SHARED),)),
    Document("python", (("The second file comes after the first.", "It has a sentence more."),)),
    Document("zoo", (("The zoo has some animals.", "Some of them can fly."),)),
)


def test_docstrings_of_the_libraries_on_the_list(machine):
    corpus = load_corpus()
    assert corpus.documents == EXPECTED
    assert "2 libraries" in corpus.describe()
    assert "3 documents, 6 sentences" in corpus.describe()


def test_docstrings_do_not_depend_on_the_file_systems_order(machine, monkeypatch):
    listed = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda *args: sorted(listed(*args), reverse=True))
    assert load_corpus().documents == EXPECTED


def test_docstrings_come_from_the_cache_until_something_changes(machine, cache, monkeypatch):
    read = []
    monkeypatch.setattr(corpora, "read_docstrings", lambda source: read.append(source) or read_docstrings(source))
    assert load_corpus().documents == EXPECTED
    count = len(read)
    assert load_corpus().documents == EXPECTED
    assert len(read) == count, "the second time comes from the disk"

    metadata = machine / "site/zoo-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    assert load_corpus().documents == EXPECTED
    assert len(read) == 2 * count, "another version is read anew"


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text.replace("zoo", "zOo"), lambda text: "{}"])
def test_a_damaged_cache_is_made_anew(machine, cache, damage):
    load_corpus()
    [file] = (cache / "corpora").iterdir()
    good = file.read_text()
    file.write_text(damage(good))
    assert load_corpus().documents == EXPECTED
    assert file.read_text() == good


def test_a_cache_that_cannot_be_written_stops_no_one(machine, cache):
    cache.write_text("a file, not a folder")
    assert load_corpus().documents == EXPECTED


def test_a_machine_without_sources(machine, monkeypatch):
    monkeypatch.setattr(corpora, "LIBRARIES", ())
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda name: str(machine / "nowhere"))
    with pytest.raises(FileNotFoundError, match="folder of text files"):
        load_corpus()


@pytest.mark.slow
def test_the_real_docstrings(tmp_path, monkeypatch):
    """As they are in the cache, where other tests need them, too, and read anew."""
    corpus = load_corpus("docstrings")
    sentences = [sentence for document in corpus.documents for sentence in document.sentences]
    assert 4e6 < sum(map(len, sentences)) < 12e6
    assert len({sentence.lower() for sentence in sentences}) == len(sentences)
    assert {"python", "numpy", "matplotlib", "pandas"} <= {document.source for document in corpus.documents}
    text = "\n".join(sentences)
    for leftover in (">>>", "`", ":class:", ":func:", "::", "://", "----", "====", "[1]_", "%(", "|", "<", "*"):
        assert leftover not in text, leftover
    assert all(clean_docstring(sentence) == [sentence] for sentence in sentences[::50])
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path))
    assert load_corpus().describe() == corpus.describe()
    train, valid = corpus.split()
    trained = {sentence for document in train.documents for sentence in document.sentences}
    assert not any(sentence in trained for document in valid.documents for sentence in document.sentences)


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
    assert len(corpus.documents) == 1500
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
