"""Does pre-training help? One task with few labels: a pre-trained BERT, the same BERT untrained, and a bag of words.

The task: which library does a docstring come from? Its texts are modules that were held out from pre-training; those
with labels to learn from and those for the test come from different modules. The libraries' names are taken out.

Source: Devlin et al. 2018, section 4, for the fine-tuning.
"""

import random
import re
from collections import Counter, defaultdict
from itertools import chain, islice, product, repeat
from statistics import mean
from typing import NamedTuple

import mxnet as mx
import numpy as np
from mxnet import gluon

from ..baselines import logistic_regression
from ..encoder import BERTModel
from ..finetuning import train_loop
from ..heads import BERTClassifier, BERTForPreTraining
from ..machine.devices import list_devices
from ..machine.seeds import seed_everything
from ..text.batches import encode_dataset, make_loader
from ..text.wordpiece import make_tokenizer
from ..training.initialization import initialize_for_pretraining
from ..training.scoring import evaluate
from ..weights.config import model_arguments, read_config, tokenizer_settings
from ..weights.loading import load_pretrained
from ..weights.sources import pretrained_folder

PRETRAINED, RANDOM, BAG_OF_WORDS = LEARNERS = "pre-trained BERT", "random BERT", "bag of words"
ALIASES = ("np", "pd", "plt", "mpl", "mx", "nlp", "hf", "hub", "hugging", "face")  # the same libraries by other names
LEAST_WORDS = 8  # of a docstring in the task
BATCH_SIZE = 16


class Task(NamedTuple):
    """Texts of several classes.

    Attributes
    ----------
    classes : tuple of str
    train, test : list of (str, int)
        Text and class.
    """

    classes: tuple
    train: list
    test: list


class Result(NamedTuple):
    """What one of `LEARNERS` has learned from one draw of labels."""

    learner: str
    num_labels: int
    seed: int
    lr: float | None  # a bag of words has none
    accuracy: float


class Summary(NamedTuple):
    """Accuracies over the seeds."""

    mean: float
    low: float
    high: float
    lr: float | None


def library_task(corpus, num_libraries=8):
    """Make the task from documents that were held out from pre-training.

    Parameters
    ----------
    corpus : Corpus
        Of docstrings, from `load_corpus("docstrings").split()[1]`.
    num_libraries : int, default 8
        Those with the most docstrings in either half of their modules; each has as many test texts as any other.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        The corpus has fewer libraries of two modules or more.
    """
    modules = defaultdict(list)  # library -> a list of docstrings for each module
    for document in corpus.documents:
        texts = [text for passage in document.passages if len((text := " ".join(passage)).split()) >= LEAST_WORDS]
        if texts:
            modules[document.source].append(texts)
    names = re.compile(rf"\b(?:{'|'.join(map(re.escape, (*modules, *ALIASES)))})\b\W?", re.IGNORECASE)
    sides = {}  # library -> docstrings to learn from, and for the test
    for library, found in modules.items():
        sides[library] = [], []
        for texts in sorted(found, key=len, reverse=True):  # the larger half to where there is less
            min(sides[library], key=len).extend(names.sub("", text) for text in texts)
    count = {library: min(map(len, both)) for library, both in sides.items()}
    classes = sorted((name for name in count if count[name]), key=lambda name: (-count[name], name))[:num_libraries]
    if len(classes) < num_libraries:
        raise ValueError(f"the corpus must hold {num_libraries} libraries of two modules or more")
    train, test = (
        [(text, label) for label, library in enumerate(classes) for text in sides[library][side]] for side in (0, 1)
    )
    # as many test texts of each: else always naming the largest library would score well
    smallest = min(Counter(label for _, label in test).values())
    even = draw_labels(Task(tuple(classes), test, []), smallest * num_libraries, seed=0)
    return Task(tuple(classes), train, even)


def draw_labels(task, count, seed):
    """Draw labelled texts, as many of each class as of any other.

    Parameters
    ----------
    task : Task
    count : int
        A multiple of the number of classes, or the rest is left out.
    seed : int

    Returns
    -------
    list of (str, int)

    Raises
    ------
    ValueError
        A class has fewer texts.
    """
    number = count // len(task.classes)
    drawn = []
    for label, name in enumerate(task.classes):
        texts = [text for text, own in task.train if own == label]
        if number > len(texts):
            raise ValueError(f"{name} has {len(texts)} texts, not {number}: ask for fewer labels")
        drawn += [(text, label) for text in random.Random(seed).sample(texts, number)]
    return drawn


def compare(task, name_or_path="small", label_counts=(16, 64, 256), seeds=5, lrs=(3e-4, 1e-3), num_steps=150, ctx=None):
    """Learn from the same few labels: a pre-trained BERT, the same BERT untrained, and a bag of words.

    The bag of words is `baselines.logistic_regression`, better at this task than the naive Bayes there.

    Parameters
    ----------
    task : Task
    name_or_path : str or path
        The pre-trained BERT, as for `load_pretrained`.
    label_counts : sequence of int
    seeds : int, default 5
        Number of repetitions, each with other labelled texts and other random numbers.
    lrs : sequence of float
        Learning rates, all tried for both: one that suits a pre-trained BERT need not suit a random one.
    num_steps : int, default 150
        Of each fine-tuning.
    ctx : mxnet.Context or list of mxnet.Context, optional
        As for `train_loop`; the CPU if not given.

    Returns
    -------
    list of Result
    """
    devices = list_devices(mx.cpu() if ctx is None else ctx)
    folder = pretrained_folder(name_or_path)
    arguments = model_arguments(read_config(folder))
    _, vocabulary = load_pretrained(name_or_path)
    tokenizer = make_tokenizer(vocabulary, tokenizer_settings(folder))

    def loader(texts, shuffle):
        encoded = encode_dataset(texts, tokenizer, arguments["max_length"], cached=False)
        return make_loader(encoded, vocabulary, BATCH_SIZE, shuffle, arguments["max_length"])

    test = loader(task.test, shuffle=False)
    results = []
    for num_labels, seed in product(label_counts, range(1, seeds + 1)):
        labelled = draw_labels(task, num_labels, seed)
        train = _Repeated(loader(labelled, shuffle=True), num_steps)
        for learner, lr in product((PRETRAINED, RANDOM), lrs):
            seed_everything(seed)
            pretrained = learner == PRETRAINED
            bert = load_pretrained(name_or_path, devices)[0] if pretrained else untrained(arguments, devices)
            net = BERTClassifier(bert, len(task.classes))
            net.classifier.initialize(ctx=devices)
            net.hybridize(static_alloc=True)
            train_loop(net, train, None, 1, lr, devices, gluon.loss.SoftmaxCELoss(), seed=seed)
            results.append(Result(learner, num_labels, seed, lr, evaluate(net, test, devices).accuracy))
        bag_of_words = logistic_regression().fit(*zip(*labelled, strict=True))
        accuracy = float(bag_of_words.score(*zip(*task.test, strict=True)))
        results.append(Result(BAG_OF_WORDS, num_labels, seed, None, accuracy))
    return results


def summarize(results):
    """Mean, lowest and highest over the seeds, at the learning rate that serves each learner and number of labels best.

    Parameters
    ----------
    results : list of Result

    Returns
    -------
    dict
        From (learner, number of labels) to Summary.
    """
    cells = defaultdict(lambda: defaultdict(list))
    for result in results:
        cells[result.learner, result.num_labels][result.lr].append(result.accuracy)
    summary = {}
    for cell, by_lr in cells.items():
        lr = max(by_lr, key=lambda lr: mean(by_lr[lr]))
        summary[cell] = Summary(mean(by_lr[lr]), min(by_lr[lr]), max(by_lr[lr]), lr)
    return summary


class _Repeated:
    """Batches of a loader, over and over, until there are enough."""

    def __init__(self, loader, num_batches):
        self.loader, self.num_batches = loader, num_batches

    def __len__(self):
        return self.num_batches

    def __iter__(self):
        return islice(chain.from_iterable(repeat(self.loader)), self.num_batches)


def untrained(arguments, devices):
    """A BERTModel as it was before its pre-training; from its arguments, a dict, and a list of devices."""
    net = BERTForPreTraining(BERTModel(**arguments))
    vocab_size = arguments["vocab_size"]
    initialize_for_pretraining(net, np.full(vocab_size, 1 / vocab_size), devices)
    return net.bert
