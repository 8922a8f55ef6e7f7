"""Rows of a table, or of JSON Lines: a dict each, and where it stands, for messages."""

import csv
import json
from itertools import zip_longest
from pathlib import Path

from ..machine.fetching import shipped_file
from .reviews import LARGEST_REVIEW, decode

SEPARATORS = {";": "semicolons", ",": "commas", "\t": "tabs"}
TABLES = (".tsv", ".csv")
JSON_LINES = (".jsonl",)
SHIPPED = {"pairs": "pairs.tsv", "tickets": "tickets.jsonl", "questions": "questions.json"}  # for tasks but sentiment


def data_path(name_or_path):
    """The path of a file with examples: that of one of `SHIPPED`, by its name, or the path that is given."""
    name = str(name_or_path)
    return shipped_file(SHIPPED[name]) if name in SHIPPED else Path(name)


def read_rows(path, required):
    """Read a table's rows, or the objects of JSON Lines, one after the other.

    Parameters
    ----------
    path : str or path
        A `.tsv` (tab-separated, no quoting) or `.csv` file in UTF-8 with a header line, or `.jsonl`: an object a line.
    required : sequence of str
        Columns, or keys, that there must be, in the order in which messages name them.

    Yields
    ------
    line : int
        In which the row begins.
    where : str
        The same for messages: path and line.
    row : dict
        From lower-case names of columns to strings; of JSON Lines as they are.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not UTF-8, other separators, a missing column, a row with more values than columns, quotes that do not match, a
        line that is no JSON object. The message says in which line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in JSON_LINES:
        return _read_json_lines(path, required)
    if suffix in TABLES:
        return _read_table(path, required)
    raise ValueError(f"{path}: expected a {', '.join(TABLES)} or {', '.join(JSON_LINES)} file")


def _read_json_lines(path, required):
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            where = f"{path}, line {number}"
            if not (text := decode(content, where).strip()):
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{where}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{where}: a line must be a JSON object, with the keys {', '.join(required)}")
            if missing := [name for name in required if name not in row]:
                raise ValueError(f"{where}: no key {', '.join(missing)}")
            yield number, where, row


def _read_table(path, required):
    tabs = path.suffix.lower() == ".tsv"
    layout = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_REVIEW))  # of the whole process; it was 128 KiB
    line = 1  # in which a row begins
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            if "\0" in header:
                raise ValueError(f"{path}, line 1: it has zero bytes, as UTF-16 has: save the file again as UTF-8")
            columns = _check_header(path, next(csv.reader([header], **layout), []), required)
            rows = csv.reader(file, strict=True, **layout)
            line = 2
            for values in rows:
                where, begins, line = f"{path}, line {line}", line, rows.line_num + 2
                if not values:
                    continue
                if len(values) > len(columns):
                    remedy = "a text cannot hold a tab" if tabs else "put a text that holds commas in quotes"
                    raise ValueError(f"{where}: more values than columns; {remedy}")
                yield begins, where, dict(zip_longest(columns, values, fillvalue=""))
    except UnicodeDecodeError:
        with path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                decode(content, f"{path}, line {line}")
        raise
    except csv.Error as error:
        remedy = "" if tabs else "; quotes around a text must match, and one inside it is written twice"
        raise ValueError(f"{path}, line {line}: {error}{remedy}") from error


def _check_header(path, names, required):
    """The columns' names without their case and the spaces around them."""
    names = [name.strip().lower() for name in names]
    missing = [name for name in required if name not in names]
    for separator, word in SEPARATORS.items():
        parts = {part.strip(' "') for name in names for part in name.split(separator)}
        if missing and parts.issuperset(required):
            raise ValueError(f"{path}: its columns are separated by {word}; a .csv needs commas, a .tsv tabs")
    if missing:
        named = ", ".join(required)
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; the first line must name {named}")
    return names
