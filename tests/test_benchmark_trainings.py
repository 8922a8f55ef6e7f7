"""The benchmarks that train many networks: what is done is not done again; how each network is trained and scored."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import bert_tutorial as bt
from benchmarks import few_labels, label_curve, readings
from benchmarks.readings import WAYS, score
from benchmarks.results import Results
from benchmarks.trainings import ParameterMean, decay_rates, digest_of_reviews, start
from bert_tutorial.weights.config import read_config

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from golden_weights import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from mxnet import nd

SMALL = {"pretrained": "small", "epochs": 1, "max_length": 32, "readings": ["head 32"]}
BASE = {**few_labels.BASE, **SMALL}
EVERY_WAY = ["head 32", *(f"{way} 16" for way in WAYS)]


@pytest.fixture(scope="module")
def imdb(tmp_path_factory):
    """Reviews in the original layout: 20 to train on, 12 for the test."""
    folder = tmp_path_factory.mktemp("aclImdb")
    draw = random.Random(1)
    for split, count in (("train", 10), ("test", 6)):
        for label, stars, words in (("pos", 9, "great good fine"), ("neg", 2, "awful bad poor")):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                text = " ".join(draw.choices([*words.split(), "the", "film", "was", "and"], k=draw.randint(5, 60)))
                (folder / split / label / f"{i}_{stars}.txt").write_text(f"A {words.split()[0]} film. {text}")
    return folder


@pytest.fixture(autouse=True)
def no_reviews_elsewhere(monkeypatch):
    monkeypatch.delenv("BERT_TUTORIAL_IMDB", raising=False)


@pytest.fixture
def small_recipes(monkeypatch):
    """Recipes of moments; of IMDB's reviews 8 to learn from."""
    monkeypatch.setattr(few_labels, "BASE", BASE)
    monkeypatch.setattr(few_labels, "LABELS", (8,))
    monkeypatch.setattr(
        few_labels, "CELLS", {"base": {"readings": EVERY_WAY}, "[CLS]": {"pooling": "cls"}, "mean": {"averaged": 0.5}}
    )


def invoke(command, *arguments):
    result = CliRunner().invoke(command, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result


def test_recipes_are_trained_once_and_shown_again(small_recipes, imdb, tmp_path):
    file = tmp_path / "new" / "results.jsonl"
    options = ("--seeds", 1, "--results", file)
    first = invoke(few_labels.main, "--imdb", imdb, *options)
    lines = file.read_text().splitlines()
    assert len(lines) == 1 + 3  # the bag of words, then three recipes
    for name in ("base", "base, read: mean of windows 16", "[CLS]", "mean", "NB-SVM"):
        assert f"\n| {name} | " in first.stdout
    assert "majority" not in first.stdout
    assert "3 of 3" not in first.stdout  # progress is not part of the table
    file.write_text("\n".join(lines[:-1]) + "\n")
    second = invoke(few_labels.main, "--imdb", imdb, *options)
    assert "1 of 1" in second.stderr
    *same, last = map(json.loads, file.read_text().splitlines())
    assert same == list(map(json.loads, lines[:-1]))
    assert last["accuracy"] == json.loads(lines[-1])["accuracy"]
    assert invoke(few_labels.main, "--show", "--results", file).stdout == second.stdout
    third = invoke(few_labels.main, "--imdb", imdb, *options)
    assert (third.stdout, third.stderr) == (second.stdout, "")


def test_one_recipe_alone(small_recipes, imdb, tmp_path):
    file = tmp_path / "results.jsonl"
    invoke(few_labels.main, "--imdb", imdb, "--seeds", 1, "--results", file, "base")
    assert [json.loads(line)["settings"].get("pooling") for line in file.read_text().splitlines()] == [None, "mean"]


def test_table_has_medians_and_spreads(small_recipes, tmp_path):
    results = Results(tmp_path / "results.jsonl")
    for seed, accuracy in enumerate((0.70, 0.90, 0.75), start=1):
        settings = {**BASE, "pooling": "cls", "labels": 8, "seed": seed}
        results.add(settings, {"accuracy": {"head 32": accuracy}, "count": 100, "seconds": 10.0 * seed})
    other = {**BASE, "pooling": "cls", "lr": 1.0, "labels": 8, "seed": 1}
    results.add(other, {"accuracy": {"head 32": 0.0}, "count": 100, "seconds": 1.0})
    *_, row = few_labels.table_of(Results(results.path), 8).splitlines()
    assert row == "| [CLS] | 0.7500 | 0.657 to 0.825 | 0.700 | 0.900 | 0.200 | 3 | 20 |"


@pytest.mark.parametrize("command", [few_labels.main, label_curve.main])
def test_without_reviews_there_is_one_clear_error(command, tmp_path):
    result = CliRunner().invoke(command, ["--results", str(tmp_path / "results.jsonl")])
    assert result.exit_code == 2
    assert "--imdb PATH, or set BERT_TUTORIAL_IMDB" in result.output
    assert not list(tmp_path.iterdir())


def test_too_few_reviews_are_an_error_before_any_training(small_recipes, imdb, tmp_path, monkeypatch):
    monkeypatch.setattr(few_labels, "LABELS", (8, 2000))
    file = tmp_path / "results.jsonl"
    result = CliRunner().invoke(few_labels.main, ["--imdb", str(imdb), "--results", str(file)])
    assert result.exit_code == 1
    assert "has not 2,000 training reviews" in result.output
    assert not file.exists()


@pytest.mark.parametrize(
    ("key", "message"), [("reviews", "trainings on other reviews"), ("weights", "trainings of another small")]
)
def test_other_reviews_or_weights_do_not_get_into_the_same_table(small_recipes, imdb, tmp_path, key, message):
    file = tmp_path / "results.jsonl"
    options = ["--imdb", str(imdb), "--seeds", "1", "--results", str(file), "base"]
    invoke(few_labels.main, *options)
    rows = list(map(json.loads, file.read_text().splitlines()))
    for row in rows:
        row["settings"] |= {key: "other"} if key in row["settings"] else {}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(few_labels.main, options)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize("line", ['{"settings": {"se', "3", "{}"])
def test_a_damaged_line_is_named(tmp_path, line):
    file = tmp_path / "results.jsonl"
    file.write_text(line)
    result = CliRunner().invoke(few_labels.main, ["--show", "--results", str(file)])
    assert result.exit_code == 1
    assert "results.jsonl, line 1, is no finished training" in result.output


@pytest.mark.parametrize("command", [few_labels.main, label_curve.main])
def test_nothing_to_show_is_said(command, tmp_path):
    result = CliRunner().invoke(command, ["--show", "--results", str(tmp_path / "results.jsonl")])
    assert result.exit_code == 1
    assert "there are no results" in result.output


@pytest.mark.slow
def test_label_curve_is_a_table_and_a_figure(imdb, tmp_path, monkeypatch):
    monkeypatch.setattr(label_curve, "LEAST_STEPS", 4)
    monkeypatch.setattr(label_curve, "RATES", (1e-4, 1e-3))
    monkeypatch.setattr(label_curve, "BASE", {**BASE, "max_length": 256})  # more than `small` can read
    file, figure = tmp_path / "results.jsonl", tmp_path / "curve.png"
    options = ["--pretrained", "small", "--seeds", 2, "--results", file]
    first = invoke(label_curve.main, "--imdb", imdb, *options, "--figure", figure)
    header, _, few, everything, *_ = first.stdout.splitlines()
    assert header == "| labels | small | small, random weights | naive Bayes | TF-IDF + logistic regression | seeds |"
    assert few.startswith("| 16 | ")
    assert few.endswith(" | 2 |")
    assert everything.startswith("| 20 | ")
    rows = list(map(json.loads, file.read_text().splitlines()))
    pilots, rows = rows[:4], rows[4:]
    assert [row["settings"]["labels"] for row in pilots] == [10] * 4
    for origin in ("pre-trained", "random"):
        trials = [row for row in pilots if row["settings"]["start"] == origin]
        best = max(trials, key=label_curve.read)["settings"]["lr"]
        assert {row["settings"]["lr"] for row in rows if row["settings"]["start"] == origin} == {best}
    assert len(rows) == 2 * 2 * 3
    assert {row["settings"].get("max_length") for row in rows} == {64, None}
    assert {row["settings"].get("epochs") for row in rows} == {4, 2, None}
    assert figure.read_bytes().startswith(b"\x89PNG")
    shown = invoke(label_curve.main, "--show", "--results", file, "--figure", tmp_path / "curve.svg")
    assert shown.stdout == first.stdout
    assert "random weights" not in invoke(label_curve.main, "--imdb", imdb, *options).stderr  # nothing was done again
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_curves_have_a_band_and_a_name_each():
    found = {"film": {16: [0.6, 0.7, 0.8], 300: [0.8]}, "naive Bayes": {16: [0.5, 0.6], 300: [0.9]}}
    (axes,) = label_curve.plot(found).axes
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[0.7, 0.8], [0.55, 0.9]]
    assert axes.get_xscale() == "log"
    assert len(axes.collections) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["naive Bayes", "film"]  # as the lines end


@given(st.integers(1, 30_000))
def test_few_labels_are_read_often_enough(labels):
    settings = label_curve.recipe(labels)
    assert settings["epochs"] >= few_labels.BASE["epochs"]
    assert settings["epochs"] * math.ceil(labels / settings["batch_size"]) >= 100


def test_all_networks_of_the_curve_read_equally_much():
    positions = read_config(GOLDEN / "one-layer")["max_position_embeddings"]
    assert positions < 64, "fewer than small has"
    found = list(label_curve.networks(["small", str(GOLDEN / "one-layer")]))
    assert [row["start"] for row in found] == ["pre-trained", "pre-trained", "random"]
    assert [row["pretrained"] for row in found] == ["small", str(GOLDEN / "one-layer"), "small"]
    assert {(row["max_length"], *row["readings"]) for row in found} == {(positions, f"head {positions}")}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_costs_only_the_training_in_hand(imdb, tmp_path, number):
    file, log = tmp_path / "results.jsonl", tmp_path / "log"  # a pipe that nobody reads would stop it
    options = ["--imdb", imdb, "--pretrained", "small", "--results", file]
    command = list(map(str, [sys.executable, "-m", "benchmarks.label_curve", *options]))
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stderr=errors)
    while process.poll() is None and "2 of " not in log.read_text():  # the first is done
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) != 0
    assert "Traceback" not in log.read_text()
    assert len(Results(file).rows) >= 1


@given(st.integers(0, 200), st.integers(4, 60))
def test_every_way_to_read_fits_and_windows_leave_nothing_out(length, room):
    pieces = np.arange(length)
    parts = {way: of(pieces, room) for way, of in WAYS.items()}
    assert all(len(part) <= room for own in parts.values() for part in own)
    np.testing.assert_array_equal(np.concatenate(parts["mean of windows"]), pieces)
    if length <= room:
        assert all([list(part) for part in own] == [list(pieces)] for own in parts.values())
    else:
        assert (*parts["head"][0][[0, -1]], *parts["tail"][0][[0, -1]]) == (0, room - 1, length - room, length - 1)
        assert (len(parts["head + tail"][0]), *parts["head + tail"][0][[0, -1]]) == (room, 0, length - 1)


def test_head_scores_as_evaluate_does(imdb):
    test = list(bt.load_imdb("test", imdb))
    classifier = start({**BASE, "seed": 1})
    expected = bt.evaluate(classifier.net, classifier.batches(test, 5), mx.cpu()).accuracy
    assert score(classifier, test, EVERY_WAY)["head 32"] == pytest.approx(expected)


def test_logits_come_in_the_order_of_the_parts(imdb):
    classifier = start({**BASE, "seed": 1, "max_length": 64})
    texts = [text for text, _ in bt.load_imdb("test", imdb)]
    parts = [ids[1:-1] for ids in classifier.tokenizer.encode_batch(texts, 64)]
    odds = [math.log(p / (1 - p)) for p in classifier.predict(texts)]
    np.testing.assert_allclose(readings.logits(classifier, parts), odds, rtol=1e-3, atol=1e-5)


def test_windows_are_averaged_review_by_review(monkeypatch):
    classifier = start({**BASE, "seed": 1})
    good = classifier.vocabulary["good"]
    monkeypatch.setattr(
        readings, "logits", lambda _, parts: np.array([3.0 if good in part else -1.0 for part in parts])
    )
    test = [
        ("film " * 30 + "good", 1),
        ("film " * 50 + "good", 0),
        ("good", 1),
        ("film", 1),
    ]  # of 10 pieces: 4 windows, 6
    assert score(classifier, test, ["mean of windows 12", "head 12"]) == {"mean of windows 12": 0.5, "head 12": 0.5}


def test_mean_of_the_parameters_after_the_last_steps():
    net = mx.gluon.nn.Dense(1, in_units=1)
    net.initialize()
    batches = ParameterMean(net, ["first", "second"], after=1)
    for step in (1, 2, 3, 4):  # two epochs
        if step % 2:
            epoch = iter(batches)
        next(epoch)
        net.weight.set_data(nd.array([[10.0**step]]))
    batches.put_in()
    assert net.weight.data().asscalar() == pytest.approx((100 + 1000 + 10000) / 3)


def test_no_step_counts_when_none_is_to():
    net = mx.gluon.nn.Dense(1, in_units=1)
    net.initialize()
    batches = ParameterMean(net, ["only"], after=1)
    list(batches)
    net.weight.set_data(nd.array([[7.0]]))
    batches.put_in()
    assert net.weight.data().asscalar() == 7


def test_rates_decay_from_the_top():
    net = start({**BASE, "pooling": "pooler", "layer_decay": 0.5}).net
    below, top = net.bert.encoder.blks
    expected = [(net.classifier, 1), (net.bert.pooler, 0.5), (top, 0.5), (below, 0.25), (net.bert.encoder.norm, 0.125)]
    for block, rate in expected:
        assert {parameter.lr_mult for parameter in block.collect_params().values()} == {rate}
    decay_rates(net.bert, 1.0)
    assert {parameter.lr_mult for parameter in net.collect_params().values()} == {1}


def values(net):
    return {name: parameter.data().asnumpy() for name, parameter in net.bert._collect_params_with_prefix().items()}


def test_starts_differ_in_what_they_say():
    plain, anew, untrained = (
        values(start({**BASE, **own}).net) for own in ({}, {"top_layers_anew": 1}, {"start": "random"})
    )
    changed = {name for name in plain if not np.array_equal(plain[name], anew[name])}
    assert changed
    assert all(name.startswith("encoder.blks.1.") for name in changed)
    assert {name: value.shape for name, value in untrained.items()} == {n: value.shape for n, value in plain.items()}
    assert all(not np.array_equal(plain[name], untrained[name]) for name in plain if name.endswith("weight"))
    assert untrained["encoder.word_embed.weight"].std() == pytest.approx(128**-0.5, rel=0.05)


def test_digest_is_of_texts_labels_and_order():
    one, other = ("a", 1), ("b", 0)
    digests = {digest_of_reviews(reviews) for reviews in ([one, other], [other, one], [("a", 0), other], [one])}
    assert len(digests) == 4
    assert digest_of_reviews([one], [other]) == digest_of_reviews([one, other])
