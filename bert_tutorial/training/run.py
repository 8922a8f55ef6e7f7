"""One training run: rounds of steps, a network that is put back when they fail, a checkpoint to go on from.

Source: Devlin et al. 2018, section A.2.
"""

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict
from itertools import islice
from numbers import Integral, Real

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.ndarray import NDArray
from tqdm.auto import tqdm

from ..machine.devices import list_devices
from ..machine.interrupts import interrupts_held, raise_kept_interrupt
from ..machine.seeds import seed_everything
from ..precision import precision_of, refuse_precision
from .devices import move
from .gluon_trainer import learns, structural_parameters
from .keeper import Keeper
from .progress import RunningSums, TrainingDivergedError
from .recipe import is_positive, require, require_count
from .step import Stepper
from .workers import ALONE


class Objective(ABC):
    """What a network is trained for: all that fine-tuning and pre-training do differently.

    Attributes
    ----------
    round_name : str
        What the reader calls a round.
    sums : tuple of str
        What `backward` adds up, "loss" among them, which must stay finite.
    """

    round_name: str
    sums: tuple

    @abstractmethod
    def groups(self, first_step, last_step):
        """Batches for the steps after the first one up to the last one: for each step, a list."""

    @abstractmethod
    def size(self, group):
        """What a group's loss is the mean of, counted: `backward` divides by it."""

    @abstractmethod
    def num_tokens(self, group):
        """Word pieces of a group, without padding."""

    @abstractmethod
    def shares(self, batch):
        """This worker's share of a batch, for each of its devices that has work."""

    @abstractmethod
    def backward(self, share, size, loss_scale):
        """Compute a share's part of the gradients of `loss_scale` times the group's loss; its sums, dict of str."""

    @abstractmethod
    def means(self, totals):
        """What is shown of a round's sums, dict of str to float; among them is the number of steps."""

    @abstractmethod
    def score(self, number, last_step):
        """What else the row of a round says, the first being 1: how good the network is after its last step."""

    @abstractmethod
    def describe(self, row):
        """A round in one line."""


class Training:
    """A network, its optimiser, how far the run is, and what it has shown so far.

    It is made of rounds: an epoch of fine-tuning, a part of pre-training. After each comes a row of `history`.
    Parameters whose `grad_req` is "null" stay as they are.

    It sets `grad_req`, `wd_mult` and more on the parameters: use it within `only_values_change`.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised.
    lr : float
        The learning rate's peak.
    num_steps : int
        Of the whole run.
    recipe : Recipe
    ctx : mxnet.Context or list of mxnet.Context
        The network is moved there. Each of several devices has a copy of the parameters and of the optimiser's means,
        and takes the same step with the sum of all devices' gradients.
    seed : int, optional
        Drawn from NumPy's generator if not given.
    checkpoint : path, optional
        File that holds the run; written now and then, after each round, and when the run is interrupted.
    resume : bool, default False
        Continue where `save` left off, if there is a checkpoint.
    settings : dict, optional
        Whatever else makes the run what it is; JSON-able. A checkpoint made with other settings is refused.
    keep_best : bool, default False
        Keep the parameters of the best round, instead of the last one's.
    workers : Workers, optional
        The processes that train this network together. Worker 0 writes and reads the checkpoint.

    Raises
    ------
    NotImplementedError
        The devices cannot compute in the network's precision.
    ValueError
        No device or one twice, a setting out of range, every parameter's `grad_req` is "null", or as for `restore`.
    """

    def __init__(
        self,
        net,
        lr,
        num_steps,
        recipe,
        ctx,
        *,
        seed=None,
        checkpoint=None,
        resume=False,
        settings=None,
        keep_best=False,
        workers=ALONE,
    ):
        if resume and not checkpoint:
            raise ValueError("resume needs the checkpoint to continue from")
        require("lr", lr, Real, is_positive, "a number above 0")
        require_count("the number of steps", num_steps)
        if seed is not None:
            require("seed", seed, Integral, lambda number: number >= 0, "a whole number, at least 0")
        self.devices = list_devices(ctx)
        precision = precision_of(net)
        refuse_precision(precision, self.devices)
        move(net, self.devices)
        self.workers = workers
        # As a checkpoint gives it back: lists for tuples. What JSON cannot hold is an error now, not at the first save.
        identity = {
            "recipe": {"lr": lr, "num_steps": num_steps, **asdict(recipe), "seed": seed},
            "settings": {"precision": precision, **(settings or {})},
        }
        self.identity = json.loads(json.dumps(identity, default=np.generic.item))
        self.seed = np.random.randint(2**31) if seed is None else self.identity["recipe"]["seed"]
        workers.claim()
        self._agree_with_worker_0()
        self.done = 0  # steps
        self.history = []
        self.sums = RunningSums()
        changing = {  # what is trained, and what a forward pass changes: BatchNorm's running means
            name: parameter
            for name, parameter in structural_parameters(net).items()
            if not (learns(parameter) and parameter.grad_req == "null")
        }
        trained = {name: parameter for name, parameter in changing.items() if learns(parameter)}
        self.stepper = Stepper(trained, lr, num_steps, recipe, workers, precision)
        self.keeper = Keeper(changing, checkpoint, keep_best, workers)
        if resume:
            self.restore()

    def _agree_with_worker_0(self):
        mine = {"identity": self.identity, "seed": self.seed}
        first = json.loads(self.workers.broadcast(json.dumps(mine).encode()))
        changed = _changes(first["identity"], self.identity)
        if changed:
            raise ValueError(f"worker {self.workers.rank} has other settings than worker 0 ({changed})")
        self.seed = first["seed"]

    def run(self, objective, ends, on_round=None, patience=None):
        """Train round by round, from where the run is.

        Parameters
        ----------
        objective : Objective
        ends : sequence of int
            0, then for each round the number of steps done when it ends.
        on_round : callable, optional
            Called with each row of the history.
        patience : int, optional
            Stop when as many rounds in a row were no better than the best before them. With `keep_best`.

        Returns
        -------
        list of dict
            The history.

        Raises
        ------
        TrainingDivergedError
            A loss or perplexity became NaN or infinite. The parameters are put back to those kept last.
        KeyboardInterrupt
            Ctrl-C or SIGTERM came; the step was finished and the checkpoint written.
        OSError
            The checkpoint could not be written; the ones before are as they were.
        ValueError
            There are fewer batches than steps.
        """
        for number in range(len(self.history) + 1, len(ends)):
            if patience and self.history and len(self.history) - 1 - self._best() >= patience:
                tqdm.write(f"no better in {patience} {objective.round_name}s: stopped after {number - 1}")
                break
            description = f"{objective.round_name} {number}/{len(ends) - 1}"
            row = self._train(objective, ends[number - 1], ends[number], description)
            self.finish_round(row | objective.score(number, ends[number]))
            tqdm.write(objective.describe(self.history[-1]))
            if on_round:
                on_round(self.history[-1])
        if self.keeper.keeps_best:
            self.keeper.put_back()
        return self.history

    def _train(self, objective, first_step, last_step, description):
        """Train one round; steps that were done before the run was stopped are not done again."""
        groups = iter(objective.groups(first_step, last_step))
        self.sums.start()
        bar = tqdm(total=last_step - first_step, initial=self.done - first_step, desc=description, unit="step")
        with interrupts_held(), bar:
            try:
                for step in range(first_step + 1, last_step + 1):
                    seed_everything(self.seed_of(step))  # from which a loader draws its order
                    group = next(groups, None)
                    if group is None:
                        count = last_step - first_step
                        raise ValueError(f"the data ended after {step - first_step - 1} of {count} steps")
                    if step <= self.done:
                        continue
                    if self.workers.rank:  # other dropout than worker 0's, after the same data
                        mx.random.seed(self.seed_of(step, self.workers.rank))
                    self._step(step, group, objective)
                    if self.sums.totals:
                        shown = {**objective.means(self.sums.totals), "tok/s": self.sums.tokens_per_second}
                        bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)
                    bar.update()
                    self._save_now_and_then()
                self.save()
            except TrainingDivergedError as error:
                raise self._diverged(error) from None
        seconds, tokens_per_second = self.sums.seconds, self.sums.tokens_per_second
        return {**objective.means(self.sums.totals), "seconds": seconds, "tokens_per_second": tokens_per_second}

    def seed_of(self, *step):
        """Seed of a step's random numbers."""
        return int(np.random.SeedSequence([self.seed, *step]).generate_state(1)[0] >> 1)

    def _step(self, step, group, objective):
        loss_scale = self.stepper.loss_scale
        size = objective.size(group)
        sums = {name: nd.zeros(1, self.devices[0]) for name in objective.sums}
        for batch in group:
            for share in objective.shares(batch):
                for name, value in objective.backward(share, size, loss_scale).items():
                    value = value.as_in_context(self.devices[0]) if isinstance(value, NDArray) else value
                    sums[name] = sums[name] + value
        tokens = objective.num_tokens(group)  # waits, while the devices work
        self.stepper.sum_gradients()
        self.keeper.keep_start()
        lr = self.stepper.step(step, loss_scale)
        self.done = step
        values = self.workers.sum(nd.concat(*(array.reshape(1) for array in sums.values()), dim=0))
        self.sums.add(f"step {step} (learning rate {lr:.2e})", list(sums), values, tokens)

    def _save_now_and_then(self):
        try:
            raise_kept_interrupt()
        except KeyboardInterrupt:
            self.save()
            raise
        if self.keeper.is_due():
            self.save()

    def finish_round(self, row):
        """Add a row to the history; keep the parameters if they are worth it."""
        for name, value in row.items():
            if name.endswith(("loss", "perplexity")) and not math.isfinite(value):
                raise self._diverged(f"{name.replace('_', ' ')} became {value} at step {self.done}")
        self.history.append(row)
        self.sums = RunningSums()
        worth_it = row is self.history[self._best()] if self.keeper.keeps_best else self.done < self.stepper.num_steps
        if worth_it:
            self.keeper.keep(f"of epoch {len(self.history)}")

    def _best(self):
        """Number of the best round so far, the first of several."""
        return min(range(len(self.history)), key=lambda number: _badness(self.history[number]))

    def _diverged(self, reason):
        """Put back the parameters kept last; the error that says so."""
        when = self.keeper.put_back()
        return TrainingDivergedError(
            f"{reason}. The parameters were put back to those {when}. Try a lower learning rate."
        )

    def save(self):
        """Write all that `restore` needs, if there is to be a checkpoint."""
        self.sums.read()  # a diverged run is found out before it is saved
        state = {
            **self.identity,
            "seed": self.seed,
            "step": self.done,
            "sums": {"seconds": self.sums.seconds, **self.sums.totals},
            "history": self.history,
            **self.stepper.state(),
        }
        self.keeper.save(self.stepper.arrays(), state)

    def restore(self):
        """Continue where `save` left off, if there is a checkpoint.

        Raises
        ------
        ValueError
            It was made with other settings or for another network, or is damaged and so is the one before it.
        """
        found = self.keeper.load()
        if found is None:
            return
        arrays, state = found
        if changed := _changes(state, self.identity):
            raise ValueError(
                f"{self.keeper.path} was made with other settings ({changed}): use the same, or start anew"
            )
        self.keeper.restore(arrays, state)
        self.stepper.restore(arrays, state)
        self.seed, self.done, self.history = state["seed"], state["step"], state["history"]
        self.sums = RunningSums(**state["sums"])


def in_groups(batches, count):
    """Lists of `count` batches, one list for each step; the last one may be shorter."""
    batches = iter(batches)
    while group := list(islice(batches, count)):
        yield group


def _badness(row):
    """What the best round has least of: errors, then loss."""
    return -row.get("valid_accuracy", 0), row["valid_loss"]


def _changes(then, now):
    """What differs between the identities of two runs, in words."""
    changed = {}
    for part, values in now.items():
        for key in {**then[part], **values}:
            old, new = then[part].get(key), values.get(key)
            if old != new:
                changed[key] = f"{key.replace('_', ' ')}: {old!r} there, {new!r} here"
    return "; ".join(changed.values())
