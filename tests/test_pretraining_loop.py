"""The pre-training loop, its scores, and filling in a masked word."""

import math
from types import SimpleNamespace

from bert_tutorial import BERTModel, FastTokenizer, Recipe, fill_mask, seed_everything
from bert_tutorial.heads import BERTForPreTraining
from bert_tutorial.pretraining import pretrain_loop
from bert_tutorial.text.pretraining_examples import Batch, Examples, split_batch
from bert_tutorial.text.sentence_pairs import tokenize_corpus
from bert_tutorial.text.vocabulary import learn_vocabulary
from bert_tutorial.training import keeper
from bert_tutorial.training.initialization import initialize_for_pretraining, word_frequencies
from bert_tutorial.training.run import TrainingDivergedError
from bert_tutorial.training.scoring import PretrainingScore, evaluate_pretraining

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

CTX = mx.cpu()


def make_documents(count, seed):
    """Each speaks of one animal only: a sentence of another document shows by its animal."""
    random = np.random.RandomState(seed)
    animals = ["cat", "dog", "fox", "hen", "owl", "pig"]
    verbs = ["sees", "likes", "follows", "finds"]
    documents = []
    for _ in range(count):
        animal = random.choice(animals)
        sentences = [f"the {animal} {random.choice(verbs)} the {animal} ." for _ in range(6)]
        documents.append(SimpleNamespace(sentences=sentences))
    return documents


TRAIN, VALID = make_documents(120, 0), make_documents(20, 1)
VOCABULARY = learn_vocabulary((s for d in TRAIN for s in d.sentences), 120)
TOKENIZER = FastTokenizer(VOCABULARY)


def make_examples(documents, **options):
    options = {"batch_size": 16, "max_length": 20, **options}
    return Examples(tokenize_corpus(documents, TOKENIZER), VOCABULARY, **options)


def build(dropout=0.0, seed=1, hybridize=True):
    seed_everything(seed)
    net = BERTForPreTraining(BERTModel(len(VOCABULARY), 32, 64, 2, 2, dropout, max_length=20))
    initialize_for_pretraining(net, word_frequencies(make_examples(TRAIN).corpus, len(VOCABULARY)))
    if hybridize:
        net.hybridize(static_alloc=True)
    return net


def parameters(net):
    return {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}


@pytest.mark.slow
def test_it_learns_both_tasks():
    train, valid = make_examples(TRAIN), make_examples(VALID)
    net, rows = build(), []
    history = pretrain_loop(net, train, valid, 400, 3e-3, CTX, seed=1, on_round=rows.append)
    assert rows == history
    assert [row["step"] for row in history] == list(range(40, 401, 40))
    assert history[-1]["mlm_loss"] < history[0]["mlm_loss"]
    score = evaluate_pretraining(net, valid, CTX, word_frequencies(train.corpus, len(VOCABULARY)))
    assert score.mlm_accuracy > score.mlm_baseline + 0.3
    assert score.perplexity < score.baseline_perplexity / 3
    assert score.ns_accuracy > 0.85
    (best, probability), *others = fill_mask("the cat sees the [MASK] .", net, VOCABULARY)
    assert best == "cat"
    assert 1 >= probability >= max(p for _, p in others) > 0
    assert len(others) == 4


def test_scores_against_numpy():
    """Accuracy and loss counted by hand, one batch at a time, with a last batch that is smaller."""
    net, valid = build(), make_examples(VALID, batch_size=7)
    frequencies = word_frequencies(valid.corpus, len(VOCABULARY))
    score = evaluate_pretraining(net, valid, CTX, frequencies)
    whole = evaluate_pretraining(net, make_examples(VALID, batch_size=10**6), CTX, frequencies)
    assert (score.num_pairs, score.num_masked) == (whole.num_pairs, whole.num_masked)
    batches = []
    make = valid.batch
    valid.batch = lambda pairs, random: batches.append(make(pairs, random)) or batches[-1]
    assert evaluate_pretraining(net, valid, CTX, frequencies) == score  # the same pairs and masks again
    labels, right, losses, ns = [], [], [], []
    for batch in batches:
        mlm_logits, ns_logits = (logits.asnumpy().astype(float) for logits in net(*map(nd.array, batch[:4])))
        used = batch.masked_weights > 0
        label = batch.masked_labels[used].astype(int)
        log_probability = mlm_logits[used] - np.log(np.exp(mlm_logits[used]).sum(axis=1, keepdims=True))
        labels.extend(label)
        right.extend(log_probability.argmax(axis=1) == label)
        losses.extend(-log_probability[np.arange(len(label)), label])
        ns.extend((ns_logits[:, 0] > 0) == batch.ns_labels)
    assert len(ns) == score.num_pairs
    assert len(labels) == score.num_masked
    assert score.mlm_accuracy == pytest.approx(np.mean(right))
    assert score.mlm_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert score.ns_accuracy == pytest.approx(np.mean(ns))
    assert score.mlm_baseline == pytest.approx(np.mean(np.array(labels) == frequencies.argmax()))
    assert score.baseline_loss == pytest.approx(-np.log(frequencies)[labels].mean())


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 6, 11])
@pytest.mark.parametrize("next_sentence", [True, False])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, monkeypatch, stop_at, next_sentence):
    monkeypatch.setattr(keeper, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(keeper, "SAVE_SHARE", math.inf)

    def run(seed, train, **options):
        """Another start each time: a checkpoint must bring everything."""
        net = build(dropout=0.2, seed=seed)
        valid = make_examples(VALID, next_sentence=next_sentence)
        history = pretrain_loop(net, train, valid, 12, 1e-3, CTX, rounds=3, seed=5, **options)
        # an untrained next-sentence head is not in the checkpoint, so its loss is another one
        left_out = ("second",) if next_sentence else ("second", "ns_")
        shown = [{k: v for k, v in row.items() if not any(part in k for part in left_out)} for row in history]
        return parameters(net), shown

    examples = make_examples(TRAIN[:30], next_sentence=next_sentence)  # two epochs
    expected, history = run(1, examples)
    assert not any(math.isnan(row["valid_mlm_accuracy"]) for row in history)
    stopping, steps = make_examples(TRAIN[:30], next_sentence=next_sentence), iter(range(1, 99))
    make = stopping.batch

    def batch(*arguments):
        if next(steps) == stop_at:
            raise Stop
        return make(*arguments)

    stopping.batch = batch
    path = tmp_path / "checkpoint.params"
    with pytest.raises(Stop):
        run(1, stopping, checkpoint=path)
    assert path.exists() == (stop_at > 1)
    found, resumed = run(1 if stop_at == 1 else 2, examples, checkpoint=path, resume=True)
    assert resumed == history
    for name, value in expected.items():
        if next_sentence or not name.startswith(("ns_classifier", "bert.pooler")):  # never trained, so never saved
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_without_next_sentences_its_head_is_left_alone():
    net = build()
    before = parameters(net)
    examples = {"next_sentence": False}
    history = pretrain_loop(
        net, make_examples(TRAIN, **examples), make_examples(VALID, **examples), 3, 1e-2, CTX, rounds=1, seed=1
    )
    after = parameters(net)
    assert math.isnan(history[-1]["valid_ns_accuracy"])
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert not {name for name in changed if name.startswith(("ns_classifier", "bert.pooler"))}
    assert "bert.encoder.word_embed.weight" in changed


def test_start_values():
    net = build()
    frequencies = word_frequencies(make_examples(TRAIN).corpus, len(VOCABULARY))
    assert frequencies.sum() == pytest.approx(1)
    assert frequencies.min() > 0
    bias = net.mlm_decoder.decoder[3].bias.data().asnumpy()
    np.testing.assert_allclose(np.exp(bias), frequencies, rtol=1e-5)
    assert net.mlm_decoder.decoder[3].weight is net.bert.encoder.word_embed.weight
    assert net.bert.encoder.word_embed.weight.data().asnumpy().std() == pytest.approx(32**-0.5, rel=0.1)


def test_perplexity_never_overflows():
    """Finding 14: exp(710) is beyond the range of a float."""
    score = PretrainingScore(0.0, 710.0, 0.5, 0.7, 1, 1, 0.0, 1e9)
    assert score.perplexity == score.baseline_perplexity == math.inf
    score = score._replace(mlm_loss=math.log(3), baseline_loss=math.nan)
    assert score.perplexity == pytest.approx(3)
    assert math.isnan(score.baseline_perplexity)


def test_a_rate_that_is_far_too_high_ends_as_a_diverged_run():
    """Finding 14: the loss is a number still, but its perplexity is none that JSON could hold."""
    net, rows = build(hybridize=False), []
    before = parameters(net)
    with pytest.raises(
        TrainingDivergedError, match=r"^valid perplexity became inf at step 4\. .* before training"
    ) as end:
        pretrain_loop(
            net, make_examples(TRAIN), make_examples(VALID), 8, 300, CTX, rounds=2, seed=1, on_round=rows.append
        )
    assert "\n" not in str(end.value)
    assert rows == []
    for name, array in parameters(net).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("next_sentence", [True, False])
def test_accumulated_batches_equal_one_large_batch(next_sentence):
    class Cut(Examples):
        """The same batches, each cut into parts."""

        def stream(self, seed):
            for step, pairs in enumerate(super().stream(seed)):
                parts = split_batch(self.batch(pairs, np.random.RandomState(step)), self.parts)
                yield from parts

        def batch(self, pairs, random):
            return pairs if isinstance(pairs, Batch) else super().batch(pairs, random)

    results = []
    for parts in (1, 3):
        train = Cut(make_examples(TRAIN).corpus, VOCABULARY, 16, 20, next_sentence)
        train.parts = parts
        net = build()
        valid = make_examples(VALID, next_sentence=next_sentence)
        history = pretrain_loop(net, train, valid, 4, 1e-3, CTX, recipe=Recipe(accumulate=parts), rounds=2, seed=1)
        results.append((parameters(net), history))
    (whole, history), (cut, cut_history) = results
    for row, other in zip(cut_history, history, strict=True):
        assert row["mlm_loss"] == pytest.approx(other["mlm_loss"], rel=1e-4)
        assert row["ns_loss"] == pytest.approx(other["ns_loss"], rel=1e-4)
    for name, array in whole.items():
        if not name.endswith("W_k.bias"):  # see test_devices.assert_close
            np.testing.assert_allclose(cut[name], array, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("text", ["no mask", "[MASK] and [MASK]"])
def test_fill_mask_wants_one_mask(text):
    with pytest.raises(ValueError, match="once"):
        fill_mask(text, build(), VOCABULARY)


def test_fill_mask_at_the_ends_and_in_capitals():
    net = build()
    for text in ("[MASK]", "[MASK] cat", "The CAT [MASK]"):
        guesses = fill_mask(text, net, VOCABULARY, count=3)
        assert len(guesses) == 3
        assert [p for _, p in guesses] == sorted((p for _, p in guesses), reverse=True)
    assert fill_mask("The CAT [MASK]", net, VOCABULARY) == fill_mask("the cat [MASK]", net, VOCABULARY)


@pytest.mark.parametrize(
    ("options", "message"), [({"num_steps": 0}, "steps"), ({"lr": -1}, "lr"), ({"rounds": 0}, "rounds")]
)
def test_settings_out_of_range(options, message):
    arguments = {"num_steps": 2, "lr": 1e-3, **options}
    with pytest.raises(ValueError, match=message):
        pretrain_loop(build(), make_examples(TRAIN), make_examples(VALID), ctx=CTX, **arguments)
