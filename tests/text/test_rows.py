"""Rows of tables and of JSON Lines; tables of reviews, in test_tables.py, test the rest."""

import json

from bert_tutorial.text.rows import read_rows

import pytest
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\r\n\0"), min_size=1).filter(
    str.strip
)


@given(rows=st.lists(st.dictionaries(st.sampled_from(["label", "text", "text_b"]), TEXT, min_size=3), max_size=5))
def test_json_lines_come_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")
    found = list(read_rows(path, ("label", "text")))
    assert [row for *_, row in found] == rows
    assert [line for line, *_ in found] == list(range(1, 2 * len(rows), 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": 1', "line 1: not JSON"),
        ('{"text": "a"}\n["b"]', r"line 2: a line must be a JSON object, with the keys text"),
        ('\n\n{"label": 1}', "line 3: no key text"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_json_lines_that_are_wrong(tmp_path, content, message):
    path = tmp_path / "own.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        list(read_rows(path, ["text"]))


def test_json_lines_in_another_encoding(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(ValueError, match=r"line 2.*not UTF-8"):
        list(read_rows(path, ["text"]))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a \.tsv, \.csv or \.jsonl"):
        read_rows(tmp_path / "own.xlsx", ["text"])
