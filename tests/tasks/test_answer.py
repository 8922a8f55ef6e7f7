"""Answers from texts: learned, found in windows, scored, kept, and given by the command."""

import json
import random

import bert_tutorial as bt
from bert_tutorial.blocks import HIDDEN_SCORE
from bert_tutorial.cli import main
from bert_tutorial.machine import operators
from bert_tutorial.machine.cpu import cpu_flags
from bert_tutorial.precision import BFLOAT16
from bert_tutorial.quantization import VNNI, quantize
from bert_tutorial.tasks.answer import Answer, best_threshold, span_loss
from bert_tutorial.text.squad import Question, f1, load_questions
from bert_tutorial.text.windows import cut_windows

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import nd

QUESTION = "Was the film great?"
OTHERS = ["the", "film", "movie", "plot", "acting", "not", "was"]


def context_of(rng, answer):
    """Words among which, at most, one is an answer: it has other letters and more characters than what BERT reads."""
    words = rng.choices(OTHERS, k=rng.randint(3, 30))
    if answer:
        words.insert(rng.randrange(len(words) + 1), answer)
    return "\u200b " + "  ".join(words)


def write_questions(path, counts, impossible=True):
    rng = random.Random(3)
    data = []
    for split, count in counts.items():
        for i in range(count):
            answer = rng.choice(["Gréat", "GRE\u0301A\u00adT", "great"]) if i % 3 or not impossible else ""
            context = context_of(rng, answer)
            answers = [{"text": answer, "answer_start": context.index(answer)}] if answer else []
            item = {"id": f"{split}-{i}", "question": QUESTION, "answers": answers, "is_impossible": not answers}
            data.append({"title": "t", "split": split, "paragraphs": [{"context": context, "qas": [item]}]})
    path.write_text(json.dumps({"version": "v2.0", "data": data}))
    return path


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Questions that the tiny network can answer: it must find one word, or say that it is not there."""
    return write_questions(
        tmp_path_factory.mktemp("questions") / "questions.json", {"train": 120, "valid": 24, "test": 24}
    )


def invoke(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert not result.exception or isinstance(result.exception, SystemExit), result.output
    return result


OPTIONS = {"lr": 1e-2, "epochs": 4, "max_length": 24}


@pytest.fixture(scope="module")
def run(questions, tiny_checkpoint, tmp_path_factory):
    """The folder of a finished run, and what was printed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = ["finetune", "--task", "answer", "--pretrained", tiny_checkpoint, "--data", questions, *options]
    result = invoke(*command, "--output", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


@pytest.fixture(scope="module")
def answerer(run):
    return bt.QuestionAnswerer.load(run[0])


@pytest.fixture(scope="module")
def untrained(tiny_checkpoint):
    bt.seed_everything(7)
    return bt.QuestionAnswerer.from_pretrained(tiny_checkpoint, 24, always=False, doc_stride=5, max_answer_length=4)


# The command


def test_a_run_of_the_command(run, questions):
    folder, printed = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["exact_match"] > 0.9
    assert metrics["f1"] >= metrics["exact_match"]
    assert metrics["no_answer_accuracy"] > 0.8
    assert "120 texts to train on, 24 for validation, 24 for the test" in printed
    assert f"test exact match {metrics['exact_match']:.4f}, f1 {metrics['f1']:.4f}, no answer accuracy" in printed
    score = json.loads(invoke("evaluate", folder, "--data", questions, "--json").output)
    assert score == {name: metrics[name] for name in ("exact_match", "f1", "no_answer_accuracy", "count")}
    assert json.loads(invoke("evaluate", folder, "--data", questions, "--json", "--limit", 5).output)["count"] == 5


def test_answers_of_the_command(run, tmp_path):
    folder, _ = run
    file = tmp_path / "context.txt"
    file.write_text(
        "The plot was\nnot  GRE\u0301A\u00adT, the acting was the plot " + "the movie " * 20, encoding="utf-8"
    )
    (line,) = invoke("predict", folder, "--context", file, QUESTION, "--json").output.splitlines()
    found = json.loads(line)
    assert set(found) == {"text", "answer", "start", "end", "probability"}
    assert (found["text"], found["answer"]) == (QUESTION, "GRE\u0301A\u00adT")
    assert file.read_text(encoding="utf-8")[found["start"] : found["end"]] == found["answer"]
    assert 0 < found["probability"] <= 1
    plain = invoke("predict", folder, "--context", file, QUESTION).output
    assert plain == f"{found['answer']}  {found['start']}  {found['end']}  {found['probability']:.3f}  {QUESTION}\n"
    file.write_text("The plot was not the acting", encoding="utf-8")
    asked = tmp_path / "asked.txt"
    asked.write_text(f"{QUESTION}\n{QUESTION}\n")
    lines = invoke("predict", folder, "--context", file, "--file", asked, "--json").output.splitlines()
    assert [(json.loads(line)["answer"], json.loads(line)["start"]) for line in lines] == [("", None)] * 2
    assert invoke("predict", folder, "--context", file, QUESTION).output.startswith("-  -  -  0.")


def test_a_context_is_given_where_one_is_read(run, tiny_checkpoint, tmp_path):
    folder, _ = run
    file = tmp_path / "context.txt"
    file.write_text(" ")
    for arguments, code, message in (
        ((folder, QUESTION), 2, "give it with --context FILE"),
        ((folder, QUESTION, "--context", file), 1, f"{file} is empty"),
        ((tmp_path / "sentiment", QUESTION, "--context", file), 2, "leave out --context"),
    ):
        if not (tmp_path / "sentiment").exists():
            bt.SentimentClassifier.from_pretrained(tiny_checkpoint, 16).save(tmp_path / "sentiment")
        result = invoke("predict", *arguments)
        assert result.exit_code == code
        assert message in result.output


def test_what_is_wrong_in_the_data_costs_no_work(tiny_checkpoint, questions, tmp_path):
    content = json.loads(questions.read_text())
    item = next(entry for entry in content["data"] if entry["split"] == "test")["paragraphs"][0]["qas"][0]
    item |= {"answers": [{"text": "awful", "answer_start": 2}], "is_impossible": False}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content))
    options = ["--task", "answer", "--pretrained", tiny_checkpoint, "--max-length", 24, "--output", tmp_path / "run"]
    result = invoke("finetune", *options, "--data", path)
    assert result.exit_code == 1
    assert f"Error: {path}, question 'test-0': at answer_start 2 the context has" in result.output
    assert "epoch" not in result.output


def test_a_resumed_run_has_the_same_bits(tiny_checkpoint, questions, run, tmp_path, monkeypatch):
    from bert_tutorial.training.run import Training

    stopped = []

    def stop(training):
        stopped.append(training)
        if len(stopped) == 2:
            raise KeyboardInterrupt

    options = {**OPTIONS, "output": tmp_path / "run"}
    save = Training.finish_round
    monkeypatch.setattr(Training, "finish_round", lambda self, row: (save(self, row), self.save(), stop(self)))
    with pytest.raises(KeyboardInterrupt):
        bt.finetune_task("answer", str(questions), str(tiny_checkpoint), **options)
    monkeypatch.undo()
    bt.finetune_task("answer", str(questions), str(tiny_checkpoint), **options, resume=True)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "run" / file).read_bytes() == (run[0] / file).read_bytes()


@pytest.mark.slow
def test_two_processes_train_one_network(tiny_checkpoint, questions, tmp_path):
    options = ["--task", "answer", "--pretrained", tiny_checkpoint, "--data", questions, "--max-length", 24]
    options += ["--epochs", 1, "--lr", 1e-2]
    whole, launched = tmp_path / "whole", tmp_path / "launched"
    assert invoke("finetune", *options, "--batch-size", 8, "--output", whole).exit_code == 0
    result = invoke("launch", "--", "finetune", *options, "--batch-size", 4, "--output", launched)
    assert result.exit_code == 0, result.output
    losses = [json.loads((folder / "metrics.json").read_text())["history"][0] for folder in (whole, launched)]
    assert losses[1]["valid_loss"] == pytest.approx(losses[0]["valid_loss"], rel=0.2)  # dropout differs


# What is kept


def test_what_is_kept_is_loaded(run, answerer):
    config = json.loads((run[0] / "config.json").read_text())
    assert config["architectures"] == ["BertForQuestionAnswering"]
    assert (config["doc_stride"], config["max_answer_length"]) == (128, 30)
    assert config["no_answer_threshold"] == answerer.config["no_answer_threshold"]
    with pytest.raises(ValueError, match="fine-tuned for the task 'answer', not 'classify'"):
        bt.TextClassifier.load(run[0])


def test_hugging_face_reads_what_is_kept(run, answerer):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertForQuestionAnswering.from_pretrained(run[0]).eval()
    encoded = answerer.encode([Question(QUESTION, "the plot was great " * 4, (), "")])
    for (words, length, segments, _), ours in zip(encoded, answerer.outputs(encoded, 8), strict=True):
        with torch.no_grad():
            found = theirs(torch.tensor(words[None]).long(), token_type_ids=torch.tensor(segments[None]).long())
        expected = torch.stack([found.start_logits[0], found.end_logits[0]], dim=1).numpy()
        np.testing.assert_allclose(ours[:length], expected, atol=2e-5 * np.abs(expected).max())


# Windows


@given(st.lists(st.sampled_from([*OTHERS, "Gréat!", "\u200b", "中文"]), max_size=40), st.data())
@settings(max_examples=50)
def test_labels_point_to_the_answer(untrained, words, data):
    context = " ".join(words)
    begin = data.draw(st.integers(0, len(context)))
    text = context[begin : begin + data.draw(st.integers(1, 9))]
    answers = ((text, begin),) if text.strip(" \u200b") else ()
    passage = untrained.tokenizer.encode_placed(context)
    inside = [k for k in range(len(passage.ids)) if passage.begins[k] < begin + len(text) and passage.ends[k] > begin]
    found = set()
    for words, length, segments, (first, last, counted) in untrained.encode([Question("film?", context, answers, "")]):
        assert length == counted == len(words) == len(segments) <= 24
        if first:
            assert answers
            assert words[first : last + 1].tolist() == passage.ids[inside].tolist()
            assert segments[first : last + 1].all()
            found.add((first, last))
        else:
            assert last == 0
    assert bool(found) == bool(answers)


def test_answers_that_cannot_be_learned_are_named(untrained):
    context = "great " * 9
    long = Question("film?", "\u200b" + context * 3, ((context, 1),), "a.json, question 'q'")
    with pytest.raises(ValueError, match=r"^a\.json, question 'q': no window of 24 word pieces holds the whole answer"):
        untrained.encode([long._replace(answers=((context * 3, 1),))])
    assert any(label[0] for *_, label in untrained.encode([long]))
    with pytest.raises(ValueError, match=r"question 'q': the answer '.*' holds no character that BERT reads"):
        untrained.encode([long._replace(answers=(("\u200b", 0),))])


@given(st.lists(st.sampled_from([*OTHERS, "Gréat!", "good", "\u200b"]), max_size=40), st.sampled_from([None, 0.0, 0.3]))
@settings(max_examples=25)
def test_the_best_span_of_all_windows_is_the_answer(untrained, words, threshold):
    """One window after the other, and in it one span after the other."""
    context = " ".join(words)
    config = {**untrained.config, "no_answer_threshold": threshold}
    model = bt.QuestionAnswerer(untrained.net, untrained.vocabulary, config, mx.cpu())
    passage = model.tokenizer.encode_placed(context)
    spans, nulls = [], []
    for window in cut_windows(["film?"], [passage], model.tokenizer, 24, doc_stride=5):
        ids, segments = (nd.array(array[None]) for array in (window.words, window.segments))
        logits = model.net(ids, segments)[0].asnumpy()  # (L, 2)
        p = np.exp(logits - logits.max(axis=0))
        p /= p.sum(axis=0)
        nulls.append((logits[0].sum(), p[0].prod()))
        for i in range(window.count):
            for j in range(i, min(window.count, i + 4)):
                start, end = window.offset + i, window.offset + j
                place = passage.begins[window.first + i], passage.ends[window.first + j]
                spans.append((logits[start, 0] + logits[end, 1], p[start, 0] * p[end, 1], *place))
    (answer,) = model.predict(["film?"], [context])
    null, null_probability = min(nulls)
    best = max(spans, default=(-np.inf,))[0]
    if spans and (threshold is None or best - null > threshold):
        equal = [span for span in spans if span[0] > best - 1e-5]  # windows may be alike
        assert any((answer.start, answer.end) == span[2:] for span in equal)
        assert any(answer.probability == pytest.approx(span[1], rel=1e-3) for span in equal)
        assert context[answer.start : answer.end] == answer.answer
    else:
        assert answer == Answer("", None, None, pytest.approx(null_probability, rel=1e-3))


# Loss, threshold, devices, number types


def test_the_loss_leaves_the_padding_out(untrained):
    rng = np.random.default_rng(2)
    logits, lengths = rng.normal(0, 3, (3, 6, 2)), [6, 2, 4]
    labels = np.array([[1, 5], [0, 1], [3, 3]])
    losses = span_loss(nd.array(logits), nd.array(np.column_stack([labels, lengths]))).asnumpy()
    for k, length in enumerate(lengths):
        kept = logits[k, :length]
        log_p = kept - np.log(np.exp(kept).sum(axis=0))
        assert losses[k] == pytest.approx(-(log_p[labels[k, 0], 0] + log_p[labels[k, 1], 1]) / 2, rel=1e-5)
    assert np.exp(np.float32(HIDDEN_SCORE)) == 0


@given(
    st.lists(st.tuples(st.floats(-9, 9) | st.just(-np.inf), st.sampled_from([-1.0, -0.5, 0.0, 0.4, 1.0])), max_size=9)
)
def test_no_other_threshold_gains_more(questions):
    margins, gains = (np.array(values) for values in zip(*questions, strict=True)) if questions else ([], [])

    def gained(threshold):
        return sum(gain for margin, gain in zip(margins, gains, strict=True) if margin > threshold)

    finite = sorted(margin for margin in margins if np.isfinite(margin))
    others = [0, *(m + step for m in finite for step in (-1e-6, 1e-6)), -100, 100]
    found = best_threshold(margins, gains)
    assert gained(found) >= max(map(gained, others)) - 1e-6
    assert found == 0 or gained(0) < gained(found)


def test_a_threshold_is_chosen_where_some_questions_have_no_answer(untrained, questions):
    valid = load_questions(questions, "valid")
    model = bt.QuestionAnswerer(untrained.net, untrained.vocabulary, dict(untrained.config), mx.cpu())
    model.settle(valid)
    chosen = model.score(valid)["f1"]
    for threshold in (-1e9, 0.0, 1e9):
        model.config["no_answer_threshold"] = threshold
        assert chosen >= model.score(valid)["f1"] - 1e-9
    model.config["no_answer_threshold"] = 0.25
    model.settle([one for one in valid if one.answers])
    assert model.config["no_answer_threshold"] == 0.25


def test_a_network_that_knows_only_answers_always_gives_one(tiny_checkpoint, tmp_path):
    path = write_questions(tmp_path / "q.json", {"train": 16, "test": 4}, impossible=False)
    options = {"epochs": 1, "max_length": 24, "layer_decay": 0.9, "accumulate": 2}
    found = bt.finetune_task("answer", path, tiny_checkpoint, **options)
    assert found.classifier.config["no_answer_threshold"] is None
    assert set(found.score) == {"exact_match", "f1", "count"}
    assert all(answer.answer for answer in found.classifier.predict([QUESTION] * 2, ["the plot", "not the film"]))
    assert found.classifier.predict([QUESTION], ["\u200b"])[0].answer == ""  # there is no word to give


def test_frozen_layers_and_the_pooler_stay_as_they_are(tiny_checkpoint, questions):
    before = bt.load_pretrained(tiny_checkpoint)[0]._collect_params_with_prefix()
    options = {"epochs": 1, "max_length": 24, "lr": 1e-2, "train_limit": 16, "freeze": 1}
    net = bt.finetune_task("answer", questions, tiny_checkpoint, **options).classifier.net
    after = net.bert._collect_params_with_prefix()
    moved = {name for name in before if not np.array_equal(before[name].data().asnumpy(), after[name].data().asnumpy())}
    assert {".".join(name.split(".")[:3]) for name in moved} == {"encoder.blks.1"}


@pytest.mark.parametrize(
    "options",
    [
        {"ctx": [mx.cpu(0), mx.cpu(1)]},
        pytest.param(
            {"precision": "bfloat16"},
            marks=pytest.mark.skipif(not cpu_flags() & BFLOAT16, reason="this CPU has no bfloat16"),
        ),
    ],
    ids=["two devices", "bfloat16"],
)
def test_it_is_learned_in_other_ways_too(tiny_checkpoint, questions, options):
    found = bt.finetune_task("answer", questions, tiny_checkpoint, **OPTIONS, **options)
    assert found.score["f1"] > 0.9


@pytest.mark.skipif(
    not (cpu_flags() & VNNI and operators.available()), reason="int8 needs VNNI and BERT's own operators"
)
def test_int8_answers_as_float_does(run, answerer, questions):
    asked = load_questions(questions, "test")
    texts = [one.question for one in asked], [one.context for one in asked]
    exact = answerer.predict(*texts)
    model = bt.QuestionAnswerer.load(run[0])
    quantize(model.net)
    found = model.predict(*texts)
    assert np.mean([one[:3] == other[:3] for one, other in zip(found, exact, strict=True)]) > 0.9
    assert [one.probability for one in found] != [one.probability for one in exact]
    score = json.loads(invoke("evaluate", run[0], "--data", questions, "--int8", "--json").output)
    assert score["f1"] > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "mean"}, "pooling makes one vector of a whole text: the task answer"),
        ({"class_weights": True}, "are for the task classify"),
        ({"max_length": 4}, "give at least 5"),
    ],
)
def test_settings_that_do_not_fit(tiny_checkpoint, questions, options, message):
    with pytest.raises(ValueError, match=message):
        bt.finetune_task("answer", questions, tiny_checkpoint, **{"max_length": 24} | options)


def test_f1_of_what_is_answered_is_squads(answerer, questions):
    asked = load_questions(questions, "test")
    answers = [row["answer"] for row in answerer.answer([q.question for q in asked], [q.context for q in asked])]
    expected = np.mean([max(f1(a, text) for text in q.texts) for a, q in zip(answers, asked, strict=True)])
    assert answerer.score(asked, batch_size=5)["f1"] == pytest.approx(expected)
