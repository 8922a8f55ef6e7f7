"""The recipes, called as a notebook calls them, do what the commands do."""

import json
import math
import os

from bert_tutorial import fill_mask, finetune_reviews, load_pretrained, pretrain_corpus
from bert_tutorial.cli import main
from bert_tutorial.training import keeper
from bert_tutorial.training.run import Training
from bert_tutorial.training.run_folder import RunFinishedError

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner


def without_speed(history):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "tokens_per_second")} for row in history
    ]


def run(*arguments):
    """The metrics that a command writes."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return json.loads((arguments[-1] / "metrics.json").read_text())


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, animal in enumerate(["cat", "dog", "fox", "hen"] * 3):
        (folder / f"{i}.txt").write_text(f"The {animal} sees the other {animal}. The {animal} likes it. " * 4)
    return folder


def test_finetune_reviews(tiny_checkpoint, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {"data": table, "epochs": 2, "batch_size": 8, "max_length": 32, "lr": 0.003, "seed": 3}
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    metrics = run("finetune", "--pretrained", tiny_checkpoint, *options, "--output", tmp_path / "run")
    found = finetune_reviews(tiny_checkpoint, **settings)
    assert found.score._asdict() == {name: metrics[name] for name in ("accuracy", "loss", "count")}
    assert without_speed(found.history) == without_speed(metrics["history"])
    assert found.classifier.predict(["great great film"])[0] > 0.5
    assert "160 texts to train on" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["run"], "without an output no file is written"


def test_several_datasets(tiny_checkpoint, table, tmp_path, capsys):
    """The command learns from all and is scored on all, as the recipe; a finished run knows which they were."""
    output = tmp_path / "run"
    settings = ("--epochs", 1, "--max-length", 16, "--train-limit", 20, "--test-limit", 10)
    command = ("finetune", "--pretrained", tiny_checkpoint, *settings)
    metrics = run(*command, "--data", table, "--data", "sentences", "--output", output)
    assert metrics["settings"]["data"] == f"{table} + sentences"
    assert metrics["count"] == 20
    options = {"epochs": 1, "max_length": 16, "train_limit": 20, "test_limit": 10}
    found = finetune_reviews(tiny_checkpoint, [table, "sentences"], **options)
    assert "40 texts to train on, 0 for validation, 20 for the test" in capsys.readouterr().out
    assert found.score.loss == metrics["loss"]
    with pytest.raises(RunFinishedError):
        finetune_reviews(tiny_checkpoint, [str(table), "sentences"], **options, output=output, resume=True)
    for data in (table, ["sentences", table]):
        with pytest.raises(FileExistsError, match="finished run"):
            finetune_reviews(tiny_checkpoint, data, **options, output=output, resume=True)
    score = CliRunner().invoke(main, ["evaluate", str(output), "--data", "sentences", "--data", str(table), "--json"])
    assert json.loads(score.stdout)["count"] == 142


@pytest.mark.parametrize("options", [(), ("--data", "sample")])
def test_one_dataset_is_kept_by_its_name(tiny_checkpoint, tmp_path, options):
    """As in runs of earlier versions, so that these can be resumed."""
    settings = ("--epochs", 1, "--max-length", 8, "--train-limit", 4, "--test-limit", 2)
    metrics = run("finetune", "--pretrained", tiny_checkpoint, *settings, *options, "--output", tmp_path / "run")
    assert metrics["settings"]["data"] == "sample"


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_classifier_without_the_pooler(tiny_checkpoint, table, tmp_path, pooling):
    """It is trained and saved without a word about the pooler, which stays the checkpoint's."""
    output = tmp_path / "run"
    settings = {"data": table, "epochs": 3, "batch_size": 8, "max_length": 32, "lr": 0.003, "pooling": pooling}
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    result = CliRunner().invoke(
        main, list(map(str, ["finetune", "--pretrained", tiny_checkpoint, *options, "--output", output]))
    )
    assert result.exit_code == 0, result.output
    assert "no gradient" not in result.output
    assert "Warning" not in result.output
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["settings"]["pooling"] == pooling
    assert metrics["accuracy"] > 0.9
    assert json.loads((output / "config.json").read_text())["bert_tutorial"]["pooling"] == pooling
    result = CliRunner().invoke(main, ["evaluate", str(output), "--data", str(table), "--json"])
    assert json.loads(result.stdout)["accuracy"] == metrics["accuracy"]
    before, after = (load_pretrained(folder)[0] for folder in (tiny_checkpoint, output))
    for name, parameter in before.pooler._collect_params_with_prefix().items():
        found = after.pooler._collect_params_with_prefix()[name]
        np.testing.assert_array_equal(found.data().asnumpy(), parameter.data().asnumpy())
    assert (before.encoder.word_embed.weight.data() != after.encoder.word_embed.weight.data()).sum().asscalar() > 0


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (("--pooling", "mean"), (), "pooling: 'mean' there, 'pooler' here"),
        (("--data", "sentences"), (), "data: '{table} + sentences' there, '{table}' here"),
        ((), ("--data", "sample"), "data: '{table}' there, '{table} + sample' here"),
    ],
)
def test_a_run_is_not_continued_with_other_settings(tiny_checkpoint, table, tmp_path, monkeypatch, there, here, said):
    options = ("--data", table, "--epochs", 1, "--max-length", 32, "--train-limit", 32)
    command = ("finetune", "--pretrained", tiny_checkpoint, *options, "--output", tmp_path / "run")
    take_step = Training._step

    def stop(self, step, *arguments):
        if step == 2:
            raise KeyboardInterrupt
        take_step(self, step, *arguments)

    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", stop)
        assert CliRunner().invoke(main, [*map(str, command), *there]).exit_code == 1
    result = CliRunner().invoke(main, [*map(str, command), *here, "--resume"])
    assert result.exit_code == 1
    assert "made with other settings" in result.stderr
    assert said.format(table=table) in result.stderr
    run(*command[:-2], *there, "--resume", *command[-2:])


def test_pretrain_corpus(texts, tmp_path):
    settings = {"layers": 1, "units": 16, "vocab_size": 80, "batch_size": 4, "max_length": 24, "steps": 6}
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    metrics = run("pretrain", "--corpus", texts, "--mlm-only", *options, "--output", tmp_path / "run")
    found = pretrain_corpus(texts, mlm_only=True, **settings)
    assert found.score.mlm_loss == metrics["mlm_loss"]
    assert [row["step"] for row in found.history] == [1, 2, 3, 4, 5, 6]
    assert [row["mlm_loss"] for row in found.history] == [row["mlm_loss"] for row in metrics["history"]]
    assert len(fill_mask("the cat [MASK] .", found.net, found.vocabulary)) == 5
    assert found.most_frequent in found.vocabulary


def test_a_recipe_goes_on_where_it_was_stopped(tiny_checkpoint, table, tmp_path, caplog):
    """Also where the command's run was, whose settings it has."""
    settings = {"data": table, "epochs": 1, "max_length": 32, "train_limit": 32}
    output = tmp_path / "run"
    finetune_reviews(tiny_checkpoint, **settings, output=output, resume=True)
    assert "starting anew" in caplog.text
    with pytest.raises(RunFinishedError, match="nothing is left to do"):
        finetune_reviews(tiny_checkpoint, **settings, output=output, resume=True)
    with pytest.raises(FileExistsError, match="finished run"):
        finetune_reviews(tiny_checkpoint, **settings, output=output)
    with pytest.raises(ValueError, match="one of them"):
        finetune_reviews(tiny_checkpoint, **settings, output=output, resume=True, overwrite=True)
    options = ("--data", table, "--epochs", 1, "--max-length", 32, "--train-limit", 32, "--resume")
    before = (output / "metrics.json").read_bytes()
    run("finetune", "--pretrained", tiny_checkpoint, *options, "--output", output)
    assert (output / "metrics.json").read_bytes() == before, "it had finished"


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        (finetune_reviews, {"resume": True}, "resume needs"),
        (finetune_reviews, {"ctx": []}, "ctx"),
        (finetune_reviews, {"pooling": "max"}, "pooling must be one of pooler, cls, mean"),
        (pretrain_corpus, {"ctx": [mx.cpu(), mx.cpu()]}, "ctx"),
        (pretrain_corpus, {"units": 15}, "multiple of heads"),
    ],
)
def test_recipes_refuse(recipe, settings, message, tiny_checkpoint, table):
    data = {"pretrained": tiny_checkpoint, "data": table, "max_length": 32} if recipe is finetune_reviews else {}
    with pytest.raises(ValueError, match=message):
        recipe(**data, **settings)
