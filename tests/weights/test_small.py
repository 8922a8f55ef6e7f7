"""The small BERT that ships with the course is a BERT that works."""

import json

from bert_tutorial import FastTokenizer, fill_mask, load_corpus, load_for_pretraining, pretrain_loop
from bert_tutorial.machine.fetching import shipped_file
from bert_tutorial.text.pretraining_examples import Examples
from bert_tutorial.text.sentence_pairs import tokenize_corpus
from bert_tutorial.training.initialization import word_frequencies
from bert_tutorial.training.scoring import evaluate_pretraining

import mxnet as mx
import pytest


@pytest.mark.parametrize(
    ("text", "sensible"),
    [
        ("returns the [MASK] of the array", {"shape", "size", "length", "dimensions", "elements", "values", "type"}),
        ("Return a new [MASK] with the same shape.", {"array", "ndarray"}),
        ("Raise an [MASK] if the file does not exist.", {"error", "exception"}),
    ],
)
def test_it_fills_in_sensible_words(text, sensible):
    guesses = fill_mask(text)
    assert sensible & {word for word, _ in guesses}
    assert guesses[0][1] > 0.1


@pytest.mark.parametrize(("name", "limit"), [("small", 8_000_000), ("small-2400", 3_000_000)])
def test_they_are_small_enough_to_ship(name, limit):
    assert sum(file.stat().st_size for file in shipped_file(name).iterdir()) < limit


@pytest.mark.slow
def test_small_2400_is_about_to_leave_the_plateau():
    """A few steps more, and it guesses much better."""
    net, vocabulary = load_for_pretraining("small-2400")
    tokenizer = FastTokenizer(vocabulary)
    train, held_out = (
        Examples(tokenize_corpus(part.documents, tokenizer), vocabulary) for part in load_corpus().split()
    )
    frequencies = word_frequencies(train.corpus, len(vocabulary))
    before = evaluate_pretraining(net, held_out, mx.cpu(), frequencies, limit=1024)
    assert before.perplexity > before.baseline_perplexity / 3
    history = pretrain_loop(net, train, held_out, 300, 2e-3, mx.cpu(), rounds=1, seed=1)
    assert history[-1]["valid_perplexity"] < 0.85 * before.perplexity


@pytest.mark.slow
def test_its_figures_are_those_it_ships_with():
    """The text held out here differs a little from that of the machine that made it: other versions of libraries."""
    shipped = json.loads((shipped_file("small") / "metrics.json").read_text())
    net, vocabulary = load_for_pretraining("small")
    tokenizer = FastTokenizer(vocabulary)
    train, held_out = (tokenize_corpus(part.documents, tokenizer) for part in load_corpus().split())
    frequencies = word_frequencies(train, len(vocabulary))
    score = evaluate_pretraining(net, Examples(held_out, vocabulary), mx.cpu(), frequencies)
    assert score.mlm_accuracy > 3 * score.mlm_baseline
    assert score.ns_accuracy > 0.6
    for name in ("mlm_accuracy", "ns_accuracy", "mlm_baseline"):
        assert getattr(score, name) == pytest.approx(shipped[name], abs=0.05)
