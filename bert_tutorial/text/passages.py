"""Passages to search: the docstrings on the reader's disk, the paragraphs of text files, or the rows of a table."""

import re
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from ..machine.fetching import shipped_file
from . import definitions
from .corpora import TEXT_SUFFIXES
from .definitions import read_definitions
from .docstrings import keep_what_is_read
from .prose import clean_docstring, split_sentences
from .reviews import clean_review, decode, draw
from .rows import JSON_LINES, TABLES, read_rows

HOWTO = "howto.tsv"
SEVERAL = "|"  # between the names of what answers a question


class Passage(NamedTuple):
    """A text that can be found."""

    name: str  # where it stands: "shutil.copytree", or file and paragraph
    text: str


class Query(NamedTuple):
    """What is searched for."""

    text: str
    names: frozenset  # of the passages that answer it; any of them will do


def load_howto(split):
    """Load questions about Python's standard library and NumPy, as somebody asks who does not know the name yet.

    Parameters
    ----------
    split : {"train", "test"}

    Returns
    -------
    list of Query
        What answers them is among the passages that `load_passages("docstrings")` gives.
    """
    rows = read_rows(shipped_file(HOWTO), ("split", "question", "names"))
    own = [row for *_, row in rows if row["split"] == split]
    return [Query(row["question"], frozenset(row["names"].split(SEVERAL))) for row in own]


def load_passages(name_or_path="docstrings"):
    """Load passages to search; no text comes twice.

    Parameters
    ----------
    name_or_path : str or path, default "docstrings"
        "docstrings": what the public functions, classes and methods of Python's standard library and of the libraries
        installed with this course say of themselves; only those that are written in Python. Or a `.tsv`, `.csv` or
        `.jsonl` file with the column text and, if there is one, name; or a `.txt` or `.md` file, or a folder of them,
        whose paragraphs are the passages.

    Returns
    -------
    list of Passage

    Raises
    ------
    FileNotFoundError
        No such file, or no text or library to be found.
    ValueError
        A file that is not UTF-8; else as for `read_rows`, or an empty text.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name == "docstrings":
        return _docstring_passages()
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {name!r}; use docstrings, or the path of a text, folder or table")
    found = _rows(path) if path.suffix.lower() in TABLES + JSON_LINES else _paragraphs(path)
    if not found:
        raise FileNotFoundError(f"{path} holds no text: expected .txt or .md files, or a table with the column text")
    return _without_copies(found)


def with_answers(passages, queries, limit):
    """Fewer passages to search, in which the answers still are.

    Parameters
    ----------
    passages : sequence of Passage
    queries : sequence of Query
    limit : int or None
        Passages besides those that answer a query, always the same; None for all.

    Returns
    -------
    list of Passage
    """
    right = frozenset().union(*(query.names for query in queries))
    kept = {*draw([passage for passage in passages if passage.name not in right], limit)}
    return [passage for passage in passages if passage.name in right or passage in kept]


def summary_pairs(passages):
    """Pairs that belong together, for free: the first sentence of each passage and the rest of it, if there is one.

    Parameters
    ----------
    passages : sequence of Passage

    Returns
    -------
    list of (str, str)
        For `finetune_encoder`. The first sentence of a docstring says what the thing does, as a question might ask it.
    """
    sentences = (split_sentences(passage.text) for passage in passages)
    return [(first, " ".join(rest)) for first, *rest in sentences if rest]


def _without_copies(passages):
    """The first passage of each text."""
    first = {}
    for passage in passages:
        first.setdefault(passage.text, passage)
    return list(first.values())


def _rows(path):
    return [
        Passage(str(row.get("name") or f"{path.name}, line {line}"), _row_text(row["text"], f"{where}, column text"))
        for line, where, row in read_rows(path, ("text",))
    ]


def _row_text(value, where):
    if not isinstance(value, str):
        raise ValueError(f"{where}: a text must be a string, not {value!r}")
    return clean_review(value, where)


def _paragraphs(path):
    """Those of one file, or of all files below a folder, in the order of their paths."""
    passages = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.suffix.lower() in TEXT_SUFFIXES and file.is_file():
            paragraphs = re.split(r"\n\s*\n", decode(file.read_bytes(), file))
            texts = filter(None, (" ".join(paragraph.split()) for paragraph in paragraphs))
            name = file.relative_to(path) if path.is_dir() else file.name
            passages += [Passage(f"{name}, paragraph {i}", text) for i, text in enumerate(texts, start=1)]
    return passages


def _docstring_passages():
    """Of each docstring what is prose; from the disk if it was read before."""
    stored = keep_what_is_read("passages", _read_docstring_passages, __file__, definitions.__file__)
    return [Passage(name, text) for name, text in stored]


def _read_docstring_passages(libraries):
    files = [file for _, paths in libraries.values() for file in paths]
    definitions_found = read_definitions(tqdm(files, desc="Reading docstrings", unit="file"))
    passages = [Passage(one.name, " ".join(clean_docstring(one.docstring))) for one in definitions_found]
    passages = [passage for passage in passages if passage.text]
    if not passages:
        raise FileNotFoundError("no library's source was found on this machine; name a folder of text files instead")
    passages.sort(key=lambda passage: passage.name.count("."))  # of a text's names the shortest comes first
    return _without_copies(passages)
