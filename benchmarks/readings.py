"""How much of a long review a network is shown when it is scored."""

import math

from bert_tutorial.text.batches import batch_order, make_loader
from bert_tutorial.weights.config import model_arguments

import numpy as np
from mxnet.gluon.data import SimpleDataset

WHOLE = 10**6  # word pieces; no review has as many
SCORED_AT_ONCE = 32


def score(classifier, test, readings):
    """Accuracies, a dict with one for each way to read a review.

    Parameters
    ----------
    classifier : SentimentClassifier
    test : list of (str, int)
    readings : list of str
        One of `WAYS` and a number of word pieces, [CLS] and [SEP] included, as in "head 256".
    """
    pieces = [ids[1:-1] for ids in classifier.tokenizer.encode_batch([text for text, _ in test], WHOLE)]
    labels = np.array([label for _, label in test])
    accuracies = {}
    for reading in readings:
        way, length = reading.rsplit(" ", 1)
        parts = [WAYS[way](ids, int(length) - 2) for ids in pieces]
        ends = np.cumsum([len(own) for own in parts])
        found = logits(classifier, [part for own in parts for part in own])
        means = np.array([own.mean() for own in np.split(found, ends[:-1])])
        accuracies[reading] = float(np.mean((means > 0) == labels))
    return accuracies


def head(pieces, room):
    return [pieces[:room]]


def tail(pieces, room):
    return [pieces[-room:]]


def head_and_tail(pieces, room):
    """A quarter from the beginning, the rest from the end: of 512, Sun et al. 2019 took 128 and 382."""
    return [pieces if len(pieces) <= room else np.append(pieces[: room // 4], pieces[room // 4 - room :])]


def windows(pieces, room):
    """The whole review in as few parts as fit, all about equally long."""
    return np.array_split(pieces, max(1, math.ceil(len(pieces) / room)))


WAYS = {"head": head, "tail": tail, "head + tail": head_and_tail, "mean of windows": windows}


def logits(classifier, parts):
    """How much a classifier prefers "positive", for parts of reviews, arrays of word ids: (len(parts),)."""
    vocabulary = classifier.vocabulary
    cls, sep = vocabulary[[vocabulary.cls_token, vocabulary.sep_token]]
    encoded = [np.array([cls, *part, sep], "int32") for part in parts]
    samples = SimpleDataset([(words, len(words), np.zeros_like(words), 0) for words in encoded])
    positions = model_arguments(classifier.config)["max_length"]
    loader = make_loader(samples, vocabulary, SCORED_AT_ONCE, shuffle=False, max_length=positions)
    found = [classifier.net(words, segments, lengths).asnumpy() for words, lengths, segments, _ in loader]
    order = np.concatenate(list(batch_order(samples, SCORED_AT_ONCE)))  # batches come sorted by length
    return np.diff(np.concatenate(found)[np.argsort(order)])[:, 0]
