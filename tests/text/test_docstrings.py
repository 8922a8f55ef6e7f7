"""Docstrings are found in order, and the same machine always gives the same text."""

from pathlib import Path

from bert_tutorial.text import docstrings
from bert_tutorial.text.corpora import Document, load_corpus
from bert_tutorial.text.docstrings import read_docstrings
from bert_tutorial.text.prose import clean_docstring

import pytest


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
    monkeypatch.setattr(docstrings, "LIBRARIES", ("no-such-library", "zoo"))
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(std))
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
    monkeypatch.setattr(docstrings, "read_docstrings", lambda source: read.append(source) or read_docstrings(source))
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
    monkeypatch.setattr(docstrings, "LIBRARIES", ())
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(machine / "nowhere"))
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
