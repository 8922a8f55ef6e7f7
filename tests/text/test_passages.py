"""Passages: docstrings by the names under which they are imported, paragraphs, rows."""

import json

from bert_tutorial.text import docstrings
from bert_tutorial.text.passages import Passage, Query, load_passages, summary_pairs, with_answers

import pytest

FEED = "Give an animal its food, and write it down."
COUNT = "Count all animals that are in the zoo."


@pytest.fixture
def machine(tmp_path, monkeypatch, cache):
    """A machine with a made-up standard library alone."""
    files = {
        "zoo.py": f'def feed():\n    """{FEED}\n\n    >>> feed()\n    """\ndef short():\n    """Short."""\n',
        "park/__init__.py": "",
        "park/animals.py": f'def feed():\n    """{FEED}"""\ndef count():\n    """{COUNT}"""\n',
        "test/test_zoo.py": 'def test():\n    """This is a test of the zoo."""\n',
    }
    for name, source in files.items():
        path = tmp_path / "std" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.setattr(docstrings, "LIBRARIES", ())
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path / "std"))
    return tmp_path / "std"


def test_docstrings_that_are_prose_and_none_twice(machine, cache):
    expected = [Passage("zoo.feed", FEED), Passage("park.animals.count", COUNT)]
    assert load_passages() == expected
    (file,) = (cache / "corpora").iterdir()
    assert file.name.startswith("passages-")
    (machine / "zoo.py").write_text("")  # of the same version: it is not read again
    assert load_passages() == expected
    file.write_text(file.read_text().replace("food", "hood"))
    assert load_passages() == [Passage("park.animals.feed", FEED), Passage("park.animals.count", COUNT)]


def test_a_machine_without_sources(machine, monkeypatch):
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(machine / "nowhere"))
    with pytest.raises(FileNotFoundError, match="folder of text files"):
        load_passages()


def test_paragraphs_of_a_folder_and_of_a_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.md").write_text("\ufeffOne\r\nline.\r\n\r\nTwo.\r\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n\nThree.\n \nTwo.\n\n\n")
    (tmp_path / "c.rst").write_text("Not this one.")
    assert load_passages(tmp_path) == [
        Passage("b.txt, paragraph 1", "Three."),
        Passage("b.txt, paragraph 2", "Two."),
        Passage("deep/a.md, paragraph 1", "One line."),
    ]
    assert load_passages(tmp_path / "deep/a.md")[0] == Passage("a.md, paragraph 1", "One line.")


def test_fewer_passages_with_the_answers_among_them():
    passages = [Passage(f"zoo.{i}", f"Text {i}.") for i in range(20)]
    queries = [Query("a", frozenset({"zoo.3", "zoo.8"})), Query("b", frozenset({"zoo.19", "park"}))]
    kept = with_answers(passages, queries, 5)
    assert len(kept) == 8
    assert {"zoo.3", "zoo.8", "zoo.19"} <= {passage.name for passage in kept}
    assert kept == [passage for passage in passages if passage in kept]
    assert with_answers(passages, queries, 5) == kept
    assert with_answers(passages, queries, None) == passages


def test_pairs_of_a_first_sentence_and_the_rest():
    passages = [Passage("zoo", "Count animals. All of them. And cages."), Passage("zoo.feed", FEED)]
    assert summary_pairs(passages) == [("Count animals.", "All of them. And cages.")]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_rows_of_a_table(tmp_path, suffix, named):
    path = tmp_path / f"zoo{suffix}"
    rows = [{"text": FEED, "name": "feed"}, {"text": COUNT, "name": "count"}, {"text": FEED, "name": "again"}]
    if not named:
        rows = [{"text": row["text"]} for row in rows]
    if suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        separator = {".tsv": "\t", ".csv": ","}[suffix]
        quote = {".tsv": "", ".csv": '"'}[suffix]
        lines = [list(rows[0]), *([f"{quote}{value}{quote}" for value in row.values()] for row in rows)]
        path.write_text("\n".join(map(separator.join, lines)) + "\n")
    first = 1 if suffix == ".jsonl" else 2
    names = ["feed", "count"] if named else [f"{path.name}, line {first}", f"{path.name}, line {first + 1}"]
    assert load_passages(path) == [Passage(names[0], FEED), Passage(names[1], COUNT)]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("zoo.tsv", "text\n\t\n", ValueError, "more values than columns"),
        ("zoo.tsv", "name\ttext\nfeed\t\n", ValueError, r"zoo.tsv, line 2, column text: .* empty"),
        ("zoo.csv", "label,name\n1,2\n", ValueError, "no column text"),
        ("zoo.jsonl", '{"text": 5}', ValueError, "line 1, column text: a text must be a string, not 5"),
        ("zoo.tsv", "text\n", FileNotFoundError, "holds no text"),
        ("zoo.rst", "A text.", FileNotFoundError, "holds no text: expected .txt or .md files"),
        ("zoo.txt", " \n", FileNotFoundError, "holds no text"),
        ("zoo.txt", b"\xff", ValueError, "zoo.txt: .* not UTF-8"),
        (None, None, FileNotFoundError, "no file or folder .*; use docstrings"),
    ],
)
def test_what_cannot_be_searched(tmp_path, name, content, error, message):
    if name:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        load_passages(tmp_path / (name or "nowhere"))
