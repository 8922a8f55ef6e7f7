"""Fine-tuning a pre-trained BERT: the training loop, exact evaluation, prediction.

Source: Devlin et al. 2018, sections 3.2 and A.3.
"""

import math
from itertools import islice
from typing import NamedTuple

import gluonnlp as nlp
from mxnet import autograd, cpu, gluon, nd
from tqdm.auto import tqdm

from .runtime import list_devices, raise_kept_interrupt
from .training import Recipe, Training, devices_of, place
from .workers import ALONE

LABELS = ("negative", "positive")


class Evaluation(NamedTuple):
    """Mean over all samples of a dataset."""

    accuracy: float
    loss: float
    count: int


def train_loop(
    net,
    train_data,
    test_data,
    num_epoch,
    lr,
    ctx,
    loss_fn,
    *,
    valid_data=None,
    warmup_ratio=0.1,
    weight_decay=0.01,
    clip_norm=1.0,
    accumulate=1,
    seed=None,
    checkpoint=None,
    resume=False,
    settings=None,
    on_epoch=None,
    workers=ALONE,
):
    """Fine-tune a classifier with AdamW, linear warm-up and decay, and gradient clipping.

    It computes in the precision that `set_precision` gave the network.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Called as `net(words, segments, valid_length)`, gives logits (B, number of classes).
    train_data : mxnet.gluon.data.DataLoader
        Of (words (B, L), valid_length (B,), segments (B, L), labels (B,)).
    test_data : mxnet.gluon.data.DataLoader or None
        Scored after each epoch if there is no `valid_data`; never used to choose anything.
    num_epoch : int
    lr : float
        The learning rate's peak, 2e-5 to 5e-5 in the paper. The optimiser is GluonNLP's BERTAdam: AdamW without bias
        correction, as in the authors' code. That makes the first steps long; on a few hundred samples a larger rate
        often learns nothing (Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning", section 4).
    ctx : mxnet.Context or list of mxnet.Context
        The network is moved there. Several devices share out each batch; the step is that of one device.
    loss_fn : mxnet.gluon.loss.Loss
        Gives one loss per sample.
    valid_data : mxnet.gluon.data.DataLoader, optional
        Scored after each epoch; the parameters of the best one are kept at the end.
    warmup_ratio : float, default 0.1
        Share of the steps in which the learning rate rises.
    weight_decay : float, default 0.01
        For weights; biases and LayerNorm have none.
    clip_norm : float, default 1.0
        Largest norm of the gradient of the mean loss.
    accumulate : int, default 1
        Number of batches whose gradients make one step, as if they were one batch.
    seed : int, optional
        The same seed gives the same numbers. Drawn from NumPy's generator if not given.
    checkpoint : str or path, optional
        File that holds the run: written every minute, after each epoch and when the training is interrupted.
    resume : bool, default False
        Continue from `checkpoint`, if it exists: the result has the same bits as that of a run never stopped.
    settings : dict, optional
        What else makes this run what it is: data, lengths, ... Resuming with others is refused.
    on_epoch : callable, optional
        Called with each row of the history, to draw a curve.
    workers : Workers, optional
        The processes that train this network together, from `join_workers`. All have the same data and share out each
        batch; the step is that of one process. Worker 0 reads and writes the checkpoint.

    Returns
    -------
    list of dict
        One for each epoch: epoch, train_loss, train_accuracy, seconds, tokens_per_second, and
        valid_ or test_accuracy and _loss.

    Raises
    ------
    TrainingDivergedError
        The loss became NaN or infinite. `net` is put back to its last good parameters.
    ValueError
        No batches, no device or one twice, a setting out of range, or a checkpoint that is damaged or of another run.
    OSError
        The checkpoint could not be written. The ones before are as they were.
    """
    if len(train_data) == 0:
        raise ValueError("train_data has no batches")
    if num_epoch < 1:
        raise ValueError(f"num_epoch must be at least 1, not {num_epoch}")
    if resume and not checkpoint:
        raise ValueError("resume needs the checkpoint to continue from")
    steps_per_epoch = math.ceil(len(train_data) / max(1, accumulate))
    recipe = Recipe(lr, steps_per_epoch * num_epoch, warmup_ratio, weight_decay, clip_norm, accumulate, seed=seed)
    devices = place(net, ctx)
    _finish_initialization(net, train_data, devices)
    training = Training(net, recipe, devices, checkpoint, settings, keep_best=valid_data is not None, workers=workers)
    if resume:
        training.restore()
    scored, score_name = (valid_data, "valid") if valid_data is not None else (test_data, "test")
    for epoch in range(len(training.history) + 1, num_epoch + 1):
        row = training.train(
            (epoch - 1) * steps_per_epoch,
            steps_per_epoch,
            _groups(train_data, accumulate),
            lambda group: _backward(net, group, loss_fn, devices, workers, training.loss_scale),
            _means,
            f"epoch {epoch}/{num_epoch}",
        )
        row["epoch"] = epoch
        if scored is not None:
            score = evaluate(net, scored, devices, loss_fn, workers)
            row[f"{score_name}_accuracy"], row[f"{score_name}_loss"] = score.accuracy, score.loss
        training.finish_round(row)
        tqdm.write(_describe(row))
        if on_epoch:
            on_epoch(row)
    training.finish()
    return training.history


def _finish_initialization(net, train_data, devices):
    """Show the network one batch if it has layers that still wait to see their input's size."""
    if any(parameter._deferred_init for parameter in net.collect_params().values()):
        words, valid_length, segments, _ = next(iter(train_data))
        net(*(array.as_in_context(devices[0]) for array in (words, segments, valid_length)))


def _groups(train_data, accumulate):
    """Lists of `accumulate` batches, one list for each step; the last one may be shorter."""
    batches = iter(train_data)
    while group := list(islice(batches, accumulate)):
        yield group


def shares(batch, devices, workers=ALONE):
    """Split a worker's samples of a batch over its devices, as evenly as it goes; some may have none.

    Parameters
    ----------
    batch : sequence of mxnet.nd.NDArray
        Samples are along the first axis.
    devices : list of mxnet.Context
    workers : Workers, optional

    Returns
    -------
    iterable of tuple of mxnet.nd.NDArray
        One for each device that has work, on that device.
    """
    mine = workers.share(len(batch[0]))
    devices = devices[: mine.stop - mine.start]
    if not devices:
        return ()
    batch = [array[mine] for array in batch]
    return zip(*(gluon.utils.split_and_load(array, devices, even_split=False) for array in batch), strict=True)


def _backward(net, group, loss_fn, devices, workers, loss_scale):
    """Gradients of `loss_scale` times the group's mean loss, as far as this worker's samples go."""
    num_samples = sum(len(labels) for *_, labels in group)
    sums, tokens = {name: nd.zeros(1, devices[0]) for name in ("loss", "correct", "count")}, 0
    for batch in group:
        for words, valid_length, segments, labels in shares(batch, devices, workers):
            with autograd.record():
                logits = net(words, segments, valid_length)
                losses = loss_fn(logits, labels)
                loss = losses.sum() / num_samples * loss_scale
            loss.backward()
            correct = (logits.argmax(axis=1) == labels.astype("float32")).sum()
            sums["loss"] = sums["loss"] + losses.sum().as_in_context(devices[0])
            sums["correct"] = sums["correct"] + correct.as_in_context(devices[0])
            sums["count"] = sums["count"] + nd.array([len(labels)], ctx=devices[0])
        tokens += int(batch[1].sum().asscalar())
    return sums, tokens


def _means(sums):
    return {"train_loss": sums["loss"] / sums["count"], "train_accuracy": sums["correct"] / sums["count"]}


def evaluate(net, data, ctx, loss_fn=None, workers=ALONE):
    """Score a classifier on a dataset, every sample counted once.

    Parameters
    ----------
    net : mxnet.gluon.Block
    data : mxnet.gluon.data.DataLoader
        As for `train_loop`.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is; several devices share out each batch.
    loss_fn : mxnet.gluon.loss.Loss, optional
        Softmax cross-entropy if not given.
    workers : Workers, optional
        As for `train_loop`; all get the whole dataset's score.

    Returns
    -------
    Evaluation
        accuracy, loss, count.

    Raises
    ------
    ValueError
        The dataset is empty, or the network is not on these devices.
    """
    loss_fn = loss_fn or gluon.loss.SoftmaxCELoss()
    devices = devices_of(net, ctx)
    correct = loss = count = 0
    for batch in tqdm(data, desc="evaluate", unit="batch", leave=False):
        raise_kept_interrupt()
        scores = []  # of each device; read when all have their work, for reading waits
        for words, valid_length, segments, labels in shares(batch, devices, workers):
            logits = net(words, segments, valid_length)
            right = logits.argmax(axis=1) == labels.astype("float32")
            scores.append((right.sum(), loss_fn(logits, labels).sum()))
        for right, losses in scores:
            correct += right.asscalar()
            loss += losses.asscalar()
        count += len(batch[0])
    if not count:
        raise ValueError("nothing to evaluate: the dataset is empty")
    correct, loss = workers.sum(nd.array([correct, loss], cpu(), "float64")).asnumpy()
    return Evaluation(float(correct / count), float(loss / count), count)


def predict_sentiment(net, ctx, vocabulary, tokenizer, sentence, max_length=512):
    """Say whether a sentence is positive or negative.

    Parameters
    ----------
    net : mxnet.gluon.Block
        A classifier whose class 1 is positive.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is; of several devices the first is used.
    vocabulary : gluonnlp.vocab.BERTVocab
    tokenizer : FastTokenizer or gluonnlp.data.BERTTokenizer
    sentence : str
    max_length : int, default 512
        Word pieces used, [CLS] and [SEP] included.

    Returns
    -------
    {"positive", "negative"}

    Raises
    ------
    ValueError
        The sentence is empty, or there is no device or one twice.
    """
    if not sentence.strip():
        raise ValueError("the sentence is empty")
    device, *_ = list_devices(ctx)
    transform = nlp.data.BERTSentenceTransform(tokenizer, max_length, vocab=vocabulary, pad=False, pair=False)
    words, valid_length, segments = transform([sentence])
    batch = (
        nd.array(array.reshape(shape), device)
        for array, shape in ((words, (1, -1)), (segments, (1, -1)), (valid_length, 1))
    )
    return LABELS[int(net(*batch).argmax(axis=1).asscalar())]


def _describe(row):
    scores = [f"{key.replace('_', ' ')} {row[key]:.4f}" for key in row if key.endswith(("accuracy", "loss"))]
    return f"epoch {row['epoch']}: {', '.join(scores)}, {row['tokens_per_second']:.0f} tokens/s, {row['seconds']:.0f} s"
