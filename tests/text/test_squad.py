"""SQuAD's files, what is wrong with them, and its metrics."""

import json

from bert_tutorial.machine.fetching import shipped_file
from bert_tutorial.text.squad import Question, exact_match, f1, load_questions, normalize, score_answers

import pytest

CONTEXT = "Ana Ruiz runs a cinema in Łódź. It burns down in 1931."


def question(id="q1", answers=(("Ana Ruiz", 0),), **other):
    return {
        "id": id,
        "question": "Who runs a cinema?",
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
        **other,
    }


def entry(*questions, context=CONTEXT, **other):
    return {"title": "Cinema", "paragraphs": [{"context": context, "qas": list(questions)}], **other}


def write(path, *entries):
    path.write_text(json.dumps({"version": "v2.0", "data": list(entries)}), encoding="utf-8")
    return path


def test_the_shipped_questions():
    train, valid, test = (load_questions(shipped_file("questions.json"), split) for split in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (240, 0, 60)
    for one in train + test:
        assert all(one.context[start:].startswith(text) for text, start in one.answers)
    assert sum(not one.answers for one in test) == 12
    assert max(len(one.answers) for one in test) == 3
    assert (
        load_questions([shipped_file("questions.json")] * 2, "test", 5)
        == load_questions(shipped_file("questions.json"), "test", 5) * 2
    )


def test_a_file_with_splits(tmp_path):
    entries = [entry(question(split), split=split) for split in ("train", "dev", "test", "other")]
    path = write(tmp_path / "q.json", *entries)
    for split, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        (found,) = load_questions(path, split)
        assert found == Question("Who runs a cinema?", CONTEXT, (("Ana Ruiz", 0),), f"{path}, question {name!r}")
    write(path, entry(question(), split="train"))
    with pytest.raises(ValueError, match="no question whose split is 'test'"):
        load_questions(path, "test")


@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
def test_a_folder_of_squad(tmp_path, version):
    impossible = [question("q2", (), is_impossible=True, plausible_answers=[])] * (version == "v2.0")
    write(tmp_path / f"train-{version}.json", entry(question("q1"), *impossible))
    write(tmp_path / f"dev-{version}.json", entry(question("q3", (("1931", 49), ("in 1931", 46)))))
    assert [bool(one.answers) for one in load_questions(tmp_path, "train")] == [True, False][: 1 + len(impossible)]
    assert load_questions(str(tmp_path), "test")[0].texts == ["1931", "in 1931"]
    assert load_questions(tmp_path, "valid") == []
    (tmp_path / f"dev-{version}.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no dev-v1\.1\.json and no dev-v2\.0\.json"):
        load_questions(tmp_path, "test")


def test_a_folder_of_both_versions(tmp_path):
    for version in ("v1.1", "v2.0"):
        write(tmp_path / f"train-{version}.json", entry(question()))
    with pytest.raises(ValueError, match=r"both train-v1\.1\.json and train-v2\.0\.json: leave one"):
        load_questions(tmp_path, "train")


def test_one_file_of_squad_is_for_training(tmp_path):
    path = write(tmp_path / "train-v2.0.json", entry(question()))
    assert len(load_questions(path, "train")) == 1
    assert load_questions(path, "valid") == []
    with pytest.raises(ValueError, match=r'give each "split": "train" or "test", or give a folder'):
        load_questions(path, "test")


WITHOUT = {
    "data": lambda content: content.pop("data"),
    "title": lambda content: content["data"][0].pop("title"),
    "split": lambda content: content["data"][0].pop("split"),
    "paragraphs": lambda content: content["data"][0].pop("paragraphs"),
    "context": lambda content: content["data"][0]["paragraphs"][0].pop("context"),
    "qas": lambda content: content["data"][0]["paragraphs"][0].pop("qas"),
    "id": lambda content: content["data"][0]["paragraphs"][0]["qas"][0].pop("id"),
    "question": lambda content: content["data"][0]["paragraphs"][0]["qas"][0].pop("question"),
    "answers": lambda content: content["data"][0]["paragraphs"][0]["qas"][0].pop("answers"),
    "text": lambda content: content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0].pop("text"),
    "answer_start": lambda content: content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0].pop("answer_start"),
}


@pytest.mark.parametrize("key", WITHOUT)
def test_a_missing_key_is_named(tmp_path, key):
    content = {"data": [entry(question(), split="train"), entry(question("q2"), split="train")]}
    WITHOUT[key](content)
    path = tmp_path / "q.json"
    path.write_text(json.dumps(content))
    where = {"data": "", "title": ", entry 1", "question": ", question 'q1'"}
    where |= dict.fromkeys(("answers", "text", "answer_start"), ", question 'q1'")
    with pytest.raises(ValueError, match=f"^{path}{where.get(key, ', .Cinema.')}: no key '{key}'$"):
        load_questions(path, "train")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (question(answers=[("Ana Ruiz", 4)]), "question 'q1': at answer_start 4 the context has 'Ruiz run', not the"),
        (question(answers=[("1931", 99)]), "answer_start is 99, but the context has 54 characters"),
        (question(answers=[("1931", -5)]), "answer_start is -5, but"),
        (question(answers=[("1931", "49")]), "'answer_start' must be a whole number, not '49'"),
        (question(answers=[("1931", True)]), "'answer_start' must be a whole number, not 'True'"),
        (question(answers=[(" ", 3)]), "an answer is empty"),
        (question(answers=[]), "no answer, but is_impossible is False"),
        (question(is_impossible="no"), "there are answers, but is_impossible is 'no'"),
        (question(is_impossible=True), "there are answers, but is_impossible is True"),
        (question(question=" "), "the question is empty"),
        (question(question=7), "'question' must be a string, not '7'"),
        ("who?", "there must be a JSON object with the key 'id', not 'who\\?'"),
    ],
)
def test_a_wrong_question_is_named(tmp_path, wrong, message):
    path = write(tmp_path / "q.json", entry(wrong))
    with pytest.raises(ValueError, match=message) as caught:
        load_questions(path, "train")
    assert str(caught.value).startswith(f"{path}, ")


def test_an_empty_context_is_named(tmp_path):
    path = write(tmp_path / "q.json", entry(question(), context=" \n"))
    with pytest.raises(ValueError, match=f"^{path}, 'Cinema': a context is empty"):
        load_questions(path, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"split\tlabel", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "there must be a JSON object with the key 'data'"),
        (b'{"data": {}}', "'data' must be a list"),
        ('{"data": "grün"}'.encode("latin-1"), "is not UTF-8"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "q.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        load_questions(path, "train")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_questions(tmp_path / "other.json", "train")


@pytest.mark.parametrize(
    ("answer", "right", "exact", "shared"),
    [
        ("The  cat,", "a Cat.", 1, 1),
        ("Ruiz", "Ana Ruiz", 0, 2 / 3),
        ("a black cat sat", "the cat sat down", 0, 2 / 3),
        ("the cat the cat", "cat dog", 0, 0.5),
        ("dog", "cat", 0, 0),
        ("", "", 1, 1),
        ("", "cat", 0, 0),
        ("the", "", 1, 1),
        ("in 1931", "1931", 0, 2 / 3),
    ],
)
def test_exact_match_and_f1(answer, right, exact, shared):
    assert exact_match(answer, right) == exact
    assert f1(answer, right) == pytest.approx(shared)
    assert f1(right, answer) == pytest.approx(shared)


def test_normal_form():
    assert normalize(" An  Anthem, the\tO'Neill's—a test! ") == "anthem oneills— test"


def test_scores_are_the_best_over_the_answers():
    asked = [
        Question("", "", (("Ana Ruiz", 0), ("Ruiz", 4)), ""),
        Question("", "", (("in 1931", 0),), ""),
        Question("", "", (), ""),
        Question("", "", (), ""),
    ]
    assert score_answers(["ruiz", "1931", "", "Ana"], asked) == {
        "exact_match": 0.5,
        "f1": pytest.approx((1 + 2 / 3 + 1) / 4),
        "no_answer_accuracy": 0.5,
        "count": 4,
    }
    assert set(score_answers(["ruiz"], asked[:1])) == {"exact_match", "f1", "count"}
