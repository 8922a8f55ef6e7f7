"""What BERT has to beat in the other tasks, and `baseline --task`."""

import json

from bert_tutorial.cli import main
from bert_tutorial.task_baselines import closest_sentence, most_frequent_tags, score_task_baselines
from bert_tutorial.text.examples import Example
from bert_tutorial.text.squad import load_questions, score_answers
from bert_tutorial.text.tagged import TaggedSentence

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

COUNTERS = ["majority", "naive Bayes", "TF-IDF + logistic regression"]
WEATHER = [("rain all day", "wet"), ("sun all day", "dry"), ("a wind from the north", "windy")] * 4
BOTH = [("rain", ("wet",)), ("wind and rain", ("wet", "windy")), ("wind", ("windy",)), ("sun", ())] * 4
PAIRS = [("the hen saw a fox", "a fox the hen saw", "1"), ("the hen ran", "an owl sleeps", "0")] * 6
STARS = [("good", None, 4.0), ("bad", None, 1.0), ("good and bad", None, 2.5)] * 4
LIKENESS = [("a hen", "a hen", 5.0), ("hen fox", "hen owl", 3.0), ("a hen", "an owl", 0.0)] * 4


def examples(rows):
    return [Example(*(row if len(row) == 3 else (row[0], None, row[1])), "row") for row in rows]


def scores(task, rows):
    return dict(score_task_baselines(task, examples(rows), examples(rows)))


def test_classes():
    found = scores("classify", WEATHER)
    assert list(found) == COUNTERS
    assert found["majority"] == {"accuracy": pytest.approx(1 / 3), "macro_f1": pytest.approx(1 / 6), "count": 12}
    assert found["naive Bayes"]["macro_f1"] == found["TF-IDF + logistic regression"]["accuracy"] == 1


def test_several_labels_are_as_many_questions():
    found = scores("classify", BOTH)
    assert list(found) == COUNTERS
    assert found["TF-IDF + logistic regression"]["accuracy"] == 1
    assert found["majority"]["accuracy"] == 1 / 4  # of each label half, which counts as no


def test_a_pair_is_seen_through_its_shared_words():
    found = scores("classify", PAIRS)
    assert list(found) == [*COUNTERS, "shared words"]
    assert found["shared words"]["accuracy"] == 1


def test_numbers():
    found = scores("regress", STARS)
    assert list(found) == ["TF-IDF + ridge regression"]
    assert found["TF-IDF + ridge regression"]["spearman"] > 0.9
    assert scores("regress", LIKENESS)["shared words"]["pearson"] > 0.9


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_no_words(task):
    with pytest.raises(ValueError, match="no words"):
        scores(task, [("?", 1), ("!", 0)])


@pytest.mark.parametrize(
    ("task", "data", "names", "metric"),
    [
        ("classify", "tickets", COUNTERS, "macro_f1"),
        ("classify", "pairs", [*COUNTERS, "shared words"], "accuracy"),
        ("tag", "tickets", ["most frequent tag of a word"], "f1"),
        ("answer", "questions", ["sentence that shares most words"], "exact_match"),
    ],
)
def test_the_command(task, data, names, metric):
    result = CliRunner().invoke(main, ["baseline", "--task", task, "--data", data, "--json"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["name"] for row in rows] == names
    assert all(0 <= row[metric] <= 1 for row in rows)
    lines = CliRunner().invoke(main, ["baseline", "--task", task, "--data", data]).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == names
    assert all(("95 %" in line) == (task == "classify") for line in lines)  # words are no independent samples


def test_several_labels_are_of_classify():
    result = CliRunner().invoke(main, ["baseline", "--task", "tag", "--data", "tickets", "--multi-label"])
    assert (result.exit_code, "classify" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("Who likes the hen?", "It likes a hen."),
        ("Whom did the CAT see?", "The cat sees the dog."),  # two of its words; the others have one
        ("Where?", "The cat sees the dog."),
    ],
)
def test_the_closest_sentence_shares_most_words(question, sentence):
    assert closest_sentence(question, "The cat sees the dog. It likes a hen.\nThe fox came.") == sentence
    assert closest_sentence(question, " ") == ""


def test_the_closest_sentence_is_no_good_answer():
    """It holds every second answer (see test_questions.py), and much else."""
    questions = load_questions("questions", "test")
    answers = [closest_sentence(question.question, question.context) for question in questions]
    score = score_answers(answers, questions)
    assert score["exact_match"] == 0
    assert 0.05 < score["f1"] < 0.2
    assert score["no_answer_accuracy"] == 0


def test_most_frequent_tags():
    rows = [("a b", "B-x O"), ("a b", "O B-x"), ("a A", "B-y B-x"), ("a", "B-y")]
    train = [TaggedSentence(words.split(), tags.split(), "own.jsonl", 1, False) for words, tags in rows]
    assert most_frequent_tags(train)([["A", "a", "c"], [], ["b"]]) == [["B-x", "B-y", "O"], [], ["O"]]
