"""The shipped questions are what data/questions.json is for: answers that take reading, and questions without one."""

import json
import re
from collections import Counter

from bert_tutorial import score_baselines
from bert_tutorial.machine.fetching import shipped_file
from bert_tutorial.task_baselines import closest_sentence
from bert_tutorial.text.prose import split_sentences

import pytest

PATH = shipped_file("questions.json")
QUESTION_WORDS = {"who": "who", "whom": "who", "whose": "who", "what": "what", "which": "what"}
QUESTION_WORDS |= {word: word for word in ("where", "when", "why", "how")}
# An answer starts where its noun or verb does: "cellar", not "in the cellar"; "under the bandstand" would lose by it.
LEFT_OUT = re.compile(r"(an?|the|in|on|at|by|of|for|from|with|because) ", re.IGNORECASE)


@pytest.fixture(scope="module")
def films():
    squad = json.loads(PATH.read_text(encoding="utf-8"))
    assert squad["version"] == "v2.0"
    return squad["data"]


def questions(films, split=None):
    """Pairs of a context and a question about it."""
    for film in films:
        if split in (None, film["split"]):
            (paragraph,) = film["paragraphs"]
            for question in paragraph["qas"]:
                yield paragraph["context"], question


def words(text):
    return set(re.findall(r"\w+", text.lower()))


def closest(context, question):
    """The sentence that shares most words with the question, and which share of its words it has."""
    sentence, wanted = closest_sentence(question, context), words(question)
    return sentence, len(wanted & words(sentence)) / len(wanted)


def spans(question):
    return question["plausible_answers"] if question["is_impossible"] else question["answers"]


def test_layout_is_that_of_squad(films):
    for film in films:
        assert set(film) == {"title", "split", "paragraphs"}
        for paragraph in film["paragraphs"]:
            assert set(paragraph) == {"context", "qas"}
    for _, question in questions(films):
        keys = {"id", "question", "is_impossible", "answers"}
        assert set(question) == keys | ({"plausible_answers"} if question["is_impossible"] else set())
        assert all(set(answer) == {"text", "answer_start"} for answer in spans(question))


def test_films_are_split_and_numbered(films):
    assert Counter(film["split"] for film in films) == {"train": 48, "test": 12}
    ids = [question["id"] for _, question in questions(films)]
    assert ids == [f"film-{film:02}-{number}" for film in range(1, 61) for number in range(1, 6)]


def test_no_title_no_film_and_no_question_is_there_twice(films):
    assert len({film["title"].lower() for film in films}) == 60
    assert len({context for context, _ in questions(films)}) == 60
    assert len({question["question"].lower() for _, question in questions(films)}) == 300


def test_synopses_are_short_and_clean(films):
    for context in {context for context, _ in questions(films)}:
        assert 80 <= len(context.split()) <= 150, context
        assert len(split_sentences(context)) >= 5, context
        assert context == " ".join(context.split())
    for _, question in questions(films):
        assert re.fullmatch(r"[A-Z][^?\n]*[^\s?]\?", question["question"]), question


def test_answers_are_spans_of_whole_words(films):
    for context, question in questions(films):
        assert spans(question), question
        for answer in spans(question):
            text, start = answer["text"], answer["answer_start"]
            end = start + len(text)
            assert context[start:end] == text, question
            assert re.fullmatch(r"\w.*\w", text), question
            assert not re.match(r"\w", context[end : end + 1]), question
            assert start == 0 or not re.match(r"\w", context[start - 1]), question
            assert 1 <= len(text.split()) <= 8, question


def test_first_answers_leave_out_articles_and_plain_prepositions(films):
    for _, question in questions(films):
        assert not LEFT_OUT.match(spans(question)[0]["text"]), question


def test_questions_do_not_hold_their_answers(films):
    for _, question in questions(films):
        for answer in spans(question):
            assert not words(answer["text"]) <= words(question["question"]), question


def test_test_questions_have_several_answers(films):
    for split, numbers in (("train", {1}), ("test", {2, 3})):
        for _, question in questions(films, split):
            if not question["is_impossible"]:
                texts = {answer["text"] for answer in question["answers"]}
                assert len(texts) == len(question["answers"]), question
                assert len(texts) in numbers, question


def test_a_fifth_has_no_answer(films):
    for split, number in (("train", 48), ("test", 12)):
        impossible = [question for _, question in questions(films, split) if question["is_impossible"]]
        assert len(impossible) == number
        assert not any(question["answers"] for question in impossible)
        assert max(Counter(question["id"][:-2] for question in impossible).values()) <= 2


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("impossible", [False, True])
def test_question_words_are_spread(films, split, impossible):
    asked = [question for _, question in questions(films, split) if question["is_impossible"] == impossible]
    kinds = Counter(question_word(question["question"]) for question in asked)
    assert max(kinds.values()) <= 0.4 * len(asked), kinds
    if not impossible:
        assert set(kinds) == set(QUESTION_WORDS.values())


def question_word(question):
    return next(QUESTION_WORDS[word] for word in re.findall(r"\w+", question.lower()) if word in QUESTION_WORDS)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_sentence_that_shares_most_words_is_right_half_of_the_time(films, split):
    found = []
    for context, question in questions(films, split):
        if not question["is_impossible"]:
            sentence, _ = closest(context, question["question"])
            start = context.index(sentence)
            places = [answer["answer_start"] - start for answer in question["answers"]]
            found.append(any(0 <= place < len(sentence) for place in places))
    assert 0.4 <= sum(found) / len(found) <= 0.55


def test_shared_words_do_not_tell_which_questions_have_an_answer(films):
    shares = {True: [], False: []}
    for context, question in questions(films):
        _, share = closest(context, question["question"])
        shares[question["is_impossible"]].append(share)
    with_answer, without = (sum(values) / len(values) for values in (shares[False], shares[True]))
    assert with_answer == pytest.approx(without, abs=0.05)


def test_words_of_a_question_do_not_tell_whether_it_has_an_answer(films):
    train, test = (
        [
            (question["question"], int(question["is_impossible"]))
            for _, question in questions(films, split)
            for _ in range(4 if question["is_impossible"] else 1)  # so that a guess is right half of the time
        ]
        for split in ("train", "test")
    )
    for row in score_baselines(train, test):
        assert row.accuracy < 0.65, row.name
