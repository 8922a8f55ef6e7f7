"""The shipped sentences are what data/sentences.tsv is for: pairs that no bag of words can tell apart."""

import csv
import re
from collections import Counter, defaultdict

from bert_tutorial import score_baselines
from bert_tutorial.machine.fetching import shipped_file
from bert_tutorial.text.datasets import load_dataset

import pytest

PATH = shipped_file("sentences.tsv")


@pytest.fixture(scope="module")
def rows():
    with PATH.open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def bag(text):
    return Counter(re.findall(r"[a-z']+", text.lower()))


def pairs(rows):
    numbered = defaultdict(list)
    for row in rows:
        numbered[int(row["pair"])].append(row)
    return numbered


def test_both_splits_load():
    for split, number in (("train", 150), ("test", 50)):
        assert Counter(label for _, label in load_dataset("sentences", split)) == {0: number, 1: number}


def test_pairs_are_whole_and_kinds_balanced(rows):
    assert set(pairs(rows)) == set(range(1, 201))
    kinds = {"train": Counter(), "test": Counter()}
    for pair in pairs(rows).values():
        assert sorted(row["label"] for row in pair) == ["0", "1"]
        ((split, kind),) = {(row["split"], row["kind"]) for row in pair}
        kinds[split][kind] += 1
    # Irony, which is debatable, is the rarest; the test has a quarter of each kind.
    number = {"negation": 11, "but": 11, "comparison": 9, "could have": 8, "hedging": 6, "irony": 5}
    assert kinds == {"train": {kind: 3 * n for kind, n in number.items()}, "test": number}


def test_sentences_are_short_clean_and_unlike_each_other(rows):
    texts = [row["text"] for row in rows]
    assert len({text.lower() for text in texts}) == 400
    for text in texts:
        assert 5 <= len(text.split()) <= 20, text
        assert re.fullmatch(r"[A-Z][A-Za-z',:;-]*( [A-Za-z][A-Za-z',:;-]*)*\.", text), text
    for row in (row for row in rows if row["split"] == "test"):
        near = max((row for row in rows if row["split"] == "train"), key=lambda other: shared(row, other))
        assert shared(row, near) < 0.5, (row["text"], near["text"])


def shared(row, other):
    """Jaccard index of two bags of words, in which a word counts as often as it occurs."""
    words, others = bag(row["text"]), bag(other["text"])
    return (words & others).total() / (words | others).total()


def test_pairs_share_two_thirds_of_their_words(rows):
    for positive, negative in pairs(rows).values():
        assert shared(positive, negative) >= 2 / 3, (positive["text"], negative["text"])


def test_no_word_betrays_a_label(rows):
    lines = {label: Counter() for label in "01"}
    for row in rows:
        lines[row["label"]].update(set(bag(row["text"])))
    betrayed = {word for word in lines["0"] | lines["1"] if abs(lines["0"][word] - lines["1"][word]) > 3}
    assert not betrayed


@pytest.mark.parametrize("others", [[], ["sample"]])
def test_counting_words_and_pairs_of_words_is_little_help(others):
    train = [pair for name in [*others, "sentences"] for pair in load_dataset(name, "train")]
    for row in score_baselines(train, load_dataset("sentences", "test")):
        assert row.accuracy < 0.6, row.name
