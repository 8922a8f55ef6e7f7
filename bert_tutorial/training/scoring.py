"""How good a network is on a dataset."""

import math
from typing import NamedTuple

import numpy as np
from mxnet import cpu, gluon, nd
from mxnet.ndarray import NDArray
from tqdm.auto import tqdm

from ..machine.interrupts import raise_kept_interrupt
from ..text.sentence_pairs import make_pairs
from .devices import devices_of, example_shares, shares
from .workers import ALONE

Z = 1.959964  # a normal variable lies within this many standard deviations 95 times in 100


def wilson_interval(right, count):
    """Say between which limits the accuracy on samples of this kind lies, with 95 % confidence.

    That is what chance in the choice of the test samples may do; other training samples or another seed come on top.

    Parameters
    ----------
    right : int
        Samples answered right.
    count : int
        All samples.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        No samples, or more right than there are.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if not 0 <= right <= count or not count:
        raise ValueError(f"{right} of {count} samples cannot be right")
    share = right / count
    middle = share + Z**2 / (2 * count)
    reach = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    low, high = (middle - reach) / scale, (middle + reach) / scale
    return low if right else 0.0, high if right < count else 1.0  # not off by a rounding


class Evaluation(NamedTuple):
    """Mean over all samples of a dataset."""

    accuracy: float  # nan unless logits are (B, number of classes), two at least, and labels (B,)
    loss: float
    count: int

    @property
    def interval(self):
        """Of the accuracy, from `wilson_interval`; nan, nan if that is nan."""
        if math.isnan(self.accuracy):
            return math.nan, math.nan
        return wilson_interval(round(self.accuracy * self.count), self.count)


def losses_of(loss_fn, logits, labels):
    """One loss per sample: (B,) or (B, 1)."""
    losses = loss_fn(logits, labels)
    count = len(labels)
    if not isinstance(losses, NDArray) or losses.shape not in ((count,), (count, 1)):
        found = f"shape {losses.shape}" if isinstance(losses, NDArray) else f"a {type(losses).__name__}"
        raise ValueError(
            f"loss_fn must give one loss per sample, shape ({count},) or ({count}, 1); "
            f"of logits {logits.shape} and labels {labels.shape} it made {found}"
        )
    return losses


def count_right(logits, labels):
    """How many samples are right, and how many can be right or wrong at all: for regression, say, none."""
    if labels.ndim != 1 or logits.ndim != 2 or logits.shape[1] < 2:
        return nd.zeros(1, logits.context), 0
    return (logits.argmax(axis=1) == labels.astype("float32")).sum(), len(labels)


def evaluate(net, data, ctx, loss_fn=None, workers=ALONE):
    """Score a network on a dataset, every sample counted once.

    Parameters
    ----------
    net : mxnet.gluon.Block
        As for `train_loop`.
    data : mxnet.gluon.data.DataLoader
        As for `train_loop`.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is; several devices share out each batch.
    loss_fn : callable, optional
        As for `train_loop`; softmax cross-entropy if not given.
    workers : Workers, optional
        As for `train_loop`; all get the whole dataset's score.

    Returns
    -------
    Evaluation
        accuracy, loss, count.

    Raises
    ------
    ValueError
        The dataset is empty, the network is not on these devices, or the loss is not one per sample.
    """
    loss_fn = loss_fn or gluon.loss.SoftmaxCELoss()
    devices = devices_of(net, ctx)
    sums, count = np.zeros(3), 0  # right, classified, loss
    for batch in tqdm(data, desc="evaluate", unit="batch", leave=False):
        raise_kept_interrupt()
        scores = []  # of each device; read when all have their work, for reading waits
        for words, valid_length, segments, labels in shares(batch, devices, workers):
            logits = net(words, segments, valid_length)
            scores.append((*count_right(logits, labels), losses_of(loss_fn, logits, labels).sum()))
        for right, classified, loss in scores:
            sums += right.asscalar(), classified, loss.asscalar()
        count += len(batch[0])
    if not count:
        raise ValueError("nothing to evaluate: the dataset is empty")
    right, classified, loss = workers.sum(nd.array(sums, cpu(), "float64")).asnumpy().tolist()
    return Evaluation(right / classified if classified else math.nan, loss / count, count)


class PretrainingScore(NamedTuple):
    """How well a held-out text is predicted, and how well without any network."""

    mlm_accuracy: float  # share of masked word pieces whose most probable prediction is right
    mlm_loss: float  # mean over the masked word pieces, in nats
    ns_accuracy: float  # 0.5 for guessing; nan without next-sentence prediction
    ns_loss: float
    num_masked: int
    num_pairs: int
    mlm_baseline: float  # accuracy of always saying the training text's most frequent word piece
    baseline_loss: float  # of saying each word piece's frequency in the training text

    @property
    def perplexity(self):
        """Of the masked word pieces; infinite beyond the range of floating-point numbers."""
        return _exp(self.mlm_loss)

    @property
    def baseline_perplexity(self):
        """Of the masked word pieces, by their frequencies in the training text."""
        return _exp(self.baseline_loss)


def _exp(number):
    try:
        return math.exp(number)
    except OverflowError:
        return math.inf


def evaluate_pretraining(net, examples, ctx, frequencies, limit=None, workers=ALONE):
    """Score both predictions on a held-out text; always the same pairs and masks.

    Parameters
    ----------
    net : BERTForPreTraining
    examples : Examples
    ctx : mxnet.Context or list of mxnet.Context
        As for `evaluate`.
    frequencies : np.ndarray
        Of the training text, from `word_frequencies`, (V,).
    limit : int, optional
        Score this many pairs only.
    workers : Workers, optional
        As for `evaluate`.

    Returns
    -------
    PretrainingScore

    Raises
    ------
    ValueError
        The text holds nothing that the vocabulary knows, or the network is not on these devices.
    """
    devices = devices_of(net, ctx)
    random = np.random.RandomState(0)
    pairs = make_pairs(examples.corpus, examples.max_length, random, examples.next_sentence)[:limit]
    sums = np.zeros(4)
    labels = []
    for begin in range(0, len(pairs), examples.batch_size):
        raise_kept_interrupt()
        batch = examples.batch(pairs[begin : begin + examples.batch_size], random)
        scores = [_score(net, share) for _, share in example_shares(batch, devices, workers)]
        for score in scores:  # all devices have work before one is read
            sums += score.asnumpy().ravel()
        labels.append(batch.masked_labels[batch.masked_weights > 0].astype(int))
    labels = np.concatenate(labels)
    if not len(labels):
        raise ValueError("the held-out text has no word piece to predict: hold out more text")
    sums = workers.sum(nd.array(sums, cpu(), "float64")).asnumpy()
    mlm_right, mlm_loss = (sums[:2] / len(labels)).tolist()
    ns_right, ns_loss = (sums[2:] / len(pairs)).tolist() if examples.next_sentence else (math.nan, math.nan)
    baseline = float(np.mean(labels == frequencies.argmax())), -float(np.log(frequencies[labels]).mean())
    return PretrainingScore(mlm_right, mlm_loss, ns_right, ns_loss, len(labels), len(pairs), *baseline)


def _score(net, batch):
    """Sums over a batch of what is right, and of the losses, for both tasks: (4, 1)."""
    mlm_logits, ns_logits = net(*batch[:4])
    mlm_right = (mlm_logits.argmax(axis=1) == batch.masked_labels) * batch.masked_weights
    mlm_losses = gluon.loss.SoftmaxCELoss()(mlm_logits, batch.masked_labels) * batch.masked_weights
    ns_right = (ns_logits.reshape(-1) > 0) == batch.ns_labels
    ns_losses = gluon.loss.SigmoidBCELoss()(ns_logits, batch.ns_labels)
    return nd.stack(*(array.sum() for array in (mlm_right, mlm_losses, ns_right, ns_losses)))
