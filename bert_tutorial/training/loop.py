"""The loop of fine-tuning: any network and any loss, on labelled batches.

In the shape comments: B samples, L positions.

Source: Devlin et al. 2018, sections 3.2 and A.3.
"""

import math
from dataclasses import dataclass

from mxnet import autograd, gluon

from .devices import shares
from .gluon_trainer import waits_for_input
from .recipe import Recipe, require_count
from .restoring import only_values_change
from .run import Objective, Training, in_groups
from .scoring import count_right, evaluate, losses_of
from .workers import ALONE

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
    patience=None,
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
        The learning rate's peak, 2e-5 to 5e-5 in the paper. The steps are those of PyTorch's AdamW. BERT's authors
        left out its bias correction, and so does `Recipe(bias_correction=False)`: the first steps are then several
        times as long, and on a few hundred samples more runs fail (Zhang et al. 2021, "Revisiting Few-sample BERT
        Fine-tuning", section 4).
    ctx : mxnet.Context or list of mxnet.Context
        Where to train. Several devices share out each batch; the step is that of one device.
    loss_fn : callable
        Any `loss_fn(logits, labels)` that gives one loss per sample, (B,) or (B, 1), as Gluon's losses do.
    recipe : Recipe, optional
        The paper's if not given.
    valid_data : mxnet.gluon.data.DataLoader, optional
        Scored after each epoch; the parameters of the best one, by accuracy, then by loss, are kept at the end.
    patience : int, optional
        Stop when as many epochs in a row were no better than the best before them; with `valid_data`.
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
    if patience is not None:
        require_count("patience", patience)
        if valid_data is None:
            raise ValueError("patience needs valid_data, to tell a better epoch from a worse one")
    steps_per_epoch = math.ceil(len(train_data) / recipe.accumulate)
    ends = range(0, steps_per_epoch * num_epoch + 1, steps_per_epoch)
    scored, score_name = (valid_data, "valid") if valid_data is not None else (test_data, "test")
    with only_values_change(net):
        _finish_initialization(net, train_data)
        training = Training(
            net,
            lr,
            ends[-1],
            recipe,
            ctx,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            settings=settings,
            keep_best=valid_data is not None,
            workers=workers,
        )
        objective = FineTuning(
            net, train_data, scored, score_name, loss_fn, recipe.accumulate, training.devices, workers
        )
        return training.run(objective, ends, on_epoch, patience)


def _finish_initialization(net, train_data):
    """Show the network one batch if it has layers that still wait to see their input's size."""
    parameters = net.collect_params().values()
    if any(map(waits_for_input, parameters)):
        words, valid_length, segments, _ = next(iter(train_data))
        device = next(iter(parameters)).list_ctx()[0]
        net(*(array.as_in_context(device) for array in (words, segments, valid_length)))


@dataclass
class FineTuning(Objective):
    """The mean loss of a batch's samples, of any loss function that gives one for each."""

    net: gluon.nn.Block
    train_data: gluon.data.DataLoader
    scored: gluon.data.DataLoader
    score_name: str
    loss_fn: gluon.loss.Loss
    accumulate: int
    devices: list
    workers: object

    round_name = "epoch"
    sums = ("loss", "correct", "classified", "count")

    def groups(self, first_step, last_step):
        return in_groups(self.train_data, self.accumulate)

    def size(self, group):
        return sum(len(labels) for *_, labels in group)

    def num_tokens(self, group):
        return sum(int(valid_length.sum().asscalar()) for _, valid_length, *_ in group)

    def shares(self, batch):
        return shares(batch, self.devices, self.workers)

    def backward(self, share, size, loss_scale):
        words, valid_length, segments, labels = share
        with autograd.record():
            logits = self.net(words, segments, valid_length)
            losses = losses_of(self.loss_fn, logits, labels)
            loss = losses.sum() / size * loss_scale
        loss.backward()
        correct, classified = count_right(logits, labels)
        return {"loss": losses.sum(), "correct": correct, "classified": classified, "count": len(labels)}

    def means(self, totals):
        means = {"train_loss": totals["loss"] / totals["count"]}
        if totals["classified"]:
            means["train_accuracy"] = totals["correct"] / totals["classified"]
        return means

    def score(self, number, last_step):
        row = {"epoch": number}
        if self.scored is not None:
            score = evaluate(self.net, self.scored, self.devices, self.loss_fn, self.workers)
            if not math.isnan(score.accuracy):
                row[f"{self.score_name}_accuracy"] = score.accuracy
            row[f"{self.score_name}_loss"] = score.loss
        return row

    def describe(self, row):
        scores = [f"{key.replace('_', ' ')} {row[key]:.4f}" for key in row if key.endswith(("accuracy", "loss"))]
        speed = f"{row['tokens_per_second']:.0f} tokens/s, {row['seconds']:.0f} s"
        return f"epoch {row['epoch']}: {', '.join(scores)}, {speed}"
