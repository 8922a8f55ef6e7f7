"""Classes from a table: learned, scored, kept, and answered by the command."""

import json
import math
from collections import Counter

import bert_tutorial as bt
from bert_tutorial.cli import main
from bert_tutorial.tasks.classify import balanced_weights
from bert_tutorial.text.examples import Example
from bert_tutorial.training import loop

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.utils.class_weight import compute_class_weight

KINDS = {"praise": "great great great", "pan": "awful awful awful", "neither": "the the the"}


def write(path, rows, header="split\tlabel\ttext"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Three classes that the tiny network can tell apart."""
    rows = [
        f"{split}\t{label}\tthe film {i} was {words}"
        for split, count in (("train", 50), ("test", 7))
        for i in range(count)
        for label, words in KINDS.items()
    ]
    return write(tmp_path_factory.mktemp("kinds") / "kinds.tsv", rows)


def invoke(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert not result.exception or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.fixture(scope="module")
def run(kinds, tiny_checkpoint, tmp_path_factory):
    """The folder of a finished run, and what was printed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ["--task", "classify", "--pretrained", tiny_checkpoint, "--lr", 3e-3, "--epochs", 4, "--max-length", 32]
    result = invoke("finetune", *options, "--data", kinds, "--output", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_a_run_of_the_command(run, kinds):
    folder, printed = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9
    assert f"test accuracy {metrics['accuracy']:.4f} (95 %:" in printed
    assert f"macro f1 {metrics['macro_f1']:.4f} on 21 texts" in printed
    score = json.loads(invoke("evaluate", folder, "--data", kinds, "--json").output)
    assert score == {name: metrics[name] for name in ("accuracy", "macro_f1", "loss", "count", "confusion")}
    lines = invoke("evaluate", folder, "--data", kinds).output.splitlines()
    assert lines[2].split() == ["neither", "pan", "praise", "answered"]
    assert [line.split()[0] for line in lines[3:]] == ["neither", "pan", "praise"]


def test_answers_of_the_command(run):
    folder, _ = run
    texts = ["the film 3 was great great great", "the film 3 was the the the"]
    lines = invoke("predict", folder, *texts, "--json").output.splitlines()
    found = [json.loads(line) for line in lines]
    assert [row["text"] for row in found] == texts
    assert [row["label"] for row in found] == ["praise", "neither"]
    assert all(1 / 3 < row["probability"] <= 1 for row in found)
    plain = invoke("predict", folder, texts[0]).output
    assert plain == f"praise  {found[0]['probability']:.3f}  {texts[0]}\n"


def test_what_is_kept_is_loaded_and_hugging_faces(run):
    folder, _ = run
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "neither", "1": "pan", "2": "praise"}
    assert config["problem_type"] == "single_label_classification"
    assert config["architectures"] == ["BertForSequenceClassification"]
    classifier = bt.TextClassifier.load(folder)
    assert classifier.labels == ["neither", "pan", "praise"]
    probabilities = classifier.predict(["awful awful awful"])
    assert probabilities.shape == (1, 3)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="fine-tuned for the task 'classify', not 'sentiment'"):
        bt.SentimentClassifier.load(folder)


def test_a_sentiment_classifier_is_no_text_classifier(tiny_checkpoint, tmp_path):
    bt.SentimentClassifier.from_pretrained(tiny_checkpoint, 16).save(tmp_path)
    with pytest.raises(ValueError, match="the task 'sentiment', not 'classify'"):
        bt.TextClassifier.load(tmp_path)


def test_a_resumed_run_has_the_same_bits(tiny_checkpoint, kinds, run, tmp_path, monkeypatch):
    stopped = []

    def stop(training):
        stopped.append(training)
        if len(stopped) == 2:
            raise KeyboardInterrupt

    options = {"lr": 3e-3, "epochs": 4, "max_length": 32, "output": tmp_path / "run"}
    from bert_tutorial.training.run import Training

    save = Training.finish_round
    monkeypatch.setattr(Training, "finish_round", lambda self, row: (save(self, row), self.save(), stop(self)))
    with pytest.raises(KeyboardInterrupt):
        bt.finetune_task("classify", str(kinds), str(tiny_checkpoint), **options)
    monkeypatch.undo()
    bt.finetune_task("classify", str(kinds), str(tiny_checkpoint), **options, resume=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run[0] / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint):
    return bt.TextClassifier.from_pretrained(tiny_checkpoint, 16, labels=["a", "b", "c"])


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 5))
def test_metrics_are_scikit_learns(classifier, labels, batch_size):
    texts = ["great " * i for i in range(1, 1 + len(labels))]
    examples = [Example(text, None, label, "") for text, label in zip(texts, labels, strict=True)]
    score = classifier.score(examples, batch_size)
    answers = [row["label"] for row in classifier.answer(texts)]
    assert score["count"] == len(labels)
    assert score["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(answers, labels, strict=True)]))
    expected = f1_score(labels, answers, labels=["a", "b", "c"], average="macro", zero_division=0)
    assert score["macro_f1"] == pytest.approx(expected)
    assert score["confusion"] == confusion_matrix(labels, answers, labels=["a", "b", "c"]).tolist()
    own = classifier.predict(texts)[range(len(labels)), ["abc".index(label) for label in labels]]
    assert score["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)


def test_several_devices_answer_alike(tiny_checkpoint):
    bt.seed_everything(1)
    both = bt.TextClassifier.from_pretrained(tiny_checkpoint, 16, [mx.cpu(0), mx.cpu(1)], labels=["a", "b"])
    alone = bt.TextClassifier(both.net, both.vocabulary, both.config, mx.cpu(0))
    texts = ["great", "awful film", "the"]
    np.testing.assert_allclose(both.predict(texts), alone.predict(texts), rtol=1e-5)


# Pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Whether the second text is one of praise; the first one says nothing."""
    rows = [
        f"{split}\t{label}\tthe film {i} was\t{words}"
        for split, count in (("train", 60), ("test", 8))
        for i in range(count)
        for label, words in KINDS.items()
        if label != "neither"
    ]
    return write(tmp_path_factory.mktemp("pairs") / "pairs.tsv", rows, "split\tlabel\ttext\ttext_b")


def test_pairs_are_learned_and_answered(tiny_checkpoint, pairs, tmp_path):
    options = {"lr": 3e-3, "epochs": 4, "max_length": 32}
    found = bt.finetune_task("classify", pairs, tiny_checkpoint, **options, output=tmp_path / "run")
    assert found.score["accuracy"] > 0.9
    result = invoke("predict", tmp_path / "run", "a film\tgreat great great", "a film\tawful awful awful", "--json")
    assert [json.loads(line)["label"] for line in result.output.splitlines()] == ["praise", "pan"]
    result = invoke("predict", tmp_path / "run", "a film\tgreat", "a film")
    assert result.exit_code == 1
    assert result.output == "Error: text 2 has no tab, but others do: between the texts of a pair there is one\n"


# Several labels a text


def test_several_labels_or_none(tiny_checkpoint, tmp_path):
    rows = [
        f"{split}\t{'|'.join(label for label in ('long', 'good') if label in kind)}\tthe film {i} {words}"
        for split, count in (("train", 60), ("test", 8))
        for i in range(count)
        for kind, words in {
            "": "the the",
            "long": "awful awful",
            "good": "great great",
            "long good": "awful great",
        }.items()
    ]
    path = write(tmp_path / "own.tsv", rows)
    options = ["--task", "classify", "--multi-label", "--pretrained", tiny_checkpoint, "--lr", 5e-3, "--epochs", 6]
    result = invoke("finetune", *options, "--max-length", 32, "--data", path, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    score = json.loads(invoke("evaluate", tmp_path / "run", "--data", path, "--json").output)
    assert score["macro_f1"] > 0.9
    assert score["accuracy"] > 0.8
    assert "confusion" not in score
    texts = ["the film 1 the the", "the film 1 awful great"]
    lines = invoke("predict", tmp_path / "run", *texts, "--json").output.splitlines()
    assert [set(json.loads(line)["labels"]) for line in lines] == [set(), {"good", "long"}]
    assert invoke("predict", tmp_path / "run", texts[0]).output == f"none  {texts[0]}\n"


# Rare classes


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_balanced_weights_are_scikit_learns(labels):
    classes = sorted(set(labels))
    np.testing.assert_allclose(
        balanced_weights(labels), compute_class_weight("balanced", classes=np.array(classes), y=labels)
    )


def test_a_weighted_loss_counts_all_classes_alike(classifier):
    labels = mx.nd.array([0, 0, 0, 1, 2])
    logits = mx.nd.random.normal(shape=(5, 3))
    weights = balanced_weights(labels.asnumpy())
    losses = classifier.loss()(logits, labels).asnumpy()
    weighted = classifier.loss(weights)(logits, labels).asnumpy()
    expected = np.mean([losses[:3].mean(), losses[3], losses[4]])
    assert weighted.mean() == pytest.approx(expected, rel=1e-5)


# What cannot be done


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "sentiment"}, "task must be one of classify, regress"),
        ({"task": "regress", "multi_label": True}, "are for the task classify"),
        ({"multi_label": True, "class_weights": True}, "one label each"),
        ({"freeze": 3}, "freeze must lie between 0 and 2"),
        ({"patience": 0}, "patience must be"),
    ],
)
def test_settings_that_do_not_fit(tiny_checkpoint, kinds, options, message):
    settings = {"task": "classify", "data": kinds, "pretrained": tiny_checkpoint, "max_length": 32}
    with pytest.raises(ValueError, match=message):
        bt.finetune_task(**settings | options)


def test_a_label_of_the_test_that_was_never_seen_costs_no_work(tiny_checkpoint, kinds, tmp_path):
    path = write(tmp_path / "own.tsv", [*kinds.read_text().splitlines()[1:], "test\tnew\tthe film"])
    number = len(path.read_text().splitlines())
    options = ["--task", "classify", "--pretrained", tiny_checkpoint, "--max-length", 32, "--output", tmp_path / "run"]
    result = invoke("finetune", *options, "--data", path)
    assert result.exit_code == 1
    assert f"Error: {path}, line {number}, column label: 'new' never occurs" in result.output
    assert "epoch" not in result.output


def test_patience_stops_and_keeps_the_best(tiny_checkpoint, kinds, monkeypatch, capsys):
    scripted = [(0.5, 1.0), (0.7, 0.9), (0.6, 0.1), (0.7, 0.9), (1.0, 0.0)]  # the second is the best of the first four
    kept = []

    def score(self, number, last_step):
        kept.append(self.net.classifier.weight.data().asnumpy())
        accuracy, loss = scripted[number - 1]
        return {"epoch": number, "valid_accuracy": accuracy, "valid_loss": loss}

    monkeypatch.setattr(loop.FineTuning, "score", score)
    found = bt.finetune_task("classify", kinds, tiny_checkpoint, epochs=5, max_length=32, patience=2)
    assert len(found.history) == 4
    np.testing.assert_array_equal(found.classifier.net.classifier.weight.data().asnumpy(), kept[1])
    printed = capsys.readouterr().out
    assert "no better in 2 epochs: stopped after 4" in printed
    assert "135 texts to train on, 15 for validation" in printed


def test_a_frozen_bert_stays_as_it_is(tiny_checkpoint, kinds):
    before = bt.load_pretrained(tiny_checkpoint)[0]._collect_params_with_prefix()
    options = {"epochs": 1, "max_length": 32, "lr": 1e-2}
    net = bt.finetune_task("classify", kinds, tiny_checkpoint, **options, freeze=1).classifier.net
    after = net.bert._collect_params_with_prefix()
    moved = {name for name in before if not np.array_equal(before[name].data().asnumpy(), after[name].data().asnumpy())}
    assert {name.split(".")[1] + name.split(".")[2] for name in moved if name.startswith("encoder.")} == {"blks1"}
    assert math.isfinite(net.classifier.weight.data().sum().asscalar())


def test_counts_of_the_fixture(kinds):
    found = Counter(example.label for example in bt.TextClassifier.read(kinds, "train"))
    assert found == dict.fromkeys(KINDS, 50)
