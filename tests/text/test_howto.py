"""The questions of data/howto.tsv are what they are for: each is answered by a docstring on the reader's disk."""

import csv
import re
from collections import Counter

from bert_tutorial.machine.fetching import shipped_file
from bert_tutorial.text.docstrings import python_files
from bert_tutorial.text.passages import load_howto, load_passages

import pytest

ELSEWHERE = {"numpy"}  # libraries that are not Python's own


@pytest.fixture(scope="module")
def rows():
    with shipped_file("howto.tsv").open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def names_of(rows):
    return [name for row in rows for name in row["names"].split("|")]


def test_columns_and_counts(rows):
    assert list(rows[0]) == ["split", "question", "names"]
    assert all(None not in row and None not in row.values() for row in rows)
    assert Counter(row["split"] for row in rows) == {"train": 40, "test": 40}


def test_questions_are_clean_and_unlike_each_other(rows):
    questions = [row["question"] for row in rows]
    for question in questions:
        assert 4 <= len(question.split()) <= 20, question
        assert question == " ".join(question.split())
        assert not question.endswith((".", "?")), question
    words = [set(re.findall(r"\w+", question.lower())) for question in questions]
    for i, own in enumerate(words):
        assert all(len(own & other) / len(own | other) < 0.5 for other in words[:i]), questions[i]


def test_no_answer_comes_twice(rows):
    assert all(row["names"] for row in rows)
    assert not [name for name, count in Counter(names_of(rows)).items() if count > 1]


def test_no_question_names_its_answer(rows):
    for row in rows:
        for name in row["names"].split("|"):
            assert name not in row["question"]
            assert "_" not in name.split(".")[-1] or name.split(".")[-1] not in row["question"]


def test_answers_are_spread_over_many_modules(rows):
    for split in ("train", "test"):
        modules = {row["names"].split(".")[0] for row in rows if row["split"] == split}
        assert len(modules) >= 25
    assert len({row["names"].split(".")[0] for row in rows}) >= 40
    assert len([row for row in rows if row["names"].startswith("numpy.")]) <= 10


def test_the_loader_reads_them(rows):
    for split in ("train", "test"):
        queries = load_howto(split)
        assert [query.text for query in queries] == [row["question"] for row in rows if row["split"] == split]
        assert set().union(*(query.names for query in queries)) == set(
            names_of(row for row in rows if row["split"] == split)
        )


@pytest.mark.slow
def test_each_question_is_answered_by_a_passage(rows):
    found = {passage.name for passage in load_passages("docstrings")}
    libraries = python_files()
    here = [row for row in rows if row["names"].split(".")[0] not in ELSEWHERE - set(libraries)]
    missing = [name for name in names_of(here) if name not in found]
    assert not missing
