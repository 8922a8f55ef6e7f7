"""The shipped sentences to a cinema's assistant: what data/tickets.jsonl promises to who learns intents and slots.

How it is annotated, for those who add a line. A span is as short as it can be: articles and prepositions before it stay
outside. A sentence is annotated as it is typed, mistakes and all.

film    The whole title, its own articles, prepositions and commas included. "new" and "film" beside it stay outside.
cinema  The name, without "the" or "cinema" unless they are part of it.
day     A day, a date or a stretch of days, with what says which: "next Friday", "3rd of May", "weekdays", "tonight".
        Not one that could be any ("the same day"), nor a length or a rate ("a day later", "many times a day").
time    A clock time, a part of the day, or a show that is named after one: "half past seven", "this evening", "late
        show", "matinee". "Friday evening" is a day and a time. Not a length ("three hours"), a comparison ("later"), or
        part of another name ("horror night").
seats   The number of seats, tickets or people, and nothing else: "four" in "a family of four", "pair", "2"; "two" and
        "three" in "two adults and three children". Not "a". Not ages, prices, hours, orders, words, showings.
place   Where in the hall one sits: "back row", "aisle", "row F", "end of row B", "sofas", "wheelchair space". Not where
        in the building, nor how seats lie to each other ("together", "further back").
genre   A kind of film by its usual name, without "film": "horror", "costume drama", "love stories". Not "funny", "sad".
person  A director or actor, by whole name or surname, also where the name stands for the film ("the new Marta Quill").
        Nobody else: those who book, and those in the story, have no tag.
"""

import json
import re
from collections import Counter, defaultdict

from bert_tutorial.machine.fetching import shipped_file

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

PATH = shipped_file("tickets.jsonl")
INTENTS = {"book", "cancel", "change", "showtimes", "price", "film_info", "cinema_info", "recommend"}
SLOTS = {"film", "cinema", "day", "time", "seats", "place", "genre", "person"}
OUTSIDE = {"a", "an", "the", "at", "on", "in", "of", "for", "by", "with", "near", "to", "from", "before", "after"}


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in PATH.read_text(encoding="ascii").splitlines()]


@pytest.fixture(scope="module")
def splits(rows):
    return [[row for row in rows if row["split"] == split] for split in ("train", "test")]


def spans(tags):
    """(slot, first token, token after the last) of each span; an I that continues nothing starts none."""
    found, slot = [], None
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and tag[2:] == slot:
            found[-1] = (slot, found[-1][1], place + 1)
        elif tag.startswith("B-"):
            slot = tag[2:]
            found.append((slot, place, place + 1))
        else:
            slot = None
    return found


def fillers(rows, slot):
    """The words that fill a slot, in lower case and without apostrophes, as often as they do."""
    return Counter(
        " ".join(row["tokens"][start:end]).lower().replace("'", "")
        for row in rows
        for kind, start, end in spans(row["tags"])
        if kind == slot
    )


def bag(text):
    return Counter(re.findall(r"[a-z0-9']+", text.lower()))


def shared(row, other):
    """Jaccard index of two bags of words, in which a word counts as often as it occurs."""
    words, others = bag(row["text"]), bag(other["text"])
    return (words & others).total() / (words | others).total()


def test_there_are_300_to_learn_from_and_100_for_the_test_with_intents_balanced(rows, splits):
    assert all(list(row) == ["split", "label", "text", "tokens", "tags"] for row in rows)
    assert [row["split"] for row in rows] == ["train"] * 300 + ["test"] * 100
    assert Counter(row["label"] for row in rows) == dict.fromkeys(INTENTS, 50)
    for split, numbers in zip(splits, ({37, 38}, {12, 13}), strict=True):
        assert set(Counter(row["label"] for row in split).values()) == numbers


def test_tokens_rebuild_the_text(rows):
    for row in rows:
        assert row["tokens"] == re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", row["text"])
        assert "".join(row["tokens"]) == row["text"].replace(" ", "")
        assert row["text"] == " ".join(row["text"].split()), row["text"]
        assert len(row["tokens"]) <= 40, row["text"]


def test_tags_are_bio_one_for_each_token(rows):
    tags = {"O"} | {f"{letter}-{slot}" for letter in "BI" for slot in SLOTS}
    for row in rows:
        assert len(row["tags"]) == len(row["tokens"]), row["text"]
        assert set(row["tags"]) <= tags, row["text"]
        for before, tag in zip(["O", *row["tags"]], row["tags"], strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:], row["text"]


def test_no_sentence_is_there_twice_or_nearly_in_both_splits(rows, splits):
    assert len({" ".join(row["tokens"]).lower() for row in rows}) == 400
    train, test = splits
    for row in test:
        near = max(train, key=lambda other: shared(row, other))
        assert shared(row, near) <= 0.6, (row["text"], near["text"])


def test_every_slot_occurs_often_enough(splits):
    for split, least in zip(splits, (40, 12), strict=True):
        numbers = {slot: fillers(split, slot).total() for slot in SLOTS}
        assert min(numbers.values()) >= least, numbers


def test_some_titles_and_people_of_the_test_are_new(splits):
    def names(rows, slot):  # a person is told by the surname
        return {name.split()[-1] if slot == "person" else name for name in fillers(rows, slot)}

    for slot, lowest, highest in (("film", 0.28, 0.38), ("person", 0.2, 0.3)):
        train, test = (names(rows, slot) for rows in splits)
        assert lowest <= len(test - train) / len(test) <= highest, test - train


def test_spans_keep_the_rules(rows):
    for slot in SLOTS - {"film"}:
        assert not {name for name in fillers(rows, slot) if name.split()[0] in OUTSIDE}
    numbers = "one two three four five six seven eight ten twenty pair couple 1 2 3"
    assert set(fillers(rows, "seats")) <= set(numbers.split())
    for row in rows:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            if token.lower() in {"tonight", "today", "tomorrow"}:
                assert tag in {"B-day", "B-film"}, row["text"]


def test_the_same_word_has_many_tags(rows):
    """As a number, in a title, in a name: what a word is, its neighbours tell."""
    slots = defaultdict(Counter)
    for row in rows:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            slots[token.lower()][tag[2:]] += 1
    for word, kinds in {
        "two": {"seats", "film", ""},
        "seven": {"seats", "time", "film", ""},
        "friday": {"day", "film", "cinema", "person"},
        "sunday": {"day", "film", "cinema"},
        "june": {"day", "person"},
        "harbour": {"film", "cinema", "person"},
        "row": {"place", "film", "person"},
        "western": {"genre", "film"},
    }.items():
        assert set(slots[word]) >= kinds, word


def test_the_most_frequent_tag_of_a_word_is_not_enough(splits):
    train, test = splits
    tags = defaultdict(Counter)
    for row in train:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            tags[token.lower()][tag] += 1
    usual = {token: counts.most_common(1)[0][0] for token, counts in tags.items()}
    right = guessed = wanted = 0
    for row in test:
        guess, truth = set(spans([usual.get(token.lower(), "O") for token in row["tokens"]])), set(spans(row["tags"]))
        right, guessed, wanted = right + len(guess & truth), guessed + len(guess), wanted + len(truth)
    assert 2 * right / (guessed + wanted) < 0.65


def test_counting_words_and_pairs_of_words_tells_most_intents_but_not_all(splits):
    train, test = ([[row[column] for row in rows] for column in ("text", "label")] for rows in splits)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000)).fit(*train)
    assert 0.7 < model.score(*test) < 0.85
