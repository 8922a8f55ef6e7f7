"""Numbers from a table."""

import json
import math

import bert_tutorial as bt
from bert_tutorial.cli import main
from bert_tutorial.text.examples import Example

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import pearsonr, spearmanr


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """How often a text says "great", from 100 up by 20."""
    rows = [
        f"{split}\t{100 + 20 * times}\tthe film {i} was {'great ' * times}{'awful ' * (4 - times)}"
        for split, count in (("train", 40), ("test", 6))
        for i in range(count)
        for times in range(5)
    ]
    path = tmp_path_factory.mktemp("stars") / "stars.tsv"
    path.write_text("\n".join(["split\tlabel\ttext", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(stars, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ["--task", "regress", "--pretrained", tiny_checkpoint, "--lr", 5e-3, "--epochs", 6, "--max-length", 32]
    arguments = ["finetune", *options, "--data", stars, "--output", folder]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_a_run_of_the_command(run, stars):
    folder, printed = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["pearson"] > 0.9
    assert f"test pearson {metrics['pearson']:.4f}, spearman {metrics['spearman']:.4f} on 30 texts" in printed
    result = CliRunner().invoke(main, ["evaluate", str(folder), "--data", str(stars), "--json"])
    assert json.loads(result.output) == {name: metrics[name] for name in ("pearson", "spearman", "loss", "count")}
    texts = ["the film 1 was awful awful awful awful", "the film 1 was great great great great"]
    result = CliRunner().invoke(main, ["predict", str(folder), *texts, "--json"])
    low, high = (json.loads(line)["value"] for line in result.output.splitlines())
    assert 80 < low < 130 < 150 < high < 200, "in the units of the table"


def test_scores_are_scipys(run, stars):
    regressor = bt.TextRegressor.load(run[0])
    examples = regressor.read(stars, "test")
    labels, texts = [example.label for example in examples], [example.text for example in examples]
    values = regressor.predict(texts, batch_size=7)
    score = regressor.score(examples, 5)
    assert score["pearson"] == pytest.approx(pearsonr(labels, values)[0], abs=1e-5)
    assert score["spearman"] == pytest.approx(spearmanr(labels, values)[0], abs=1e-3)
    deviation = regressor.config["scale"][1]
    assert score["loss"] == pytest.approx(np.mean((values - labels) ** 2) / 2 / deviation**2, rel=1e-3)


def test_the_scale_is_that_of_the_training_numbers(run):
    mean, deviation = bt.TextRegressor.load(run[0]).config["scale"]
    assert (mean, deviation) == pytest.approx((140, np.std([100, 120, 140, 160, 180])))


def test_equal_labels_have_no_correlation(tiny_checkpoint):
    regressor = bt.TextRegressor.from_pretrained(tiny_checkpoint, 16)
    score = regressor.score([Example("great", None, 1.0, ""), Example("awful", None, 1.0, "")])
    assert math.isnan(score["pearson"])
    assert math.isnan(score["spearman"])
    with pytest.raises(ValueError, match="all 2 training texts have the same label, 1"):
        bt.TextRegressor.answers_of([Example("great", None, 1.0, ""), Example("awful", None, 1.0, "")])


def test_pairs_have_numbers_too(tiny_checkpoint):
    regressor = bt.TextRegressor.from_pretrained(tiny_checkpoint, 16, mean=3, deviation=2)
    (alone,), (paired,) = regressor.predict(["great"]), regressor.predict(["great"], ["awful"])
    assert alone != paired
    assert list(regressor.answer(["great"])) == [{"value": pytest.approx(alone)}]
