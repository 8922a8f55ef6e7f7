"""The benchmarks' own parts: figures, tables, and our measuring process on a tiny checkpoint."""

import json

from benchmarks import bench, report
from benchmarks.common import make_batch
from benchmarks.workers import RowError, Worker, ask_once, measure

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st


def predict_job(folder, length=8):
    return {"job": "predict", "folder": str(folder), "batch_size": 4, "length": length}


def test_ratio_is_of_pairs_not_of_medians():
    assert report.ratio([2, 30, 4], [1, 10, 4]) == "2.00 (1.00 to 3.00)"


def test_measurement_prints_medians_and_a_dash_for_a_side_that_did_not_run():
    done = report.Measurement({"ours": [0.5, 0.1, 0.2]}, {"ours": 3e6}, {})
    assert (done.milliseconds("ours"), done.per_second("ours", 100), done.megabytes("ours")) == ("200", "500", "3")
    assert {done.milliseconds("peer"), done.per_second("peer", 1), done.megabytes("peer"), done.ratio("peer")} == {
        report.MISSING
    }


def test_table_is_markdown_with_as_many_cells_in_every_line():
    lines = report.table(["a", "b"], [["x", 1], ["y", 2.5]]).splitlines()
    assert lines == ["| a | b |", "| --- | ---: |", "| x | 1 |", "| y | 2.5 |"]


@pytest.mark.parametrize("other", [1.001, float("nan")])
def test_logits_that_differ_stop_the_row(other):
    answers = {"ours": {"logits": [[0.0, 1.0]]}, "peer": {"logits": [[0.0, other]]}}
    with pytest.raises(RowError, match="differ"):
        bench.check_logits(answers)


def test_equal_logits_or_one_side_alone_pass():
    bench.check_logits({"ours": {"logits": [[0.0, 1.0]]}, "peer": {"logits": [[0.0, 1.00001]]}})
    bench.check_logits({"ours": {"logits": [[0.0, 1.0]]}})


@given(st.integers(60, 40000), st.integers(1, 9), st.integers(4, 40))
def test_batch_fits_the_vocabulary_and_is_padded_after_its_valid_length(vocab_size, batch_size, length):
    words, valid_length, labels = make_batch(vocab_size, batch_size, length)
    assert words.shape == (batch_size, length)
    assert valid_length.shape == labels.shape == (batch_size,)
    inside = np.arange(length) < valid_length[:, None]
    assert (words[inside] > 0).all()
    assert (words < vocab_size).all()
    assert (words[~inside] == 0).all()


@pytest.mark.slow
def test_worker_answers_with_logits_then_times_what_it_is_asked_for(tiny_checkpoint, tmp_path):
    done = measure({"ours": (bench.OURS, predict_job(tiny_checkpoint))}, tmp_path, pairs=2, block_seconds=0.01)
    assert np.shape(done.answers["ours"]["logits"]) == (4, 2)
    assert len(done.seconds["ours"]) == 2
    assert done.peak_memory["ours"] > 1e7


@pytest.mark.slow
def test_training_worker_takes_steps_on_request(tiny_checkpoint, tmp_path):
    with Worker(bench.OURS, {**predict_job(tiny_checkpoint), "job": "train"}, tmp_path / "log") as worker:
        assert worker.receive() == {"ready": True}
        assert all(worker.ask(steps=steps)["seconds"] > 0 for steps in (1, 2))
    assert worker.process.returncode == 0


@pytest.mark.slow
def test_seed_computes_the_same_as_ours(tiny_checkpoint, tmp_path):
    parameters = str(tmp_path / "gluonnlp.params")
    job = predict_job(tiny_checkpoint)
    ask_once(bench.OURS, tmp_path / "log", job="gluonnlp_parameters", folder=job["folder"], path=parameters)
    ours = ask_once(bench.OURS, tmp_path / "log", **job)
    seed = ask_once(bench.SEED, tmp_path / "log", **job, parameters=parameters)
    bench.check_logits({"ours": ours, "seed": seed})


@pytest.mark.slow
def test_random_checkpoint_loads(tiny_checkpoint, tmp_path):
    sizes = {"units": 8, "hidden_size": 16, "num_heads": 2, "num_layers": 1}
    vocabulary = str(tiny_checkpoint / "vocab.txt")
    folder = str(tmp_path / "random")
    ask_once(bench.OURS, tmp_path / "log", job="random_checkpoint", folder=folder, vocabulary=vocabulary, **sizes)
    logits = ask_once(bench.OURS, tmp_path / "log", **predict_job(folder))["logits"]
    assert np.isfinite(logits).all()


@pytest.mark.slow
def test_a_worker_that_fails_says_why(tiny_checkpoint, tmp_path):
    too_long = json.loads((tiny_checkpoint / "config.json").read_text())["max_position_embeddings"] + 1
    with pytest.raises(RowError, match="positions"):
        ask_once(bench.OURS, tmp_path / "log", **predict_job(tiny_checkpoint, too_long))


@pytest.mark.slow
def test_peer_that_cannot_be_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "PEER_ENVIRONMENT", tmp_path / "no" / "peer")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("-r no-such-file.txt\n")
    monkeypatch.setattr(bench, "PEER_REQUIREMENTS", requirements)
    result = CliRunner().invoke(bench.main, ["start"])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "--without-peer" in result.output
