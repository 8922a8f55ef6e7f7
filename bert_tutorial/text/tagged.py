"""Sentences whose words are tagged: from JSON Lines, or from the files of CoNLL-2003, ATIS or SNIPS."""

import os
import re
from typing import NamedTuple

from .bio import OUTSIDE, TAG, goes_on, is_iob1, to_bio, with_tag_before
from .examples import VALIDATION, few
from .reviews import decode, draw
from .rows import JSON_LINES, TABLES, data_path, read_rows
from .standard import fetch_standard, read_two_files

KEYS = ("split", "tokens", "tags")
CONLL_FOLDERS = (  # the original files of CoNLL-2003; what others call them
    {"train": "eng.train", "valid": "eng.testa", "test": "eng.testb"},
    {"train": "train.txt", "valid": "valid.txt", "test": "test.txt"},
)
BY_NAME = ("atis", "snips")
NOT_TAGGED = (*TABLES, ".json")
DOCUMENT_START = "-DOCSTART-"
COLUMN_SEPARATOR = re.compile("[ \t]+")  # other kinds of spaces may be in a token
WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


class TaggedSentence(NamedTuple):
    """A sentence's words with their tags in BIO, and where they stand."""

    tokens: list
    tags: list
    path: str
    line: int  # in which it begins
    a_token_a_line: bool

    def where(self, number):
        """Where the tag of a token stands, for messages."""
        return f"{self.path}, line {self.line + number}" if self.a_token_a_line else f"{_row(self)}, column tags"


def _row(sentence):
    return f"{sentence.path}, line {sentence.line}"


def cut_text(text):
    """The words and punctuation marks of a text, as those of data/tickets.jsonl were cut: list of str."""
    return WORD.findall(text)


def load_tagged(data, split, limit=None):
    """Load the tagged sentences of one split, from all of `data` in the order given.

    Tags must be in BIO. Those of a file that is written in IOB1 throughout, as the original CoNLL-2003 is, are turned
    into BIO: `is_iob1` says how that is recognised.

    Parameters
    ----------
    data : str, path or sequence of them
        "tickets", which ships with the course, or another `.jsonl` file: an object a line, whose split, tokens (list of
        words) and tags (as many) are read. Or a folder with CoNLL's columns in `eng.train`, `eng.testa` and
        `eng.testb`, or `train.txt`, `valid.txt` and `test.txt`: a token a line, its tag in the last column, an empty
        line between sentences. Or one such file: its sentences are for training. Or "atis" or "snips", or a folder with
        GluonNLP's files of one of them: `train_sentence.txt`, `train_tags.txt`, and so on.
    split : {"train", "valid", "test"}
        "dev" in JSON Lines is another word for "valid".
    limit : int, optional
        Take this many of each of `data`, drawn once for all.

    Returns
    -------
    list of TaggedSentence
        Empty only for "valid", for which there need not be any.

    Raises
    ------
    FetchError, FileNotFoundError, ValueError
        As for `read_rows` and `fetch_standard`; or tags and tokens that are not as many, an empty token, a tag that is
        not in BIO, no sentence of this split. The message says in which line.

    Source: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task", section 2.
    """
    names = [str(name) for name in ([data] if isinstance(data, str | os.PathLike) else data)]
    found = [sentence for name in names for sentence in draw(_load(name, split), limit)]
    if not found and split != "valid":
        raise ValueError(
            f"{', '.join(names)} has no sentence whose split is {split!r}: there must be some of train and test"
        )
    return found


def _load(name, split):
    path = fetch_standard(name) if name in BY_NAME else data_path(name)
    if path.is_dir():
        return _load_folder(path, split)
    if path.suffix.lower() in NOT_TAGGED:
        raise ValueError(
            f"{path}: tags are read from a {JSON_LINES[0]} file or CoNLL's columns, not from {path.suffix}"
        )
    if not path.exists():
        raise FileNotFoundError(
            f"no file or folder {name!r}; tags are read from tickets, {', '.join(BY_NAME)}, a {JSON_LINES[0]} file "
            f"with {', '.join(KEYS)}, or a folder of CoNLL files"
        )
    if path.suffix.lower() in JSON_LINES:
        splits = VALIDATION if split == "valid" else (split,)
        rows = list(_read_json_lines(path))
        sentences = _in_bio([sentence for _, sentence in rows])
        return [sentence for (own, _), sentence in zip(rows, sentences, strict=True) if own in splits]
    if split == "test":
        raise ValueError(
            f"{path} is one CoNLL file, and has training sentences only: give the folder of all; {_layouts()}"
        )
    return _in_bio(list(_read_conll(path))) if split == "train" else []


def _load_folder(folder, split):
    if (folder / "train_tags.txt").is_file():
        return _in_bio(list(_read_slots(folder, split)))
    files = next((files for files in CONLL_FOLDERS if (folder / files["train"]).is_file()), None)
    if files is None:
        raise FileNotFoundError(f"{folder} is no folder of CoNLL files: {_layouts()}")
    path = folder / files[split]
    if not path.is_file():
        if split == "valid":
            return []
        raise FileNotFoundError(f"{folder} has no {path.name}, where the {split} sentences should be")
    return _in_bio(list(_read_conll(path)))


def _layouts():
    return "it has " + ", or ".join(", ".join(files.values()) for files in CONLL_FOLDERS)


def _read_json_lines(path):
    """Yield (split, sentence) for each row."""
    for line, where, row in read_rows(path, KEYS):
        tokens, tags = (_strings(row[key], f"{where}, column {key}") for key in ("tokens", "tags"))
        _require_as_many(tokens, tags, f"{where}, column tags")
        for number, token in enumerate(tokens, start=1):
            if not token.strip():
                raise ValueError(f"{where}, column tokens: token {number} is empty")
        yield row["split"], TaggedSentence(tokens, tags, str(path), line, False)


def _strings(values, where):
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{where}: it must be a list of strings, at least one, not {values!r:.60}")
    return values


def _require_as_many(tokens, tags, where):
    if len(tokens) != len(tags):
        raise ValueError(f"{where}: {len(tags)} tags for {len(tokens)} tokens")


def _read_slots(folder, split):
    """Yield the sentences of ATIS or SNIPS."""
    for path, line, sentence, tags in read_two_files(folder, split, "tags"):
        tokens, tags = sentence.split(), tags.split()
        _require_as_many(tokens, tags, f"{path}, line {line}")
        if tokens:
            yield TaggedSentence(tokens, tags, str(path), line, False)


def _read_conll(path):
    """Yield the sentences of one file."""
    tokens, tags, begin = [], [], None
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            where = f"{path}, line {line}"
            columns = COLUMN_SEPARATOR.split(decode(content, where).strip(" \t\r\n"))
            if columns[0] in ("", DOCUMENT_START):
                if tokens:
                    yield TaggedSentence(tokens, tags, str(path), begin, True)
                tokens, tags = [], []
                continue
            if len(columns) == 1:
                raise ValueError(f"{where}: no tag beside {columns[0]!r}; it stands in the last of several columns")
            if not columns[0].strip():
                raise ValueError(f"{where}: the token is empty")
            begin = begin if tokens else line
            tokens.append(columns[0])
            tags.append(columns[-1])
    if tokens:
        yield TaggedSentence(tokens, tags, str(path), begin, True)


def _in_bio(sentences):
    """The sentences of one file with checked tags in BIO."""
    for sentence in sentences:
        for number, tag in enumerate(sentence.tags):
            if not TAG.fullmatch(tag):
                raise ValueError(f"{_tagged(sentence, number)}: tags are O, B-x and I-x, for any type x")
    if is_iob1([sentence.tags for sentence in sentences]):
        return [sentence._replace(tags=to_bio(sentence.tags)) for sentence in sentences]
    for sentence in sentences:
        for number, (before, tag) in enumerate(with_tag_before(sentence.tags)):
            if tag[0] == "I" and not goes_on(before, tag):
                after = f"after {before}" if number else "at the beginning"
                raise ValueError(f"{_tagged(sentence, number)} {after}: an entity begins with B{tag[1:]}")
    return sentences


def _tagged(sentence, number):
    return f"{sentence.where(number)}: the token {sentence.tokens[number]!r} has the tag {sentence.tags[number]!r}"


def tags_of(train):
    """The tags that a network needs for training sentences: O, then B-x and I-x for each type x in them, sorted.

    Parameters
    ----------
    train : list of TaggedSentence

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        There is no entity.
    """
    kinds = {tag[2:] for sentence in train for tag in sentence.tags if tag != OUTSIDE}
    if not kinds:
        raise ValueError(f"all words of {len(train)} training sentences have the tag O: there is no entity to learn")
    return [OUTSIDE, *sorted(f"{begin}-{kind}" for kind in kinds for begin in "BI")]


def require_known_tags(sentences, tags):
    """Raise ValueError, naming the place, if a word has a tag that is none of the tags of the training split."""
    known = set(tags)
    for sentence in sentences:
        for number, tag in enumerate(sentence.tags):
            if tag not in known:
                kinds = sorted({tag[2:] for tag in known - {OUTSIDE}})
                raise ValueError(
                    f"{_tagged(sentence, number)}, of a type that never occurs in the training split, which has "
                    f"{few(kinds)}"
                )
