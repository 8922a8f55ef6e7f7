"""Fine-tuning a pre-trained BERT: the training loop, exact evaluation, prediction.

Source: Devlin et al. 2018, sections 3.2 and A.3; AdamW: Loshchilov and Hutter 2019.
"""

import math
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import gluonnlp as nlp
from mxnet import autograd, gluon, nd
from tqdm.auto import tqdm

from .checkpoint import load_checkpoint, save_checkpoint
from .runtime import raise_kept_interrupt, seed_everything

READ_INTERVAL = 0.5  # seconds between two readings of the running sums; each reading waits for the device
LABELS = ("negative", "positive")


class TrainingDivergedError(FloatingPointError):
    """The loss is no longer a number."""


class Evaluation(NamedTuple):
    """Mean over all samples of a dataset."""

    accuracy: float
    loss: float
    count: int


@dataclass(frozen=True)
class Recipe:
    """How `train_loop` trains; the paper's values where it gives one (section A.3)."""

    num_epoch: int
    lr: float
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulate: int = 1
    seed: int | None = None

    def __post_init__(self):
        if self.num_epoch < 1 or self.accumulate < 1:
            raise ValueError("num_epoch and accumulate must be at least 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be a positive number, not {self.lr}")
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio must lie between 0 and 1, not {self.warmup_ratio}")


def learning_rate(step, num_steps, peak, warmup_ratio):
    """Learning rate of one step: up in a straight line for the warm-up, then down to 0.

    Parameters
    ----------
    step : int
        Counted from 1.
    num_steps : int
        Steps of the whole training.
    peak : float
    warmup_ratio : float
        Share of the steps spent going up.

    Source: Devlin et al. 2018, section A.2.
    """
    num_warmup = int(num_steps * warmup_ratio)
    if step <= num_warmup:
        return peak * step / num_warmup
    return peak * max(0, num_steps - step + 1) / (num_steps - num_warmup)


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
):
    """Fine-tune a classifier with AdamW, linear warm-up and decay, and gradient clipping.

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
    ctx : mxnet.Context
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
        Seeds each epoch; the same seed then gives the same numbers.
    checkpoint : str or path, optional
        File that holds everything after each epoch, so that nothing is lost.
    resume : bool, default False
        Continue from `checkpoint` if it exists.

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
        No batches, a setting out of range, or a checkpoint made with other settings.
    """
    recipe = Recipe(num_epoch, lr, warmup_ratio, weight_decay, clip_norm, accumulate, seed)
    if len(train_data) == 0:
        raise ValueError("train_data has no batches")
    _finish_initialization(net, train_data, ctx)
    run = _Run(net, recipe, steps_per_epoch=math.ceil(len(train_data) / accumulate), ctx=ctx)
    if resume and checkpoint and Path(checkpoint).exists():
        run.restore(checkpoint)
    scored, score_name = (valid_data, "valid") if valid_data is not None else (test_data, "test")
    for epoch in range(len(run.history) + 1, num_epoch + 1):
        if seed is not None:
            seed_everything((seed + epoch) % 2**31)
        row = run.train_epoch(epoch, train_data, loss_fn)
        if scored is not None:
            score = evaluate(net, scored, ctx, loss_fn)
            row[f"{score_name}_accuracy"], row[f"{score_name}_loss"] = score.accuracy, score.loss
        run.finish_epoch(row, keep_best=valid_data is not None)
        if checkpoint:
            run.save(checkpoint)
        tqdm.write(_describe(row))
    if run.kept_epoch != len(run.history):
        run.load_kept()
    return run.history


def _finish_initialization(net, train_data, ctx):
    """Show the network one batch if it has layers that still wait to see their input's size."""
    if any(parameter._deferred_init for parameter in net.collect_params().values()):
        words, valid_length, segments, _ = next(iter(train_data))
        _logits(net, ctx, words, segments, valid_length)


class _Run:
    """One training run: the network, its optimiser, the parameters worth keeping, and the history."""

    def __init__(self, net, recipe, steps_per_epoch, ctx):
        self.net = net
        self.recipe = recipe
        self.ctx = ctx
        self.steps_per_epoch = steps_per_epoch
        self.num_steps = steps_per_epoch * recipe.num_epoch
        self.history = []
        self.kept_epoch = 0
        # in the order of the structure: Gluon's global names sort differently from process to process
        self.parameters = {k: p for k, p in net._collect_params_with_prefix().items() if p.grad_req != "null"}
        for name, parameter in self.parameters.items():
            parameter.grad_req = "add" if recipe.accumulate > 1 else "write"
            if name.endswith(("bias", "gamma", "beta")):
                parameter.wd_mult = 0.0
        unique = list({id(p): p for p in self.parameters.values()}.values())
        settings = {"learning_rate": recipe.lr, "wd": recipe.weight_decay, "epsilon": 1e-6}
        self.trainer = gluon.Trainer(unique, "bertadam", settings, kvstore=None)
        self.unique = unique
        # on disk: beside weights, gradients and the optimiser's two means it would be a fifth copy of the network
        self.kept_file = tempfile.NamedTemporaryFile(prefix="bert_tutorial-")  # noqa: SIM115
        self.keep()

    def train_epoch(self, epoch, train_data, loss_fn):
        """Train on all batches once; returns the epoch's row of the history."""
        sums = _RunningSums()
        batches = iter(train_data)
        step = (epoch - 1) * self.steps_per_epoch
        started = time.perf_counter()
        try:
            with tqdm(total=self.steps_per_epoch, desc=f"epoch {epoch}/{self.recipe.num_epoch}", unit="step") as bar:
                while group := list(islice(batches, self.recipe.accumulate)):
                    raise_kept_interrupt()
                    step += 1
                    lr = learning_rate(step, self.num_steps, self.recipe.lr, self.recipe.warmup_ratio)
                    self._step(group, lr, loss_fn, sums, step)
                    sums.read_now_and_then()
                    bar.set_postfix(sums.describe(), refresh=False)
                    bar.update()
                sums.read()
                bar.set_postfix(sums.describe())
        except TrainingDivergedError as error:
            self.load_kept()
            kept = f"those of epoch {self.kept_epoch}" if self.kept_epoch else "those before training"
            raise TrainingDivergedError(
                f"{error}. The parameters were put back to {kept}. Try a lower learning rate."
            ) from None
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch,
            "train_loss": sums.loss / sums.count,
            "train_accuracy": sums.correct / sums.count,
            "seconds": seconds,
            "tokens_per_second": sums.tokens / seconds,
        }

    def _step(self, group, lr, loss_fn, sums, step):
        num_samples = sum(len(labels) for *_, labels in group)
        for words, valid_length, segments, labels in group:
            words, valid_length, segments, labels = (
                array.as_in_context(self.ctx) for array in (words, valid_length, segments, labels)
            )
            with autograd.record():
                logits = self.net(words, segments, valid_length)
                losses = loss_fn(logits, labels)
                loss = losses.sum() / num_samples
            loss.backward()
            correct = (logits.argmax(axis=1) == labels.astype("float32")).sum()
            sums.add(step, lr, losses.sum(), correct, len(labels), int(valid_length.sum().asscalar()))
        self.trainer.set_learning_rate(lr)
        _, ratio, _ = nlp.utils.grad_global_norm(self.unique, self.recipe.clip_norm)
        self.trainer._scale = 1 / ratio  # the optimiser multiplies with it as it reads the gradients
        self.trainer.update(1)
        if self.recipe.accumulate > 1:
            for parameter in self.unique:
                parameter.zero_grad()

    def finish_epoch(self, row, keep_best):
        """Note the epoch, and keep its parameters if they are the best so far."""
        self.history.append(row)
        if not keep_best or row is min(self.history, key=lambda r: (-r["valid_accuracy"], r["valid_loss"])):
            self.keep()
            self.kept_epoch = row["epoch"]

    def keep(self):
        """Note the network's parameters."""
        nd.save(self.kept_file.name, self._values())

    def load_kept(self):
        """Put the kept parameters into the network."""
        for name, array in nd.load(self.kept_file.name).items():
            self.parameters[name].set_data(array)

    def _values(self):
        return {name: parameter.data(self.ctx) for name, parameter in self.parameters.items()}

    def save(self, path):
        """Write all that `restore` needs."""
        arrays = {f"net/{name}": array for name, array in self._values().items()}
        arrays |= {f"kept/{name}": array for name, array in nd.load(self.kept_file.name).items()}
        for index, (mean, variance) in self.trainer._updaters[0].states.items():
            arrays |= {f"mean/{index}": mean, f"variance/{index}": variance}
        save_checkpoint(path, arrays, self._state())

    def _state(self):
        return {
            "recipe": asdict(self.recipe),
            "steps_per_epoch": self.steps_per_epoch,
            "history": self.history,
            "kept_epoch": self.kept_epoch,
        }

    def restore(self, path):
        """Continue where `save` left off."""
        arrays, state = load_checkpoint(path)
        current = self._state()
        changed = [
            f"{key}: {old!r} then, {current['recipe'].get(key)!r} now"
            for key, old in state["recipe"].items()
            if current["recipe"].get(key) != old
        ]
        if state["steps_per_epoch"] != self.steps_per_epoch:
            changed.append(f"steps per epoch: {state['steps_per_epoch']} then, {self.steps_per_epoch} now")
        if changed:
            raise ValueError(f"{path} was made with other settings ({'; '.join(changed)})")
        self.history, self.kept_epoch = state["history"], state["kept_epoch"]
        nd.save(self.kept_file.name, {name: arrays[f"kept/{name}"] for name in self.parameters})
        for name, parameter in self.parameters.items():
            parameter.set_data(arrays[f"net/{name}"])
        self.trainer._updaters[0].states = {
            int(name.removeprefix("mean/")): (
                mean.as_in_context(self.ctx),
                arrays[name.replace("mean", "variance")].as_in_context(self.ctx),
            )
            for name, mean in arrays.items()
            if name.startswith("mean/")
        }
        self.trainer._updaters[0].states_synced = dict.fromkeys(self.trainer._updaters[0].states, True)


class _RunningSums:
    """Sums over an epoch that stay on the device and are read now and then: each reading waits for it."""

    def __init__(self):
        self.loss = self.correct = 0.0
        self.count = self.tokens = 0
        self.started = self.last_read = time.perf_counter()
        self.pending = []

    def add(self, step, lr, loss, correct, count, tokens):
        self.pending.append((step, lr, nd.stack(loss.reshape(1), correct.reshape(1)), count, tokens))

    def read_now_and_then(self):
        if time.perf_counter() - self.last_read > READ_INTERVAL:
            self.read()

    def read(self):
        for step, lr, sums, count, tokens in self.pending:
            loss, correct = sums.asnumpy().ravel().tolist()
            if not math.isfinite(loss):
                raise TrainingDivergedError(f"the loss became {loss} at step {step} (learning rate {lr:.2e})")
            self.loss += loss
            self.correct += correct
            self.count += count
            self.tokens += tokens
        self.pending.clear()
        self.last_read = time.perf_counter()

    def describe(self):
        if not self.count:
            return {}
        return {
            "loss": f"{self.loss / self.count:.3f}",
            "acc": f"{self.correct / self.count:.3f}",
            "tok/s": f"{self.tokens / (self.last_read - self.started):.0f}",
        }


def evaluate(net, data, ctx, loss_fn=None):
    """Score a classifier on a dataset, every sample counted once.

    Parameters
    ----------
    net : mxnet.gluon.Block
    data : mxnet.gluon.data.DataLoader
        As for `train_loop`.
    ctx : mxnet.Context
    loss_fn : mxnet.gluon.loss.Loss, optional
        Softmax cross-entropy if not given.

    Returns
    -------
    Evaluation
        accuracy, loss, count.

    Raises
    ------
    ValueError
        The dataset is empty.
    """
    loss_fn = loss_fn or gluon.loss.SoftmaxCELoss()
    correct = loss = count = 0
    for words, valid_length, segments, labels in tqdm(data, desc="evaluate", unit="batch", leave=False):
        raise_kept_interrupt()
        labels = labels.as_in_context(ctx)
        logits = _logits(net, ctx, words, segments, valid_length)
        correct += (logits.argmax(axis=1) == labels.astype("float32")).sum().asscalar()
        loss += loss_fn(logits, labels).sum().asscalar()
        count += len(labels)
    if not count:
        raise ValueError("nothing to evaluate: the dataset is empty")
    return Evaluation(float(correct / count), float(loss / count), count)


def predict_sentiment(net, ctx, vocabulary, tokenizer, sentence, max_length=512):
    """Say whether a sentence is positive or negative.

    Parameters
    ----------
    net : mxnet.gluon.Block
        A classifier whose class 1 is positive.
    ctx : mxnet.Context
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
        The sentence is empty.
    """
    if not sentence.strip():
        raise ValueError("the sentence is empty")
    transform = nlp.data.BERTSentenceTransform(tokenizer, max_length, vocab=vocabulary, pad=False, pair=False)
    words, valid_length, segments = transform([sentence])
    batch = (
        nd.array(array.reshape(shape)) for array, shape in ((words, (1, -1)), (segments, (1, -1)), (valid_length, 1))
    )
    return LABELS[int(_logits(net, ctx, *batch).argmax(axis=1).asscalar())]


def _logits(net, ctx, words, segments, valid_length):
    return net(words.as_in_context(ctx), segments.as_in_context(ctx), valid_length.as_in_context(ctx))


def _describe(row):
    scores = [f"{key.replace('_', ' ')} {row[key]:.4f}" for key in row if key.endswith(("accuracy", "loss"))]
    return f"epoch {row['epoch']}: {', '.join(scores)}, {row['tokens_per_second']:.0f} tokens/s, {row['seconds']:.0f} s"
