"""A tag for each word: learned, scored, kept, and answered by the command."""

import json
import math
import random
import shutil
import subprocess
import sys
from itertools import chain

import bert_tutorial as bt
from bert_tutorial.cli import main
from bert_tutorial.machine import operators
from bert_tutorial.machine.cpu import cpu_flags
from bert_tutorial.precision import BFLOAT16, precision_of
from bert_tutorial.printing import describe
from bert_tutorial.quantization import VNNI, quantize
from bert_tutorial.task_baselines import most_frequent_tags
from bert_tutorial.tasks.tag import IGNORED
from bert_tutorial.text.bio import score_tags
from bert_tutorial.text.tagged import TaggedSentence
from bert_tutorial.training import keeper
from bert_tutorial.training.run import Training

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mxnet import autograd, nd
from odd_texts import TEXTS

OPTIONS = {"lr": 1e-2, "epochs": 8, "batch_size": 8, "max_length": 32}
SHORT = OPTIONS | {"epochs": 2, "train_limit": 40, "test_limit": 4}
FILMS = ["great movie", "awful plot", "acting"]
SCORES = ("accuracy", "precision", "recall", "f1", "count", "words_cut")


def sentences(count, seed):
    """Words after "the" are a film, and "3" after "was" is a day; after "not" the same words are neither."""
    draw = random.Random(seed)
    for _ in range(count):
        tokens, tags = [], []
        for _ in range(draw.randint(1, 3)):
            kind = draw.choice(["film", "day", None])
            words = draw.choice(FILMS).split() if kind != "day" else ["3"]
            tokens += [{"film": "the", "day": "was", None: "not"}[kind], *words]
            tags += ["O", *([f"B-{kind}"] + [f"I-{kind}"] * (len(words) - 1) if kind else ["O"] * len(words))]
        yield tokens, tags


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "films.jsonl"
    rows = [
        json.dumps({"split": split, "label": "x", "text": " ".join(tokens), "tokens": tokens, "tags": tags})
        for split, count, seed in (("train", 240, 1), ("test", 30, 2))
        for tokens, tags in sentences(count, seed)
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def as_options(settings):
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture(scope="module")
def run(films, tiny_checkpoint, tmp_path_factory):
    """The folder of a finished run, and what was printed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    command = ["finetune", "--task", "tag", "--pretrained", tiny_checkpoint, *as_options(OPTIONS)]
    return folder, invoke(*command, "--data", films, "--output", folder)


@pytest.fixture(scope="module")
def tagger(run):
    return bt.TokenTagger.load(run[0])


def test_a_run_of_the_command(run, films, tiny_checkpoint):
    folder, printed = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["f1"] > 0.9
    assert "no gradient" not in printed
    values = ", ".join(f"{name} {metrics[name]:.4f}" for name in SCORES[:4])
    assert f"test {values} on 30 texts; saved in {folder}" in printed
    assert json.loads(invoke("evaluate", folder, "--data", films, "--json")) == {name: metrics[name] for name in SCORES}
    assert invoke("evaluate", folder, "--data", films) == f"{values} on 30 texts\n"
    before, after = (bt.load_pretrained(path)[0] for path in (tiny_checkpoint, folder))
    same = {
        name
        for name, parameter in before._collect_params_with_prefix().items()
        if (parameter.data() == after._collect_params_with_prefix()[name].data()).min().asscalar()
    }
    assert same == {"pooler.weight", "pooler.bias"}


def test_answers_of_the_command(run):
    folder, _ = run
    texts = ["the awful plot not acting, the acting\twas 3", "not awful plot"]
    found = [json.loads(line) for line in invoke("predict", folder, *texts, "--json").splitlines()]
    assert [row["text"] for row in found] == texts
    assert found[0]["tokens"] == ["the", "awful", "plot", "not", "acting", ",", "the", "acting", "was", "3"]
    assert found[0]["tags"] == ["O", "B-film", "I-film", "O", "O", "O", "O", "B-film", "O", "B-day"]
    assert invoke("predict", folder, *texts).splitlines() == [
        "the [film awful plot] not acting, the [film acting]\twas [day 3]",
        "not awful plot",
    ]


def test_what_is_kept_is_loaded(run, tagger):
    folder, _ = run
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert list(config["id2label"].values()) == tagger.labels == ["O", "B-day", "B-film", "I-day", "I-film"]
    assert config["label2id"] == {tag: number for number, tag in enumerate(tagger.labels)}
    assert tagger.predict([["was", "3"]]) == tagger.predict(["was 3"]) == [["O", "B-day"]]
    with pytest.raises(ValueError, match="fine-tuned for the task 'tag', not 'classify'"):
        bt.TextClassifier.load(folder)


def test_hugging_face_gives_the_same_tags(run, tagger, films):
    """By its own pipeline, on words of one piece each."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.BertTokenizer.from_pretrained(run[0])
    tag = transformers.pipeline("token-classification", str(run[0]), tokenizer=tokenizer, ignore_labels=[])
    for sentence in tagger.read(films, "test")[:5]:
        theirs = [found["entity"] for found in tag(" ".join(sentence.tokens))]
        assert tagger.predict([sentence.tokens]) == [theirs]


def test_a_resumed_run_has_the_same_bits(tiny_checkpoint, films, tmp_path, monkeypatch):
    """Stopped within its second epoch."""
    take_step = Training._step

    def stop(self, step, *arguments):
        if step == 8:
            raise KeyboardInterrupt
        take_step(self, step, *arguments)

    command = ["finetune", "--task", "tag", "--pretrained", tiny_checkpoint, *as_options(SHORT), "--data", films]
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "SAVE_INTERVAL", 0)
        patch.setattr(keeper, "SAVE_SHARE", math.inf)
        patch.setattr(Training, "_step", stop)
        invoke(*command, "--output", tmp_path / "stopped", code=1)
    invoke(*command, "--output", tmp_path / "stopped", "--resume")
    invoke(*command, "--output", tmp_path / "whole")
    whole, stopped = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped


def test_int8_tags_as_float_does(run, films, tagger):
    if not cpu_flags() & VNNI:
        pytest.skip("int8 needs a CPU with VNNI")
    if not operators.available():
        pytest.skip(operators.status()[1])
    score = json.loads(invoke("evaluate", run[0], "--data", films, "--json", "--int8"))
    assert score["f1"] > 0.9
    int8 = bt.TokenTagger.load(run[0])
    quantize(int8.net)
    tokens = [sentence.tokens for sentence in tagger.read(films, "test")]
    in_float, in_int8 = (list(chain(*model.predict(tokens))) for model in (tagger, int8))
    assert np.mean([ours == theirs for ours, theirs in zip(in_float, in_int8, strict=True)]) > 0.95
    assert invoke("predict", run[0], "was 3", "--int8") == "was [day 3]\n"


def test_several_devices_tag_alike(run, films, tagger):
    devices = [mx.cpu(0), mx.cpu(1)]
    both = bt.TokenTagger.load(run[0], devices)
    examples = tagger.read(films, "test")
    tokens = [sentence.tokens for sentence in examples]
    assert both.predict(tokens, batch_size=7) == tagger.predict(tokens)
    assert both.score(examples, 7) == tagger.score(examples)


def test_a_step_on_several_devices_is_that_on_one(tiny_checkpoint, films, tmp_path):
    """Without dropout, whose random numbers differ; the last batch has one sentence for two devices."""
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    config = json.loads((tmp_path / "copy/config.json").read_text()) | {"hidden_dropout_prob": 0}
    (tmp_path / "copy/config.json").write_text(json.dumps(config))
    found = []
    for ctx in (mx.cpu(0), [mx.cpu(0), mx.cpu(1)]):
        bt.seed_everything(1)
        tagger = bt.TokenTagger.from_pretrained(tmp_path / "copy", 32, ctx, labels=["O", "B-day", "B-film", "I-film"])
        tagger.net.dropout._rate = 0
        batches = tagger.batches(tagger.read(films, "train", 22), 7)
        (row,) = bt.train_loop(tagger.net, batches, None, 1, 1e-3, ctx, tagger.loss(), seed=1)
        values = {name: p.list_data()[-1].asnumpy() for name, p in tagger.net._collect_params_with_prefix().items()}
        found.append((row["train_loss"], values))
    (loss, alone), (loss_of_both, both) = found
    assert loss_of_both == pytest.approx(loss, rel=1e-5)
    for name, value in alone.items():
        np.testing.assert_allclose(both[name], value, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_train_together(tiny_checkpoint, films, tmp_path):
    """Each has half of a batch."""
    options = as_options(OPTIONS | {"batch_size": OPTIONS["batch_size"] // 2})
    command = ["finetune", "--task", "tag", "--pretrained", tiny_checkpoint, *options, "--data", films]
    arguments = map(str, ["launch", "--workers", 2, "--", *command, "--output", tmp_path / "run"])
    subprocess.run([sys.executable, "-m", "bert_tutorial", *arguments], check=True, capture_output=True, timeout=300)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["workers"] == 2
    assert metrics["f1"] > 0.8


def test_training_in_bfloat16(tiny_checkpoint, films):
    if not cpu_flags() & BFLOAT16:
        pytest.skip("bfloat16 needs a CPU with AVX512-BF16")
    rough, exact = (
        bt.finetune_task("tag", films, tiny_checkpoint, **SHORT, precision=p) for p in ("bfloat16", "float32")
    )
    losses, expected = ([row["train_loss"] for row in found.history] for found in (rough, exact))
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.1)
    assert precision_of(rough.classifier.net) == "float32"


def test_lower_layers_may_learn_less_or_nothing(tiny_checkpoint, films):
    before = bt.load_pretrained(tiny_checkpoint)[0]._collect_params_with_prefix()
    net = bt.finetune_task("tag", films, tiny_checkpoint, **SHORT, freeze=1, layer_decay=0.5).classifier.net
    after = net.bert._collect_params_with_prefix()
    moved = {name for name in before if (before[name].data() != after[name].data()).max().asscalar()}
    assert {".".join(name.split(".")[:3]) for name in moved} == {"encoder.blks.1"}


# From words to labels, and back


def sentence(words, tags=None):
    tokens = words.split() if isinstance(words, str) else words
    return TaggedSentence(tokens, tags.split() if tags else ["O"] * len(tokens), "own.jsonl", 7, False)


def test_labels_stand_on_first_pieces(tagger):
    ((ids, length, segments, labels),) = tagger.encode([sentence("the sets", "O B-film")])
    assert tagger.vocabulary.to_tokens(ids.tolist()) == ["[CLS]", "the", "s", "##e", "##t", "##s", "[SEP]"]
    assert labels.tolist() == [IGNORED, 0, 2, IGNORED, IGNORED, IGNORED, IGNORED]
    assert length == 7
    assert not segments.any()
    assert len(tagger.encode([])) == 0


def test_padding_has_no_label(tagger):
    ((words, lengths, _, labels),) = tagger.batches([sentence("the sets"), sentence("film")], 2)
    assert words.shape == labels.shape == (2, 32)
    for row, length in zip(labels.asnumpy(), lengths.asnumpy().astype(int), strict=True):
        assert (row[length - 1 :] == IGNORED).all()  # [SEP], too
    ((words, _, _, labels),) = tagger.batches([sentence("the " * 99)], 1)
    assert words.shape == labels.shape == (1, 32)


def test_the_loss_is_the_mean_over_a_sentences_words(tagger):
    logits = nd.random.normal(shape=(3, 4, 5))
    labels = np.array([[-1, 2, -1, -1], [-1, 0, 4, 1], [-1, -1, -1, -1]])
    logits.attach_grad()
    with autograd.record():
        losses = tagger.loss()(logits, nd.array(labels, dtype="int32"))
    losses.backward()
    log_p = np.log(logits.softmax().asnumpy())
    expected = [-log_p[0, 1, 2], -(log_p[1, 1, 0] + log_p[1, 2, 4] + log_p[1, 3, 1]) / 3, 0]
    np.testing.assert_allclose(losses.asnumpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.abs(logits.grad.asnumpy()).max(axis=2) > 0, labels >= 0)


def test_words_beyond_the_maximum_are_o_and_counted(tagger):
    words = ["was", "3"] * 20  # 40 words, of which 30 have room
    first, all_words = tagger.predict([words[:30], words])
    assert all_words == first + ["O"] * 10
    tags = ["O", "B-day"] * 20
    score = tagger.score([sentence(words, " ".join(tags)), sentence("was 3", "O B-day")])
    assert score == score_tags([tags, tags[:2]], [all_words, *tagger.predict(["was 3"])]) | {"words_cut": 10}
    assert score["recall"] <= 16 / 21
    assert describe(score).endswith("on 2 texts; 10 words beyond --max-length count as O")


@given(st.lists(st.tuples(st.sampled_from(["the", "acting", "was", "3", "not"]), st.booleans()), max_size=12))
def test_words_without_a_piece_shift_nothing(tagger, words):
    plain = [word for word, _ in words]
    mixed = [part for word, odd in words for part in ([word, "\0"] if odd else [word])]
    ((*_, labels),) = tagger.encode([sentence(mixed)])
    assert (labels >= 0).sum() == len(plain)
    (tags,), (expected,) = tagger.predict([mixed]), tagger.predict([plain])
    assert [tag for tag, word in zip(tags, mixed, strict=True) if word != "\0"] == expected
    assert {tag for tag, word in zip(tags, mixed, strict=True) if word == "\0"} <= {"O"}


@given(st.lists(st.lists(TEXTS, max_size=5), min_size=1, max_size=3))
def test_there_is_a_tag_for_each_word_whatever_it_is(tagger, words):
    assert [len(tags) for tags in tagger.predict(words)] == [len(tokens) for tokens in words]


def test_scores_are_those_of_the_answers(tagger, films):
    examples = tagger.read(films, "test")
    answers = tagger.predict([example.tokens for example in examples])
    score = tagger.score(examples, 7)
    assert score == score_tags([example.tags for example in examples], answers) | {"words_cut": 0}


def test_a_tagger_beats_the_baseline_where_what_stands_before_counts(tagger, films):
    examples = tagger.read(films, "test")
    answers = most_frequent_tags(tagger.read(films, "train"))([example.tokens for example in examples])
    score = score_tags([example.tags for example in examples], answers)
    assert 0.3 < score["f1"] < tagger.score(examples)["f1"]


# What cannot be done


def test_a_type_of_the_test_that_was_never_seen_costs_no_work(tiny_checkpoint, films, run, tmp_path):
    path = tmp_path / "own.jsonl"
    row = {"split": "test", "tokens": ["at", "noon"], "tags": ["O", "B-time"]}
    path.write_text(films.read_text() + json.dumps(row) + "\n")
    message = (
        f"Error: {path}, line 271, column tags: the token 'noon' has the tag 'B-time', of a type that never occurs in "
        "the training split, which has 'day', 'film'\n"
    )
    options = ["--task", "tag", "--pretrained", tiny_checkpoint, "--max-length", 32, "--output", tmp_path / "run"]
    printed = invoke("finetune", *options, "--data", path, code=1)
    assert printed.endswith(message)
    assert "epoch" not in printed
    assert invoke("evaluate", run[0], "--data", path, code=1) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "sample"], "no file or folder 'sample'; tags are read from tickets, atis, snips, a .jsonl file"),
        (
            ["--data", "{films}", "--pooling", "mean"],
            "pooling makes one vector of a whole text: the task tag reads the encoding of every word",
        ),
        (
            ["--data", "{films}", "--multi-label"],
            "multi_label and class_weights are for the task classify, not for tag",
        ),
        (["--data", "{conll}"], "{conll} is one CoNLL file, and has training sentences only: give the folder of all"),
    ],
)
def test_mistakes_get_one_clear_error(tiny_checkpoint, films, tmp_path, options, message):
    conll = tmp_path / "own.conll"
    conll.write_text("at O\nnoon B-time\n")
    places = {"films": films, "conll": conll}
    options = [option.format(**places) for option in options]
    output = ["--pretrained", tiny_checkpoint, "--max-length", 32, "--output", tmp_path / "run"]
    printed = invoke("finetune", "--task", "tag", *options, *output, code=1)
    assert printed.startswith(f"Error: {message.format(**places)}")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
