"""What BERT has to beat, and the command that prints it."""

import json
import re

from bert_tutorial import load_reviews, score_baselines
from bert_tutorial.baselines import BASELINES, NBSVM, naive_bayes
from bert_tutorial.cli import main

import numpy as np
import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # of scikit-learn's, that it found no answer

NOT = [("good", 1), ("not good", 0), ("bad", 0), ("not bad", 1)] * 5


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["baseline", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def printed_rows(*arguments):
    return {row.pop("name"): row for row in map(json.loads, run(*arguments, "--json").stdout.splitlines())}


def test_shipped_reviews():
    """Naive Bayes was measured elsewhere, with scikit-learn alone: 0.96."""
    rows = printed_rows()
    assert list(rows) == list(BASELINES)
    assert rows["majority"]["accuracy"] == 0.5
    assert rows["naive Bayes"]["accuracy"] == pytest.approx(0.96, abs=0.03)
    for row in rows.values():
        assert row["count"] == 100
        assert row["low"] < row["accuracy"] < row["high"]
        assert row["seconds"] > 0
    again = score_baselines(load_reviews("train"), load_reviews("test"))
    assert {row.name: row.accuracy for row in again} == {name: row["accuracy"] for name, row in rows.items()}


def test_a_table(table):
    lines = run("--data", table, "--train-limit", 40, "--test-limit", 20).stdout.splitlines()
    assert lines[0] == "40 texts to train on, 20 for the test"
    name, *numbers = re.split(r"\s{2,}", lines[-1])
    assert (name, numbers[:2]) == ("NB-SVM", ["1.0000", "0.839 to 1.000"])
    assert [line[: lines[2].index("accuracy")].strip() for line in lines[3:]] == list(BASELINES)


def test_several_datasets(table):
    lines = run("--data", table, "--data", "sentences", "--train-limit", 40).stdout.splitlines()
    assert lines[0] == "80 texts to train on, 142 for the test"


@pytest.mark.slow
def test_real_reviews(imdb_sample):
    rows = printed_rows("--data", imdb_sample)
    assert all(row["accuracy"] > 0.8 for name, row in rows.items() if name != "majority")


def test_pairs_of_words_are_seen():
    """Naive Bayes sees them too, but adds their weights to those of the words in them."""
    scores = {row.name: row.accuracy for row in score_baselines(NOT, NOT)}
    assert scores["TF-IDF + logistic regression"] == 1
    assert "not good" in naive_bayes().fit(*zip(*NOT, strict=True))[0].vocabulary_


def test_nbsvm_between_its_two_ends(monkeypatch):
    """With beta 0 it answers as naive Bayes does, here with more texts of one class; with 1 as the machine alone."""
    train, test = load_reviews("train")[:-40], [text for text, _ in load_reviews("test")]
    texts, labels = zip(*train + [pair for pair in train if pair[1]], strict=True)
    monkeypatch.setattr(NBSVM, "BETA", 0)
    bayes = naive_bayes().set_params(countvectorizer__binary=True).fit(texts, labels)
    model = NBSVM().fit(texts, labels)
    ratio = np.subtract(*bayes.predict_log_proba(test).T[::-1])
    answer = model.words.transform(test) @ model.weights + model.bias
    np.testing.assert_allclose(answer / ratio, (answer / ratio)[0], rtol=1e-6)
    np.testing.assert_array_equal(model.predict(test), bayes.predict(test))
    monkeypatch.setattr(NBSVM, "BETA", 1)
    assert np.mean(NBSVM().fit(texts, labels).predict(texts) == labels) == 1


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([], NOT, "no texts"),
        (NOT, [], "no texts"),
        ([("good", 1)] * 3, NOT, "label 1"),
        ([("!", 1), ("?", 0)], NOT, "no words"),
    ],
)
def test_nothing_to_learn_from(train, test, message):
    with pytest.raises(ValueError, match=message):
        next(score_baselines(train, test))


def test_texts_without_known_words_get_an_answer():
    rows = list(score_baselines(NOT, [("?", 0), ("unheard", 1)]))
    assert [row.count for row in rows] == [2] * len(BASELINES)


@pytest.mark.parametrize(
    ("rows", "message"),
    [("train\t1\tgood\ntest\t1\tgood", "label 1"), ("train\t1\tgood", "'test'"), ("train\t2\tgood", "line 2")],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path, rows, message):
    path = tmp_path / "reviews.tsv"
    path.write_text(f"split\tlabel\ttext\n{rows}\n")
    error = run("--data", path, code=1).stderr
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert message in error


def test_bad_usage():
    assert "--train-limit" in run("--train-limit", 1, code=2).stderr
    assert "sample, sentences, imdb" in run("--data", "nowhere", code=1).stderr
