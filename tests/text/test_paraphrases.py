"""The shipped pairs are what data/pairs.tsv is for: which words two sentences share does not say if they agree."""

import csv
import re
from collections import Counter, defaultdict
from statistics import mean

from bert_tutorial import score_baselines
from bert_tutorial.machine.fetching import shipped_file

import numpy as np
import pytest

PATH = shipped_file("pairs.tsv")
SIZES = {"train": 220, "test": 80}


@pytest.fixture(scope="module")
def rows():
    with PATH.open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def words(text):
    return set(re.findall(r"[a-z0-9']+", text.lower()))


def overlap(text, other):
    """Jaccard index of two sets of words."""
    return len(words(text) & words(other)) / len(words(text) | words(other))


def of(rows, split):
    return [row for row in rows if row["split"] == split]


def overlaps(rows, label):
    return [overlap(row["text"], row["text_b"]) for row in rows if row["label"] == label]


def test_columns_and_balance(rows):
    assert list(rows[0]) == ["split", "label", "text", "text_b", "kind"]
    assert all(None not in row and None not in row.values() for row in rows)  # no row is too long or too short
    numbers = {(split, label): size // 2 for split, size in SIZES.items() for label in "01"}
    assert Counter((row["split"], row["label"]) for row in rows) == numbers


def test_each_text_stands_in_a_paraphrase_and_in_a_negative(rows):
    """So neither the text alone nor the kind says anything of the label."""
    pairs = defaultdict(list)
    for row in rows:
        pairs[row["text"]].append(row)
    for text, both in pairs.items():
        assert sorted(row["label"] for row in both) == ["0", "1"], text
        assert len({(row["split"], row["kind"]) for row in both}) == 1, text


def test_each_kind_recurs_in_both_splits(rows):
    kinds = {split: Counter(row["kind"] for row in of(rows, split)) for split in SIZES}
    assert set(kinds["train"]) == set(kinds["test"])
    assert min(kinds["train"].values()) >= 8
    assert min(kinds["test"].values()) >= 4


def test_sentences_are_short_clean_and_unlike_each_other(rows):
    sentences = {row["text"] for row in rows} | {row["text_b"] for row in rows}
    assert len({sentence.lower() for sentence in sentences}) == 450  # 150 texts, each with two others
    for sentence in sentences:
        assert 5 <= len(sentence.split()) <= 20, sentence
        assert re.fullmatch(r"[A-Z][A-Za-z',-]*( [A-Za-z0-9][A-Za-z0-9',-]*)*\.", sentence), sentence
    learned = {sentence for row in of(rows, "train") for sentence in (row["text"], row["text_b"])}
    for sentence in {sentence for row in of(rows, "test") for sentence in (row["text"], row["text_b"])}:
        near = max(learned, key=lambda other: overlap(sentence, other))
        assert overlap(sentence, near) < 0.5, (sentence, near)


@pytest.mark.parametrize("splits", [("train",), ("test",), ("train", "test")])
def test_both_labels_share_equally_many_words(rows, splits):
    some = [row for row in rows if row["split"] in splits]
    assert abs(mean(overlaps(some, "1")) - mean(overlaps(some, "0"))) < 0.05


def test_both_labels_have_pairs_that_share_many_words_and_few(rows):
    for label in "01":
        assert sum(value >= 0.6 for value in overlaps(rows, label)) >= 60
        assert sum(value <= 0.3 for value in overlaps(rows, label)) >= 20


def test_no_word_and_no_length_betrays_a_label(rows):
    others = {label: [row["text_b"] for row in rows if row["label"] == label] for label in "01"}
    lines = {label: Counter(word for text in others[label] for word in words(text)) for label in "01"}
    assert not {word for word in lines["0"] | lines["1"] if abs(lines["0"][word] - lines["1"][word]) > 5}
    assert abs(mean(len(text.split()) for text in others["0"]) - mean(len(text.split()) for text in others["1"])) < 0.5


def test_a_threshold_on_shared_words_is_little_help(rows):
    (learned, labels), (values, answers) = (
        (
            np.array([overlap(row["text"], row["text_b"]) for row in of(rows, split)]),
            np.array([row["label"] == "1" for row in of(rows, split)]),
        )
        for split in SIZES
    )
    rules = [(threshold, above) for threshold in np.unique(learned) for above in (True, False)]
    threshold, above = max(rules, key=lambda rule: np.mean(((learned >= rule[0]) == rule[1]) == labels))
    assert np.mean(((values >= threshold) == above) == answers) < 0.6


@pytest.mark.parametrize("columns", [("text", "text_b"), ("text_b",)])
def test_counting_words_and_pairs_of_words_is_little_help(rows, columns):
    train, test = (
        [(" [SEP] ".join(row[column] for column in columns), int(row["label"])) for row in of(rows, split)]
        for split in SIZES
    )
    for score in score_baselines(train, test):
        assert score.accuracy < 0.6, score.name
