"""Labelled examples of any task on whole texts: a text or a pair of them, and what to say of it."""

import math
import os
from collections import Counter
from typing import NamedTuple

from .datasets import load_dataset
from .docstring_tasks import LIBRARIES_TASK, PAIRS_TASK, docstring_examples
from .reviews import clean_review, draw
from .rows import JSON_LINES, TABLES, data_path, read_rows
from .standard import HASHES, fetch_standard, find_layout

COLUMNS = ("split", "label", "text")
SEVERAL = "|"  # between the labels of a text
VALIDATION = ("valid", "dev")  # splits that choose the best epoch
REVIEW_LABELS = ("negative", "positive")


class Example(NamedTuple):
    """A labelled text, or pair of texts."""

    text: str
    text_b: str | None
    label: object  # what its parser makes of the column: `parse_class`, `parse_classes` or `parse_number`
    where: str  # in which file and line, for messages


def unlabelled(texts, texts_b=None):
    """Examples of texts, or of pairs of them, that nothing is known of: list of Example."""
    seconds = [None] * len(texts) if texts_b is None else texts_b
    return [Example(text, text_b, None, "") for text, text_b in zip(texts, seconds, strict=True)]


def load_examples(data, split, parse_label, limit=None):
    """Load the examples of one split, from all of `data` in the order given.

    Parameters
    ----------
    data : str, path or sequence of them
        "pairs" or "tickets", which ship with the course; "docstring-libraries" or "docstring-pairs", made of the
        reader's libraries, as `docstring_examples` says; a `.tsv`, `.csv` or `.jsonl` file with the columns split,
        label, text and, for pairs, text_b; a standard data set, by its name in `standard.HASHES` or by the path of its
        folder; or as for `load_dataset`, whose labels are then "negative" and "positive".
    split : {"train", "valid", "test"}
        "dev" is another word for "valid".
    parse_label : callable
        From the label's column and the place, for messages, to what the task learns.
    limit : int, optional
        Take this many of each of `data`, drawn once for all.

    Returns
    -------
    list of Example
        Empty only for "valid", for which most data have no split.

    Raises
    ------
    FetchError, FileNotFoundError, ValueError
        As for `read_rows` and `load_dataset`; or an empty text, a pair and no pair in one data set, a label that is
        none, no row of this split.
    """
    names = [str(name) for name in ([data] if isinstance(data, str | os.PathLike) else data)]
    found = [_load(name, split, parse_label, limit) for name in names]
    examples = [example for part in found for example in part]
    if not examples and split != "valid":
        raise ValueError(
            f"{', '.join(names)} has no row whose split is {split!r}: there must be some of train and test"
        )
    paired = [example.text_b is not None for example in examples]
    if any(paired) and not all(paired):
        alone = examples[paired.index(False)]
        raise ValueError(f"{alone.where}, column text_b: it is empty, but other rows have a pair of texts")
    return examples


def _load(name, split, parse_label, limit):
    if name in (LIBRARIES_TASK, PAIRS_TASK):
        rows = ((f"{name}, {example}", *row) for example, *row in docstring_examples(name, split))
        return draw([_example(*row, parse_label) for row in rows], limit)
    path = fetch_standard(name) if name in HASHES else data_path(name)
    if path.suffix.lower() in TABLES + JSON_LINES:
        rows = _read_table(path, VALIDATION if split == "valid" else (split,))
    elif read_layout := find_layout(path):
        rows = read_layout(path, split)
    else:
        return _load_reviews(name, split, parse_label, limit)
    return draw([_example(*row, parse_label) for row in rows], limit)


def _load_reviews(name, split, parse_label, limit):
    if split == "valid":
        return []
    dataset = load_dataset(name, split, limit)
    labels = [parse_label(label, name) for label in REVIEW_LABELS]
    return [Example(text, None, labels[label], name) for text, label in dataset]


def _read_table(path, splits):
    for _, where, row in read_rows(path, COLUMNS):
        if row["split"] in splits:
            yield where, row["label"], row["text"], row.get("text_b")


def _example(where, label, text, text_b, parse_label):
    text = clean_review(_string(text, where, "text"), f"{where}, column text")
    text_b = " ".join(_string(text_b or "", where, "text_b").split())
    return Example(text, text_b or None, parse_label(label, f"{where}, column label"), where)


def _string(value, where, column):
    if not isinstance(value, str):
        raise ValueError(f"{where}, column {column}: a text must be a string, not {value!r}")
    return value


def parse_class(value, where):
    """One label: any string, or a whole number of JSON Lines."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{where}: a label must be a word or a whole number, not {value!r}")
    return str(value).strip()


def parse_classes(value, where):
    """Several labels, or none: "a|b", or a list of JSON Lines."""
    parts = value if isinstance(value, list) else [part for part in str(value).split(SEVERAL) if part.strip()]
    return tuple(sorted({parse_class(part, where) for part in parts}))


def parse_number(value, where):
    """A number."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: a label must be a number, not {value!r}")
    return number


def classes_of(train):
    """The classes that examples have, sorted.

    Parameters
    ----------
    train : list of Example
        With labels from `parse_class` or `parse_classes`.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        There is only one, or one occurs once: it could be learned from one example and validated on none.
    """
    labelled = [(label, example.where) for example in train for label in _as_tuple(example.label)]
    counts = Counter(label for label, _ in labelled)
    if len(counts) < 2:
        raise ValueError(f"all {len(train)} training texts have the same label, {', '.join(counts) or 'none'}")
    for label, where in labelled:
        if counts[label] == 1:
            raise ValueError(
                f"{where}, column label: {label!r} occurs once in the training split: give it more texts, or another "
                "label"
            )
    return sorted(counts)


def require_known(examples, classes):
    """Raise ValueError, naming the row, if an example has a label that is none of the classes of the training split."""
    for example in examples:
        for label in _as_tuple(example.label):
            if label not in classes:
                raise ValueError(
                    f"{example.where}, column label: {label!r} never occurs in the training split, which has "
                    f"{few(classes)}"
                )


def few(names, count=10):
    """Names in one line, for messages, the first of many."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(repr, names[:count])) + more


def _as_tuple(label):
    return label if isinstance(label, tuple) else (label,)
