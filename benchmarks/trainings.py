"""One network is trained with given settings, a dict, and scored: for `few_labels` and `label_curve`."""

import hashlib
import json
import math
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path

import bert_tutorial as bt
from bert_tutorial.classifier import LABELS
from bert_tutorial.course.transfer import untrained
from bert_tutorial.training.layers import decay_rates
from bert_tutorial.training.progress import TrainingDivergedError
from bert_tutorial.weights.config import model_arguments, read_config
from bert_tutorial.weights.sources import pretrained_folder

import click
import mxnet as mx
from mxnet import gluon

from .readings import score

BAG_OF_WORDS = "bag of words"  # beside "pre-trained" and "random", where a training starts
LOSS = gluon.loss.SoftmaxCELoss()


def run(settings, labelled, test):
    """Train as the settings say, on (text, label) pairs, and score on others: all of a row but its settings."""
    if settings["start"] == BAG_OF_WORDS:
        scores = list(bt.score_baselines(labelled, test))
        accuracy, seconds = {score.name: score.accuracy for score in scores}, sum(score.seconds for score in scores)
    else:
        classifier, seconds = train(settings, labelled)
        accuracy = score(classifier, test, settings["readings"])
    click.echo(", ".join(f"{name} {value:.4f}" for name, value in accuracy.items()), err=True)
    return {"accuracy": accuracy, "count": len(test), "seconds": seconds}


def train(settings, labelled):
    """A SentimentClassifier, trained on (text, label) pairs, and the seconds that took.

    A training that diverges gives the network it was put back to.
    """
    bt.seed_everything(settings["seed"])
    classifier = start(settings)
    batches = classifier.batches(labelled, settings["batch_size"], shuffle=True, cached=False)
    num_steps = len(batches) * settings["epochs"]
    batches = ParameterMean(classifier.net, batches, after=math.ceil(num_steps * (1 - settings["averaged"])))
    recipe = bt.Recipe(bias_correction=settings["bias_correction"])
    options = {"recipe": recipe, "seed": settings["seed"]}
    started = time.perf_counter()
    with redirect_stdout(sys.stderr):  # a line for each epoch
        try:
            bt.train_loop(classifier.net, batches, None, settings["epochs"], settings["lr"], mx.cpu(), LOSS, **options)
            batches.put_in()
        except TrainingDivergedError as error:
            print(error)
    return classifier, time.perf_counter() - started


def start(settings):
    """The SentimentClassifier before its training."""
    classifier = bt.SentimentClassifier.from_pretrained(
        settings["pretrained"], settings["max_length"], pooling=settings["pooling"]
    )
    if settings["start"] == "random":
        bert = untrained(model_arguments(classifier.config), [mx.cpu()])
        net = bt.BERTClassifier(bert, num_classes=len(LABELS), pooling=settings["pooling"])
        net.classifier.initialize()
        classifier = replace(classifier, net=net)
    bert = classifier.net.bert
    blks = list(bert.encoder.blks)
    for blk in blks[len(blks) - settings["top_layers_anew"] :]:
        blk.initialize(force_reinit=True)
    decay_rates(bert, settings["layer_decay"])
    return classifier


class ParameterMean:
    """Batches of a loader, and the mean of the parameters after each of the last steps that are taken with them.

    Parameters
    ----------
    net : mxnet.gluon.Block
    batches : mxnet.gluon.data.DataLoader
    after : int
        As many steps do not count.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization".
    """

    def __init__(self, net, batches, after):
        self.batches, self.after = batches, after
        self.parameters = [p for p in net.collect_params().values() if p.grad_req != "null"]
        self.steps, self.sums = 0, []

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for batch in self.batches:  # who asks for the next batch has taken the step with the last one
            self._add()
            self.steps += 1
            yield batch

    def _add(self):
        if self.steps > self.after:
            sums = self.sums or [0] * len(self.parameters)
            self.sums = [total + parameter.data() for total, parameter in zip(sums, self.parameters, strict=True)]

    def put_in(self):
        """Let the network have the mean, after the last step; if none counts, it keeps what it has."""
        self._add()
        if self.sums:
            for parameter, total in zip(self.parameters, self.sums, strict=True):
                parameter.set_data(total / (self.steps - self.after))


def name_of(settings):
    """What learns, in words: the name of a pre-trained BERT, for example."""
    if settings["start"] == BAG_OF_WORDS:
        return BAG_OF_WORDS
    name = Path(settings["pretrained"]).name
    return name if settings["start"] == "pre-trained" else f"{name}, {settings['start']} weights"


def digest_of_reviews(*datasets):
    """Twelve hexadecimal digits that other reviews, or the same in another order, do not have."""
    found = hashlib.sha256()
    for dataset in datasets:
        for text, label in dataset:
            found.update(f"{label} {text}\n".encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:12]


@cache
def digest_of_weights(start, pretrained):
    """Twelve hexadecimal digits that other weights do not have; a random start has only sizes and a vocabulary."""
    folder = pretrained_folder(pretrained)
    if start == "pre-trained":
        content = (folder / "model.safetensors").read_bytes()
    else:
        content = json.dumps(model_arguments(read_config(folder))).encode() + (folder / "vocab.txt").read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]
