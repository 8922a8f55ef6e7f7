"""The command, run whole on a tiny checkpoint."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bert_tutorial import (
    SentimentClassifier,
    cli,
    fill_mask,
    finetuning,
    load_for_pretraining,
    load_pretrained,
    pretraining,
)
from bert_tutorial.cli import main
from bert_tutorial.machine import operators
from bert_tutorial.machine.cpu import cpu_flags
from bert_tutorial.machine.fetching import download, fetch
from bert_tutorial.quantization import VNNI
from bert_tutorial.text import batches
from bert_tutorial.training import keeper
from bert_tutorial.training.run import Training
from bert_tutorial.training.run_folder import CHECKPOINT, CHECKPOINTS, claim

import pytest
from click.testing import CliRunner

OUTPUTS = {"model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json", "metrics.json"}


def run(*arguments, code=0, **options):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


SMALL = ("--epochs", 3, "--batch-size", 8, "--max-length", 32, "--lr", 0.003)


@pytest.fixture(scope="module")
def finetuned(tiny_checkpoint, table, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "deep" / "folder"
    result = run("finetune", "--pretrained", tiny_checkpoint, "--data", table, *SMALL, "--output", output)
    assert "seed 1" in result.output
    return output


def test_finetune_writes_what_the_contract_says(finetuned):
    assert {path.name for path in finetuned.iterdir()} == OUTPUTS
    metrics = json.loads((finetuned / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9
    assert metrics["count"] == 42
    assert metrics["seed"] == 1
    assert metrics["tokens_per_second"] > 0
    assert metrics["peak_memory_bytes"] > 10**7
    assert metrics["versions"]["mxnet"] == "1.9.1"
    assert len(metrics["history"]) == 3


def test_evaluate_agrees_with_finetune(finetuned, table):
    metrics = json.loads((finetuned / "metrics.json").read_text())
    score = json.loads(run("evaluate", finetuned, "--data", table, "--json").stdout)
    assert set(score) == {"accuracy", "loss", "count", "interval"}
    assert score["interval"] == metrics["interval"]
    assert score["interval"][0] < score["accuracy"] <= score["interval"][1]
    assert score["accuracy"] == metrics["accuracy"]
    assert score["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    limited = json.loads(run("evaluate", finetuned, "--data", table, "--json", "--limit", 10).stdout)
    assert limited["count"] == 10
    line = run("evaluate", finetuned, "--data", table).stdout
    assert re.fullmatch(r"accuracy (\d\.\d{4}) \(95 %: 0\.\d{3} to [01]\.\d{3}\), loss \S+ on 42 texts\n", line)


def test_no_cache_keeps_no_word_ids(finetuned, tiny_checkpoint, table, cache, tmp_path, monkeypatch):
    """Finding 25."""
    monkeypatch.setattr(batches, "CACHE_FROM", 10)
    options = ("--data", table, "--no-cache")
    run("finetune", "--pretrained", tiny_checkpoint, "--epochs", 1, "--max-length", 8, *options, "--output", tmp_path)
    score = run("evaluate", finetuned, *options, "--json").stdout
    assert not cache.exists()
    assert run("evaluate", finetuned, "--data", table, "--json").stdout == score
    assert list(cache.rglob("*.ids"))


def test_predict_answers_in_order(finetuned, tmp_path):
    texts = ["the film was great great", "awful awful, awful", 'great "great" great, the film was great great'] * 5
    rows = [
        json.loads(line)
        for line in run("predict", finetuned, *texts, "--json", "--batch-size", 4).stdout.split("\n")[:-1]
    ]
    assert [row["text"] for row in rows] == texts
    assert [row["label"] for row in rows] == ["positive", "negative", "positive"] * 5
    assert all(0.5 <= row["probability"] <= 1 for row in rows)
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts) + "\n")
    assert run("predict", finetuned, "--file", file, "--json").stdout.count("\n") == 15
    assert run("predict", finetuned, "--file", "-", input="awful awful\n").stdout.startswith("negative")


def test_texts_that_are_not_utf_8_are_named(finetuned, tmp_path):
    """Finding 15."""
    file = tmp_path / "texts.txt"
    file.write_bytes("grün\r\nfilm\r\n".encode("utf-8-sig"))
    assert [line.split()[-1] for line in run("predict", finetuned, "-f", file).stdout.splitlines()] == ["grün", "film"]
    file.write_bytes(b"a good film\ngr\xfcn\n")
    assert f"{file}, line 2" in run("predict", finetuned, "-f", file, code=1).stderr


@pytest.mark.parametrize("arguments", [(), ("  ",)])
def test_predict_wants_text(finetuned, arguments):
    run("predict", finetuned, *arguments, code=1 if arguments else 2)


def test_the_same_seed_gives_the_same_numbers(tiny_checkpoint, table, tmp_path):
    scores = []
    for overwrite in ((), ("--overwrite",)):
        output = tmp_path / "run"
        options = ("--epochs", 1, "--max-length", 32, "--train-limit", 60, "--seed", 4, "--output", output, *overwrite)
        run("finetune", "--pretrained", tiny_checkpoint, "--data", table, *options)
        scores.append(json.loads((output / "metrics.json").read_text())["loss"])
    assert scores[0] == scores[1]


def test_large_sets_give_a_validation_split(tiny_checkpoint, table, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "MINIMUM_FOR_VALIDATION", 160)
    options = ("--epochs", 2, "--max-length", 32, "--output", tmp_path)
    output = run("finetune", "--pretrained", tiny_checkpoint, "--data", table, *options).output
    assert "144 texts to train on, 16 for validation, 42 for the test" in output
    history = json.loads((tmp_path / "metrics.json").read_text())["history"]
    assert all("valid_accuracy" in row for row in history)


def test_course_writes_the_notebooks_and_never_over_a_readers_work(tmp_path):
    folder = tmp_path / "new" / "course"
    printed = run("course", folder).output
    root = Path(__file__).parent.parent / "notebooks"
    names = [path.relative_to(root) for path in (*root.glob("*.ipynb"), *root.glob("solutions/*.ipynb"))]
    assert f"{len(names)} notebooks" in printed
    for name in names:
        assert (folder / name).read_bytes() == (root / name).read_bytes()
    (folder / "02_encoder.ipynb").write_text("mine")
    assert f"{folder} holds 00_first_steps.ipynb already" in run("course", folder, code=1).output
    assert (folder / "02_encoder.ipynb").read_text() == "mine"


def test_doctor_tells_what_was_found():
    output = run("doctor").stdout
    for wanted in ("mxnet 1.9.1", "threads:", "BLAS kernels:", "cpu(0)", "minilm-l6", "sample, sentences: shipped"):
        assert wanted in output


@pytest.mark.skipif(
    not (cpu_flags() & VNNI and operators.available()), reason="int8 needs VNNI and BERT's own operators"
)
def test_int8_answers_as_float_does(finetuned, table):
    texts = ["great great film", "awful awful film", "great " * 20]
    answers = {}
    for option in ([], ["--int8"]):
        lines = run("predict", finetuned, *texts, "--json", *option).stdout.splitlines()
        answers[bool(option)] = [json.loads(line) for line in lines]
    assert [a["label"] for a in answers[True]] == [a["label"] for a in answers[False]]
    assert [a["probability"] for a in answers[True]] != [a["probability"] for a in answers[False]]
    score = json.loads(run("evaluate", finetuned, "--data", table, "--int8", "--json").stdout)
    assert score["accuracy"] > 0.9


def test_int8_without_vnni_is_one_clear_error(finetuned, monkeypatch):
    monkeypatch.setattr("bert_tutorial.quantization.cpu_flags", lambda: {"avx2"})
    assert "VNNI" in run("predict", finetuned, "great", "--int8", code=1).stderr


@pytest.mark.parametrize("command", [[], ["finetune"], ["evaluate"], ["predict"], ["fetch"], ["doctor"]])
def test_help_explains_each_option(command):
    output = run(*command, "--help").stdout
    for line in re.findall(r"^  (--?\w.*)", output, re.M):
        assert len(line.split("  ")) > 1 or command, line
    assert "Usage" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["finetune", "--data", "sampel"], 1, "sampel"),
        (["finetune", "--pretrained", "no-such-model"], 1, "minilm-l6"),
        (["finetune", "--max-length", "1000"], 1, "512"),
        (["finetune", "--data", "sample", "--data", "sample"], 1, "'sample' twice"),
        (["finetune", "--lr", "0"], 1, "lr"),
        (["finetune", "--epochs", "0"], 2, "--epochs"),
        (["finetune", "--pooling", "max"], 2, "--pooling"),
        (["finetune", "--train-limit", "-3"], 2, "--train-limit"),
        (["finetune", "--colour", "red"], 2, "--colour"),
        (["evaluate", "nowhere"], 2, "nowhere"),
        (["fetch"], 2, "NAME"),
        (["fetch", "--all", "imdb"], 2, "NAME"),
        (["fetch", "--to", "folder"], 2, "NAME"),
        (["fetch", "--all", "--to", __file__], 2, "--to"),
        (["fetch", "hf:nonsense"], 1, "hf:ORG/NAME"),
        (["fetch", "minilm"], 1, "minilm-l6"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_mistakes_get_one_clear_error(arguments, code, message, tmp_path, tiny_checkpoint):
    with_output = [*arguments, "--output", tmp_path] if arguments[0] == "finetune" else arguments
    if arguments[0] == "finetune" and "--pretrained" not in arguments and "--max-length" not in arguments:
        with_output += ["--pretrained", tiny_checkpoint, "--max-length", 32] if code == 1 else []
    if "--max-length" in arguments:
        with_output += ["--pretrained", tiny_checkpoint]
        message = "64"
    result = run(*with_output, code=code)
    error = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(error) == 1
    assert message in error[0]


def test_a_folder_that_is_no_result(tmp_path, finetuned):
    assert "config.json" in run("evaluate", tmp_path, code=1).stderr
    for name in OUTPUTS:
        (tmp_path / name).write_bytes((finetuned / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((finetuned / "model.safetensors").read_bytes()[:1000])
    assert "model.safetensors is damaged" in run("predict", tmp_path, "great", code=1).stderr


def test_output_that_cannot_be_written_is_said_before_training(tmp_path, tiny_checkpoint, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(finetuning, "train_loop", lambda *_, **__: pytest.fail("training started"))
    run("finetune", "--pretrained", tiny_checkpoint, "--output", tmp_path / "file", code=1)


def test_a_diverging_run_says_so(tiny_checkpoint, table, tmp_path):
    options = ("--max-length", 32, "--lr", 1e30, "--output", tmp_path)
    error = run("finetune", "--pretrained", tiny_checkpoint, "--data", table, *options, code=1).stderr
    assert re.search(r"step \d+ \(learning rate", error)


@pytest.mark.slow
def test_module_and_interrupt(tiny_checkpoint, table, tmp_path):
    """Ctrl-C: no traceback, exit code 1, and --resume ends as if nothing had happened."""
    settings = ["--pretrained", tiny_checkpoint, "--data", table, "--epochs", 15, "--batch-size", 8, "--max-length", 32]

    def command(output, *extra):
        arguments = [str(a) for a in (*settings, "--output", output, *extra)]
        return [sys.executable, "-m", "bert_tutorial", "finetune", *arguments]

    checkpoint = tmp_path / "a" / CHECKPOINT
    process = subprocess.Popen(
        command(tmp_path / "a"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.time() + 120
    while not checkpoint.exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in error
    assert "interrupted" in error
    assert "--resume" in error
    assert set(os.listdir(tmp_path / "a")) <= {*CHECKPOINTS}
    for output, extra in (("a", ["--resume"]), ("b", [])):
        subprocess.run(command(tmp_path / output, *extra), check=True, capture_output=True)
    losses = [json.loads((tmp_path / output / "metrics.json").read_text())["loss"] for output in ("a", "b")]
    assert losses[0] == losses[1]


def test_a_run_stopped_within_an_epoch_of_reviews_on_disk_ends_with_the_same_bits(
    tiny_checkpoint, table, tmp_path, cache, monkeypatch
):
    """Stopped before its 14th step; the data is then read and tokenised anew, for the cache is lost, too."""
    monkeypatch.setattr(batches, "CACHE_FROM", 10)
    monkeypatch.setattr(finetuning, "MINIMUM_FOR_VALIDATION", 100)
    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)
    settings = ("--pretrained", tiny_checkpoint, "--data", table, "--epochs", 2, "--batch-size", 8, "--max-length", 32)
    run("finetune", *settings, "--output", tmp_path / "whole")
    files = list((cache / "tokenised").iterdir())
    assert len(files) == 3, "training, validation, test"
    take_step = Training._step

    def stop(self, step, *arguments):
        if step == 14:
            raise KeyboardInterrupt
        take_step(self, step, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", stop)
        run("finetune", *settings, "--output", tmp_path / "stopped", code=1)
    shutil.rmtree(cache)
    run("finetune", *settings, "--output", tmp_path / "stopped", "--resume")
    assert sorted((cache / "tokenised").iterdir()) == sorted(files)
    whole, stopped = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped


@pytest.mark.slow
def test_a_killed_run_on_reviews_on_disk_ends_with_the_same_bits(tiny_checkpoint, tmp_path, cache):
    path = tmp_path / "reviews.csv"
    words = ("great great film", "awful awful film")
    rows = [f"{split},{i % 2},{i} {words[i % 2] * (i % 9 + 1)}" for split in ("train", "test") for i in range(1500)]
    path.write_text("\n".join(["split,label,text", *rows]))
    code = (
        "from bert_tutorial import cli; from bert_tutorial.training import keeper\n"
        "keeper.SAVE_INTERVAL, keeper.SAVE_SHARE = 0, float('inf'); "
        "cli.main()"
    )
    settings = ("--pretrained", tiny_checkpoint, "--data", path, "--epochs", 1, "--batch-size", 8, "--max-length", 64)

    def command(output, *extra):
        return [sys.executable, "-c", code, "finetune", *map(str, (*settings, "--output", tmp_path / output, *extra))]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not (tmp_path / "killed" / CHECKPOINT).exists() and time.time() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed/model.safetensors").exists()
    subprocess.run(command("killed", "--resume"), check=True, capture_output=True)
    whole, killed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert whole == killed


@pytest.fixture
def no_work(monkeypatch):
    """Neither data nor weights are read."""
    for module, name in ((finetuning, "load_datasets"), (pretraining, "load_corpus"), (pretraining, "choose_device")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("work began"))


def error_of(*arguments, code=1):
    (line,) = run(*arguments, code=code).stderr.splitlines()
    return line


@pytest.mark.parametrize("command", [("finetune",), ("pretrain",), ("launch", "--", "finetune")])
def test_a_folder_in_which_something_is_is_refused_before_any_work(command, tmp_path, no_work):
    """Finding 6."""
    (tmp_path / CHECKPOINT).write_text("half a run")
    error = error_of(*command, "--output", tmp_path)
    assert f"{tmp_path} holds an unfinished run: use --resume to continue it, --overwrite" in error
    (tmp_path / CHECKPOINT).rename(tmp_path / "model.safetensors")
    for options in ((), ("--resume",)):
        error = error_of(*command, "--output", tmp_path, *options)
        assert f"{tmp_path} holds a finished run (model.safetensors)" in error
        assert "--overwrite" in error
    with claim(tmp_path, overwrite=True):
        error = error_of(*command, "--output", tmp_path, "--overwrite")
        assert f"{tmp_path} belongs to process {os.getpid()}" in error
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert "give one of them" in run(*command, "--resume", "--overwrite", code=2).stderr


def test_resuming_a_run_that_has_finished(finetuned, tiny_checkpoint, table, no_work):
    """Nothing is left to do; with other settings, something else was meant."""
    before = {path: path.read_bytes() for path in finetuned.iterdir()}
    command = ("finetune", "--pretrained", tiny_checkpoint, "--data", table, *SMALL, "--output", finetuned, "--resume")
    for launch in ((), ("launch", "--")):
        assert "has finished" in run(*launch, *command).stderr
        assert "holds a finished run" in run(*launch, *command, "--seed", 2, code=1).stderr
    assert {path: path.read_bytes() for path in finetuned.iterdir()} == before


def test_overwriting_keeps_the_old_result_until_the_new_one_is_there(finetuned, table, tmp_path):
    """Finding 6: also where the run begins with what it replaces, and where it fails."""
    output = shutil.copytree(finetuned, tmp_path / "run")
    (output / "model.params").write_text("an older version's")
    (output / "checkpoint.params").write_text("an older version's")
    options = ("--epochs", 1, "--max-length", 32, "--train-limit", 32, "--output", output, "--overwrite")
    command = ("finetune", "--pretrained", output, *options)
    run(*command, "--data", "nowhere", code=1)
    assert (output / "checkpoint.params").exists(), "no new run has begun"
    assert "learning rate" in run(*command, "--data", table, "--lr", 1e30, code=1).stderr
    assert (output / "model.safetensors").read_bytes() == (finetuned / "model.safetensors").read_bytes()
    SentimentClassifier.load(output)
    run(*command, "--data", table)
    assert {path.name for path in output.iterdir()} == OUTPUTS
    assert (output / "model.safetensors").read_bytes() != (finetuned / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_two_runs_started_at_once_and_one_killed(tiny_checkpoint, table, tmp_path):
    """Finding 6: one of them runs, the other gets one line; what the killed one leaves is refused, too."""
    settings = ["--pretrained", tiny_checkpoint, "--data", table, "--epochs", 15, "--batch-size", 8, "--max-length", 32]
    command = [sys.executable, "-m", "bert_tutorial", "finetune"]
    command += map(str, [*settings, "--output", tmp_path / "run"])
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    while all(process.poll() is None for process in runs):
        time.sleep(0.05)
    (refused,) = (process for process in runs if process.poll() is not None)
    (running,) = (process for process in runs if process is not refused)
    assert refused.returncode == 1
    (line,) = refused.communicate()[1].splitlines()
    assert f"belongs to process {running.pid} on" in line
    while not (tmp_path / "run" / CHECKPOINT).exists() and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    running.communicate()
    assert "holds an unfinished run" in error_of(*command[3:])


def test_an_unexpected_error_is_one_line_and_a_traceback_on_demand(finetuned, monkeypatch):
    """Finding 14."""

    def fail(*_):
        raise ZeroDivisionError("division by zero\nin two lines")

    monkeypatch.setattr(cli.SentimentClassifier, "load", fail)
    line = error_of("predict", finetuned, "great")
    assert line.startswith(
        "Error: unexpected ZeroDivisionError: in two lines; run it again as bert-tutorial --debug predict"
    )
    result = CliRunner().invoke(main, ["--debug", "predict", str(finetuned), "great"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(), "Error: OSError"),
        (cli.mx.MXNetError(), "Error: MXNet: MXNetError"),
        (cli.mx.MXNetError("Traceback\nMXNetError: out of luck"), "Error: MXNet: MXNetError: out of luck"),
        (MemoryError(), "Error: out of memory: try a smaller --batch-size or --max-length"),
        (KeyboardInterrupt(), "Error: interrupted"),
        (RecursionError(), "Error: unexpected RecursionError: RecursionError; run it again"),
    ],
)
def test_errors_without_much_text(monkeypatch, error, line):
    """Findings 14 and 30."""

    def fail():
        raise error

    monkeypatch.setattr(cli, "show_doctor", fail)
    assert error_of("doctor").startswith(line)


def test_launch_hands_debug_on(tiny_checkpoint, table, tmp_path, monkeypatch):
    """Finding 14."""
    commands = []
    monkeypatch.setattr(cli, "launch_workers", lambda command, *_: commands.append(command))
    command = ["launch", "--", "finetune", "--output", str(tmp_path / "run")]
    run(*command)
    CliRunner().invoke(main, ["--debug", *command])
    assert commands == [[sys.executable, "-m", "bert_tutorial", *debug, *command[2:]] for debug in ([], ["--debug"])]


@pytest.mark.slow
def test_nobody_reads_on(finetuned, tmp_path):
    """Finding 14: `bert-tutorial predict ... | head -1`."""
    file = tmp_path / "texts"
    file.write_text(("great film " * 30 + "\n") * 500)
    command = [sys.executable, "-m", "bert_tutorial", "predict", str(finetuned), "--file", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.fixture
def served(web, cache, monkeypatch):
    """`web` with all that the course uses, and an empty cache."""

    def fetch_from_web(name="imdb"):
        return fetch(
            name, [("web", lambda folder: download(f"{web.url}/{name}", folder / "file"))], lambda folder: None
        )

    monkeypatch.setattr(cli, "pretrained_folder", fetch_from_web)
    monkeypatch.setattr(cli, "fetch_imdb", fetch_from_web)
    web.files |= {f"/{name}": name for name in cli.COURSE}
    return web


def test_fetch_all_fills_the_folder_that_is_named(served, cache, tmp_path):
    output = run("fetch", "--all", "--to", tmp_path / "deep" / "usb").stdout
    for name in ("minilm-l6", "bert-base", "imdb"):
        assert (tmp_path / "deep" / "usb" / name / "file").read_text() == name
        assert f"{name}: {tmp_path}" in output
    assert not cache.exists()
    run("fetch", "--to", tmp_path / "other", "imdb")
    assert os.listdir(tmp_path / "other") == ["imdb"]


def test_fetch_all_keeps_what_could_be_reached_and_names_what_could_not(served, cache):
    del served.files["/bert-base"]
    result = run("fetch", "--all", code=1)
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["minilm-l6", "imdb"]
    assert f"{served.url}/bert-base: 404" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert "bert-base" in last
    assert "minilm-l6" not in last
    assert sorted(os.listdir(cache)) == ["imdb", "minilm-l6"]
    served.files["/bert-base"] = "there again"
    served.asked.clear()
    run("fetch", "--all")
    assert served.asked == ["GET /bert-base"]


@pytest.mark.parametrize("why", ["a file is in the way", "not ours"])
def test_fetch_to_a_folder_that_cannot_be_written_is_one_line(served, tmp_path, monkeypatch, why):
    folder = tmp_path / "usb"
    if why == "not ours":
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    else:
        (tmp_path / "usb").write_text("")
        folder = folder / "cache"
    (line,) = run("fetch", "--all", "--to", folder, code=1).stderr.splitlines()
    assert str(folder) in line
    assert served.asked == []


def test_offline_works_from_the_cache(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path))
    (tmp_path / "hf/org").mkdir(parents=True)
    (tmp_path / "hf/org/tiny").symlink_to(tiny_checkpoint)
    load_pretrained("hf:org/tiny")
    assert "hf/org/tiny" in run("fetch", "hf:org/tiny").stdout


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder of text files about one animal each."""
    folder = tmp_path_factory.mktemp("texts")
    for i, animal in enumerate(["cat", "dog", "fox", "hen", "owl"] * 4):
        sentences = [f"The {animal} {verb} the other {animal}." for verb in ("sees", "likes", "follows", "finds")]
        (folder / f"{i:02}.txt").write_text(" ".join(sentences * 2))
    return folder


TINY = ("--layers", 1, "--units", 16, "--vocab-size", 90, "--batch-size", 8, "--max-length", 24, "--steps", 20)


@pytest.fixture(scope="module")
def pretrained(texts, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "deep" / "folder"
    result = run("pretrain", "--corpus", texts, *TINY, "--output", output)
    for shown in ("seed 1", "20 documents", "masked word pieces right", "perplexity", "next sentences right", "0.500"):
        assert shown in result.output
    return output


def test_pretrain_writes_a_checkpoint_with_both_heads(pretrained):
    assert {path.name for path in pretrained.iterdir()} == OUTPUTS
    metrics = json.loads((pretrained / "metrics.json").read_text())
    assert 0 < metrics["mlm_accuracy"] <= 1
    assert 0 < metrics["ns_accuracy"] <= 1
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["mlm_loss"]))
    assert len(metrics["history"]) == 10
    assert metrics["settings"]["steps"] == "20"
    net, vocabulary = load_for_pretraining(pretrained)
    assert len(fill_mask("The cat sees the [MASK].", net, vocabulary)) == 5


def test_what_was_pretrained_is_finetuned_and_pretrained_further(pretrained, texts, table, tmp_path):
    run("finetune", "--pretrained", pretrained, "--data", table, "--epochs", 1, "--max-length", 24,
        "--output", tmp_path / "a")  # fmt: skip
    options = ("--corpus", texts, "--steps", 3, "--batch-size", 8, "--max-length", 24)
    run("pretrain", "--pretrained", tmp_path / "a", *options, "--output", tmp_path / "c")
    assert "was not written by fine-tuning" in run("predict", tmp_path / "c", "great", code=1).stderr
    result = run("pretrain", "--pretrained", pretrained, *options, "--mlm-only", "--output", tmp_path / "b")
    assert "next sentence" not in result.output
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["ns_accuracy"] is None
    assert (tmp_path / "b" / "model.safetensors").exists()
    assert (tmp_path / "b" / "vocab.txt").read_bytes() == (pretrained / "vocab.txt").read_bytes()


def test_further_pretraining_keeps_the_tokenizers_settings(tiny_checkpoint, texts, tmp_path):
    """Finding 4."""
    shutil.copytree(tiny_checkpoint, tmp_path / "cased")
    settings = {"do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": False}
    (tmp_path / "cased" / "tokenizer_config.json").write_text(json.dumps(settings))
    options = ("--corpus", texts, "--steps", 1, "--batch-size", 8, "--max-length", 24, "--output", tmp_path / "b")
    run("pretrain", "--pretrained", tmp_path / "cased", *options)
    assert json.loads((tmp_path / "b" / "tokenizer_config.json").read_text()) == settings


def test_an_interrupted_pretraining_ends_with_the_same_weights(pretrained, texts, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "finish_round", interrupt)
        error = run("pretrain", "--corpus", texts, *TINY, "--output", tmp_path, code=1).stderr
    assert "interrupted" in error
    assert "--resume" in error
    changed = run("pretrain", "--corpus", texts, *TINY, "--lr", 1, "--output", tmp_path, "--resume", code=1).stderr
    assert "lr: " in changed
    run("pretrain", "--corpus", texts, *TINY, "--output", tmp_path, "--resume")
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in pretrained.iterdir()}
    assert (tmp_path / "model.safetensors").read_bytes() == (pretrained / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--corpus", "nowhere"), "no file or folder"),
        (("--vocab-size", 7), "give at least"),
        (("--units", 15), "multiple of heads"),
        (("--pretrained", "nowhere"), "no folder"),
        (("--limit", 2, "--max-length", 300, "--pretrained"), "positions"),
        (("--lr", -1), "lr must be"),
    ],
)
def test_pretrain_refuses(options, message, texts, pretrained, tmp_path):
    options = (*options, pretrained) if options[-1] == "--pretrained" else options
    assert message in run("pretrain", "--corpus", texts, *TINY, *options, "--output", tmp_path, code=1).stderr
