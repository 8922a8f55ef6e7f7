"""Fine-tuning a pre-trained BERT: the training loop, exact evaluation, prediction.

In the shape comments: B samples, L positions.

Source: Devlin et al. 2018, sections 3.2 and A.3.
"""

import math

from mxnet import autograd, nd
from tqdm.auto import tqdm

from .training.devices import place, shares
from .training.recipe import Recipe, require_count
from .training.restoring import only_values_change
from .training.run import Training, in_groups
from .training.scoring import _count_right, _losses, evaluate
from .training.workers import ALONE

PAPER = Recipe()


def train_loop(
    net,
    train_data,
    test_data,
    num_epoch,
    lr,
    ctx,
    loss_fn,
    *,
    recipe=PAPER,
    valid_data=None,
    seed=None,
    checkpoint=None,
    resume=False,
    settings=None,
    on_epoch=None,
    workers=ALONE,
):
    """Fine-tune a classifier with AdamW, linear warm-up and decay, and gradient clipping.

    It computes in the precision that `set_precision` gave the network. However it ends, nothing but the values of the
    parameters is changed: the network is where it was, with its own `grad_req` and `wd_mult`, and gradients are zero.
    Parameters that the loss does not use stay as they are; one line names them.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised. Called as `net(words, segments, valid_length)`, gives what `loss_fn` takes: for a classifier,
        logits (B, number of classes). Parameters whose `grad_req` is "null" are not trained.
    train_data : mxnet.gluon.data.DataLoader
        Of (words (B, L), valid_length (B,), segments (B, L), labels (B,) or (B, ...)).
    test_data : mxnet.gluon.data.DataLoader or None
        Scored after each epoch if there is no `valid_data`; never used to choose anything.
    num_epoch : int
    lr : float
        The learning rate's peak, 2e-5 to 5e-5 in the paper. The optimiser is GluonNLP's BERTAdam: AdamW without bias
        correction, as in the authors' code. That makes the first steps long; on a few hundred samples a larger rate
        often learns nothing (Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning", section 4).
    ctx : mxnet.Context or list of mxnet.Context
        Where to train. Several devices share out each batch; the step is that of one device.
    loss_fn : callable
        Any `loss_fn(logits, labels)` that gives one loss per sample, (B,) or (B, 1), as Gluon's losses do.
    recipe : Recipe, optional
        The paper's if not given.
    valid_data : mxnet.gluon.data.DataLoader, optional
        Scored after each epoch; the parameters of the best one, by accuracy, then by loss, are kept at the end.
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
        valid_ or test_accuracy and _loss. Accuracies are left out where `Evaluation` has none.

    Raises
    ------
    TrainingDivergedError
        The loss became NaN or infinite. `net` is put back to its last good parameters.
    ValueError
        No batches, no device or one twice, a setting out of range, nothing to train, a loss that is not one per sample,
        or a checkpoint that is damaged or of another run.
    OSError
        The checkpoint could not be written. The ones before are as they were.
    """
    if len(train_data) == 0:
        raise ValueError("train_data has no batches")
    require_count("num_epoch", num_epoch)
    if resume and not checkpoint:
        raise ValueError("resume needs the checkpoint to continue from")
    steps_per_epoch = math.ceil(len(train_data) / recipe.accumulate)
    scored, score_name = (valid_data, "valid") if valid_data is not None else (test_data, "test")
    with only_values_change(net):
        devices = place(net, ctx)
        _finish_initialization(net, train_data, devices)
        training = Training(
            net,
            lr,
            steps_per_epoch * num_epoch,
            recipe,
            devices,
            seed=seed,
            checkpoint=checkpoint,
            settings=settings,
            keep_best=valid_data is not None,
            workers=workers,
        )
        if resume:
            training.restore()
        for epoch in range(len(training.history) + 1, num_epoch + 1):
            row = training.train(
                (epoch - 1) * steps_per_epoch,
                steps_per_epoch,
                in_groups(train_data, recipe.accumulate),
                lambda group: _backward(net, group, loss_fn, devices, workers, training.loss_scale),
                _means,
                f"epoch {epoch}/{num_epoch}",
            )
            row["epoch"] = epoch
            if scored is not None:
                score = evaluate(net, scored, devices, loss_fn, workers)
                if not math.isnan(score.accuracy):
                    row[f"{score_name}_accuracy"] = score.accuracy
                row[f"{score_name}_loss"] = score.loss
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


def _backward(net, group, loss_fn, devices, workers, loss_scale):
    """Gradients of `loss_scale` times the group's mean loss, as far as this worker's samples go."""
    num_samples = sum(len(labels) for *_, labels in group)
    sums, tokens = {name: nd.zeros(1, devices[0]) for name in ("loss", "correct", "classified", "count")}, 0
    for batch in group:
        for words, valid_length, segments, labels in shares(batch, devices, workers):
            with autograd.record():
                logits = net(words, segments, valid_length)
                losses = _losses(loss_fn, logits, labels)
                loss = losses.sum() / num_samples * loss_scale
            loss.backward()
            correct, classified = _count_right(logits, labels)
            sums["loss"] = sums["loss"] + losses.sum().as_in_context(devices[0])
            sums["correct"] = sums["correct"] + correct.as_in_context(devices[0])
            sums["classified"] = sums["classified"] + classified
            sums["count"] = sums["count"] + len(labels)
        tokens += int(batch[1].sum().asscalar())
    return sums, tokens


def _means(sums):
    means = {"train_loss": sums["loss"] / sums["count"]}
    if sums["classified"]:
        means["train_accuracy"] = sums["correct"] / sums["classified"]
    return means


def _describe(row):
    scores = [f"{key.replace('_', ' ')} {row[key]:.4f}" for key in row if key.endswith(("accuracy", "loss"))]
    return f"epoch {row['epoch']}: {', '.join(scores)}, {row['tokens_per_second']:.0f} tokens/s, {row['seconds']:.0f} s"
