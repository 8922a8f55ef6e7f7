"""The pre-training loop, its scores, and filling in a masked word."""

import math
from types import SimpleNamespace

from bert_tutorial import BERTModel, FastTokenizer, fill_mask, seed_everything, training
from bert_tutorial.examples import Examples, tokenize_corpus
from bert_tutorial.pretraining import (
    BERTForPreTraining,
    evaluate_pretraining,
    initialize_for_pretraining,
    pretrain_loop,
    word_frequencies,
)
from bert_tutorial.text import learn_vocabulary

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
    monkeypatch.setattr(training, "SAVE_INTERVAL", 0)
    monkeypatch.setattr(training, "SAVE_SHARE", math.inf)

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


@pytest.mark.parametrize(("options", "message"), [({"num_steps": 0}, "steps"), ({"lr": -1}, "lr")])
def test_settings_out_of_range(options, message):
    arguments = {"num_steps": 2, "lr": 1e-3, **options}
    with pytest.raises(ValueError, match=message):
        pretrain_loop(build(), make_examples(TRAIN), make_examples(VALID), ctx=CTX, **arguments)
