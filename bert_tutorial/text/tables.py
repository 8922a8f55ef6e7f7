"""Reviews in a table: the ones shipped with the course, or a reader's own."""

import csv
from itertools import zip_longest
from pathlib import Path

from ..machine.fetching import shipped_file
from .reviews import LARGEST_REVIEW, check_request, decode, store_reviews

COLUMNS = {"split", "label", "text"}
SEPARATORS = {";": "semicolons", ",": "commas", "\t": "tabs"}
TABLES = (".tsv", ".csv")


def load_reviews(split, path=None, limit=None):
    """Load reviews from a table with the columns split, label and text; by default the one shipped here.

    Parameters
    ----------
    split : {"train", "test"}
    path : str or path, optional
        A `.tsv` (tab-separated, no quoting) or `.csv` file in UTF-8 with a header line.
    limit : int, optional
        As for `load_imdb`.

    Returns
    -------
    Reviews
        Of (text, label).

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not UTF-8, other separators, a missing column, a row with more values than columns, quotes that do not match, a
        label other than 0 and 1, an empty text, or no row of this split. The message says in which line.
    """
    check_request(split, limit)
    path = shipped_file("reviews.tsv") if path is None else Path(path)
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path}: expected a .tsv or .csv file")
    reviews = store_reviews(lambda: _read_table(path, split))
    if not reviews:
        raise ValueError(f"{path} has no row whose split is {split!r}: it must have rows of train and of test")
    return reviews.draw(limit)


def _read_table(path, split):
    """Yield (key that reviews are sorted by, name for messages, text, label)."""
    tabs = path.suffix.lower() == ".tsv"
    layout = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_REVIEW))  # of the whole process; it was 128 KiB
    line = 1  # in which a row begins
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            if "\0" in header:
                raise ValueError(f"{path}, line 1: it has zero bytes, as UTF-16 has: save the file again as UTF-8")
            columns = _check_header(path, next(csv.reader([header], **layout), []))
            rows = csv.reader(file, strict=True, **layout)
            line = 2
            for values in rows:
                where, line = f"{path}, line {line}", rows.line_num + 2
                if not values:
                    continue
                row = dict(zip_longest(columns, values, fillvalue=""))
                if len(values) > len(columns):
                    remedy = "a text cannot hold a tab" if tabs else "put a text that holds commas in quotes"
                    raise ValueError(f"{where}: more values than columns; {remedy}")
                if row["label"] not in ("0", "1"):
                    raise ValueError(f"{where}: label must be 0 or 1, not {row['label']!r}")
                if row["split"] == split:
                    yield line, where, row["text"], int(row["label"])
    except UnicodeDecodeError:
        with path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                decode(content, f"{path}, line {line}")
        raise
    except csv.Error as error:
        remedy = "" if tabs else "; quotes around a text must match, and one inside it is written twice"
        raise ValueError(f"{path}, line {line}: {error}{remedy}") from error


def _check_header(path, names):
    """The columns' names without their case and the spaces around them."""
    names = [name.strip().lower() for name in names]
    missing = COLUMNS.difference(names)
    for separator, word in SEPARATORS.items():
        if missing and COLUMNS.issubset(part.strip(' "') for name in names for part in name.split(separator)):
            raise ValueError(f"{path}: its columns are separated by {word}; a .csv needs commas, a .tsv tabs")
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; the first line must name split, label, text")
    return names
