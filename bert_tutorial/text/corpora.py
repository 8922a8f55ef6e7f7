"""Plain text for pre-training: documents of passages of sentences.

BERT was pre-trained on the English Wikipedia and BooksCorpus. What every reader of this course already has on disk
is the documentation inside the libraries it installs: some megabytes of English about Python.
"""

import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from .docstrings import json_digest, keep_what_is_read, read_modules
from .imdb import find_json, load_pretraining_reviews
from .prose import split_lines, split_sentences
from .reviews import draw

SPLIT_SEED = 0
TEXT_SUFFIXES = (".txt", ".md")


class Document(NamedTuple):
    """A text on one subject.

    Attributes
    ----------
    source : str
        The library ("numpy", or "python" for the standard library), the file's name, or "imdb".
    passages : tuple of tuple of str
        Sentences that follow one another in the text: a docstring, a paragraph, a review.
    """

    source: str
    passages: tuple[tuple[str, ...], ...]

    @property
    def sentences(self):
        """All sentences, in order."""
        return tuple(sentence for passage in self.passages for sentence in passage)


@dataclass(frozen=True)
class Corpus:
    """Documents under one name, with a line on their licence."""

    name: str
    documents: tuple[Document, ...]
    licence: str

    def describe(self):
        """One line: sizes, the first digits of the text's SHA-256 (equal text, equal digits), licence."""
        sentences = [sentence for document in self.documents for sentence in document.sentences]
        size = sum(len(sentence.encode()) for sentence in sentences) / 1e6
        return (
            f"{self.name}: {len(self.documents):,} documents, {len(sentences):,} sentences, {size:.1f} MB of text, "
            f"sha256 {json_digest(self.documents)[:12]}; {self.licence}"
        )

    def split(self, ratio=0.1):
        """Set documents aside for validation, always the same.

        Parameters
        ----------
        ratio : float, default 0.1
            Share of the documents that goes to validation; at least one document stays on each side.

        Returns
        -------
        train, valid : Corpus

        Raises
        ------
        ValueError
            Fewer than two documents, or a ratio that is not between 0 and 1.
        """
        count = len(self.documents)
        if not 0 < ratio < 1:
            raise ValueError(f"ratio must be between 0 and 1, not {ratio}")
        if count < 2:
            raise ValueError(
                f"{self.name} has {count} document(s): cut the text into two files or more, or raise limit"
            )
        held_out = min(max(round(ratio * count), 1), count - 1)
        chosen = set(random.Random(SPLIT_SEED).sample(range(count), held_out))
        train = tuple(document for i, document in enumerate(self.documents) if i not in chosen)
        valid = tuple(document for i, document in enumerate(self.documents) if i in chosen)
        return replace(self, documents=train), replace(self, documents=valid)


def load_corpus(name_or_path="docstrings", limit=None):
    """Load plain text for pre-training.

    Parameters
    ----------
    name_or_path : str or path, default "docstrings"
        "docstrings": the documentation inside Python's standard library and the libraries installed with this course.
        "imdb": all of IMDB's reviews but those for the test, downloaded the first time. Or a path: a folder or archive
        with reviews as in `load_pretraining_reviews`, a folder of `.txt` and `.md` files, or one such file.
    limit : int, optional
        Keep this many documents, drawn once for all: the same number gives the same documents.

    Returns
    -------
    Corpus

    Raises
    ------
    FetchError
        IMDB is not in the cache and no host could be reached.
    FileNotFoundError
        No such file, or no text or library to be found.
    ValueError
        A file that is not UTF-8, a damaged archive, or a limit below 1.
    """
    name = str(name_or_path)
    path = Path(name)
    if name == "docstrings":
        documents = draw(_docstring_documents(), limit)
        licence = (
            f"read from this machine's copy of {len({document.source for document in documents})} libraries, to whose "
            f"authors it belongs (licences BSD, PSF, MIT, Apache and alike); the course ships none of it"
        )
    elif name == "imdb" or _holds_reviews(path):
        reviews = load_pretraining_reviews(None if name == "imdb" else path, limit)
        documents = [Document("imdb", (tuple(split_sentences(review)),)) for review in reviews]
        licence = "IMDB users' reviews, collected for research by Maas et al. 2011; the course ships none of it"
    elif path.exists():
        documents = draw(_text_documents(path), limit)
        licence = f"your own text, read from {path}"
    else:
        raise FileNotFoundError(f"no file or folder {name!r}; use docstrings, imdb, or the path of a text or folder")
    return Corpus(name, tuple(documents), licence)


def _docstring_documents():
    """All documents made of docstrings, from the disk if they are there."""
    stored = keep_what_is_read("docstrings", _read_docstring_documents, __file__)
    return [Document(library, tuple(map(tuple, passages))) for library, passages in stored]


def _read_docstring_documents(libraries):
    files = [(name, file) for name, (_, paths) in libraries.items() for file in paths]
    documents = list(read_modules(tqdm(files, desc="Reading docstrings", unit="file")))
    if not documents:
        raise FileNotFoundError("no library's source was found on this machine; name a folder of text files instead")
    return documents


def _holds_reviews(path):
    """Whether a path is a folder with reviews laid out as IMDB, or a file that must be an archive of them."""
    if path.is_dir():
        return find_json(path, "unsup") is not None or next(path.glob("**/train/unsup"), None) is not None
    return path.is_file() and path.suffix.lower() not in TEXT_SUFFIXES


def _text_documents(path):
    """One document per text file below a folder, or of one file, in the order of their paths."""
    documents = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.suffix.lower() not in TEXT_SUFFIXES or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from error
        passages = tuple(filter(None, map(split_lines, re.split(r"\n\s*\n", text))))
        if passages:
            documents.append(Document(file.name, passages))
    if not documents:
        raise FileNotFoundError(f"{path} holds no text: expected .txt or .md files with sentences in them")
    return documents
