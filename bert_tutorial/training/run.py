"""What fine-tuning and pre-training share: the recipe, the optimiser's step, and a run that survives being stopped.

All random numbers of a step are drawn from the seed and the step's number alone, the data's order from the seed and the
number of the step that the order is drawn at. So parameters, optimiser and the number of steps done are all that a
checkpoint must hold for the run to go on with the same bits.

Source: Devlin et al. 2018, section A.2; AdamW: Loshchilov and Hutter 2019.
"""

import json
import math
import time
from dataclasses import asdict
from itertools import islice
from numbers import Integral, Real
from pathlib import Path

import gluonnlp as nlp
import mxnet as mx
import numpy as np
from mxnet import gluon, nd
from tqdm.auto import tqdm

from ..machine.interrupts import interrupts_held, raise_kept_interrupt
from ..machine.seeds import seed_everything
from ..precision import new_loss_scaler, precision_of
from .checkpoint import checkpoint_exists, load_checkpoint, save_checkpoint
from .devices import place
from .gluon_trainer import has_fresh_gradient, mark_gradient
from .keeper import KeptValues
from .progress import RunningSums, TrainingDivergedError
from .recipe import _positive, learning_rate, require, require_count
from .workers import ALONE

SAVE_INTERVAL = 60  # seconds between two checkpoints
SAVE_SHARE = 0.02  # of the time, at most, goes into checkpoints
SMALLEST_LOSS_SCALE = 1e-4  # as fairseq's; below it, smaller numbers are not what the gradients lack
NAMES_SHOWN = 6


def in_groups(batches, count):
    """Lists of `count` batches, one list for each step; the last one may be shorter."""
    batches = iter(batches)
    while group := list(islice(batches, count)):
        yield group


class Training:
    """One training run: a network, its optimiser, how far it is, and what it has shown so far.

    The run is made of rounds: an epoch of fine-tuning, a part of pre-training. After each comes a row of `history`.
    Parameters whose `grad_req` is "null" stay as they are, and so does each of the others as long as no step has had a
    gradient for it: the loss does not use it. From then on, no gradient counts as 0.

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
    settings : dict, optional
        Whatever else makes the run what it is; JSON-able. A checkpoint made with other settings is refused.
    keep_best : bool, default False
        Keep the parameters of the best round, instead of the last one's.
    workers : Workers, optional
        The processes that train this network together. Worker 0 writes and reads the checkpoint.

    Raises
    ------
    ValueError
        A setting is out of range, or every parameter's `grad_req` is "null".
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
        settings=None,
        keep_best=False,
        workers=ALONE,
    ):
        require("lr", lr, Real, _positive, "a number above 0")
        require_count("the number of steps", num_steps)
        if seed is not None:
            require("seed", seed, Integral, lambda number: number >= 0, "a whole number, at least 0")
        self.net, self.lr, self.num_steps, self.recipe, self.devices = net, lr, num_steps, recipe, place(net, ctx)
        self.keep_best, self.workers = keep_best, workers
        self.checkpoint = Path(checkpoint) if checkpoint and workers.rank == 0 else None
        # As a checkpoint gives it back: lists for tuples. What JSON cannot hold is an error now, not at the first save.
        identity = {
            "recipe": {"lr": lr, "num_steps": num_steps, **asdict(recipe), "seed": seed},
            "settings": {"precision": precision_of(net), **(settings or {})},
        }
        self.identity = json.loads(json.dumps(identity, default=np.generic.item))
        self.seed = np.random.randint(2**31) if seed is None else self.identity["recipe"]["seed"]
        workers.claim()
        self._agree_with_worker_0()
        self.step = 0  # steps done
        self.history = []
        self.sums = RunningSums()
        self.save_at = time.perf_counter() + SAVE_INTERVAL
        # a device that a small batch leaves without work must add zeros, not the gradients of the step before
        self.adds_gradients = recipe.accumulate > 1 or len(self.devices) > 1 or workers.size > 1
        # in the order of the structure: Gluon's global names sort differently from process to process
        self.parameters = {}
        self.changing = {}  # these, and what a forward pass changes: BatchNorm's running means
        for name, parameter in net._collect_params_with_prefix().items():
            if parameter in self.changing.values():  # a tied one has two names
                continue
            if not parameter._differentiable:
                self.changing[name] = parameter
            elif parameter.grad_req != "null":
                self.changing[name] = self.parameters[name] = parameter
                parameter.grad_req = "add" if self.adds_gradients else "write"
                parameter.zero_grad()
                mark_gradient(parameter, fresh=False)
                if name.endswith(("bias", "gamma", "beta")):
                    parameter.wd_mult = 0.0
        if not self.parameters:
            raise ValueError('there is nothing to train: grad_req is "null" for all parameters of the network')
        self.unused = dict(self.parameters)  # those that no step has had a gradient for
        self.names_unused = workers.rank == 0  # in the first step
        optimizer = {"wd": recipe.weight_decay, "epsilon": recipe.epsilon, "beta2": recipe.beta2}
        self.trainer = gluon.Trainer(
            list(self.parameters.values()),
            "bertadam",
            optimizer,
            kvstore=workers.kvstore or "device",
            update_on_kvstore=False,
        )
        if workers.kvstore:  # else MXNet would do it with the first gradients, which can overtake the parameters
            self.trainer._init_kvstore()
            self.trainer._init_params()
            nd.waitall()
        # as amp.init_trainer names it: gluon.Trainer then skips a step whose gradients are not finite
        self.trainer._amp_loss_scaler = self.loss_scaler = new_loss_scaler(precision_of(net))
        self.kept = KeptValues(self.changing, self.checkpoint and self.checkpoint.parent)
        self.start = "before training"

    def _agree_with_worker_0(self):
        mine = {"identity": self.identity, "seed": self.seed}
        first = json.loads(self.workers.broadcast(json.dumps(mine).encode()))
        changed = _changes(first["identity"], self.identity)
        if changed:
            raise ValueError(f"worker {self.workers.rank} has other settings than worker 0 ({changed})")
        self.seed = first["seed"]

    def train(self, first_step, num_steps, groups, backward, means, description):
        """Train one round; steps that were done before the run was stopped are not done again.

        Parameters
        ----------
        first_step : int
            Steps before this round.
        num_steps : int
            Steps of this round.
        groups : iterable
            What `backward` takes, one for each step of the round. Drawn with the step's random numbers.
        backward : callable
            Computes gradients of `loss_scale` times the loss from a group, each worker and device those of its share;
            returns the share's sums, a dict of str to arrays of one number on the first device, whose "loss" must stay
            finite, and the group's number of tokens.
        means : callable
            Makes a dict of str to float, to be shown, of the sums over the round so far.
        description : str
            For the progress bar.

        Returns
        -------
        dict
            The means over the round, its seconds and tokens_per_second.

        Raises
        ------
        TrainingDivergedError
            The loss became NaN or infinite. The parameters are put back to those kept last.
        KeyboardInterrupt
            Ctrl-C or SIGTERM came; the step was finished and the checkpoint written.
        OSError
            The checkpoint could not be written; the ones before are as they were.
        ValueError
            There are fewer groups than steps.
        """
        groups = iter(groups)
        self.sums.start()
        with (
            interrupts_held(),
            tqdm(total=num_steps, initial=self.step - first_step, desc=description, unit="step") as bar,
        ):
            try:
                for step in range(first_step + 1, first_step + num_steps + 1):
                    seed_everything(self.seed_of(step))
                    group = next(groups, None)
                    if group is None:
                        raise ValueError(f"the data ended after {step - first_step - 1} of {num_steps} steps")
                    if step <= self.step:
                        continue
                    if self.workers.rank:  # other dropout than worker 0's, after the same data
                        mx.random.seed(self.seed_of(step, self.workers.rank))
                    self._step(step, group, backward)
                    if self.sums.totals:
                        shown = {**means(self.sums.totals), "tok/s": self.sums.tokens_per_second}
                        bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)
                    bar.update()
                    self._save_now_and_then()
                self.sums.read()
            except TrainingDivergedError as error:
                raise self._diverged(error) from None
            if self.checkpoint:
                self.save()
        seconds, tokens_per_second = self.sums.seconds, self.sums.tokens_per_second
        return {**means(self.sums.totals), "seconds": seconds, "tokens_per_second": tokens_per_second}

    def seed_of(self, *step):
        """Seed of a step's random numbers."""
        return int(np.random.SeedSequence([self.seed, *step]).generate_state(1)[0] >> 1)

    @property
    def loss_scale(self):
        """What `backward` multiplies the loss with before it computes gradients."""
        return self.loss_scaler.loss_scale if self.loss_scaler else 1.0

    def _step(self, step, group, backward):
        loss_scale = self.loss_scale
        sums, tokens = backward(group)
        self.trainer.set_learning_rate(learning_rate(step, self.num_steps, self.lr, self.recipe.warmup_ratio))
        self._sum_gradients()
        _, ratio, _ = nlp.utils.grad_global_norm(self.parameters.values(), self.recipe.clip_norm * loss_scale)
        self.trainer._scale = 1 / (ratio * loss_scale)  # the optimiser multiplies with it as it reads the gradients
        if not self.kept.when:
            self.kept.keep(self._values(), self.start)
        self.trainer.update(1, ignore_stale_grad=True)
        if self.loss_scale < SMALLEST_LOSS_SCALE:
            raise TrainingDivergedError(
                f"the gradients overflow {self.identity['settings']['precision']} at step {step}"
            )
        for parameter in self.parameters.values():
            mark_gradient(parameter, fresh=False)  # the trainer does not when it skips a step
            if self.adds_gradients:
                parameter.zero_grad()
        self._name_unused(step)
        self.step = step
        values = self.workers.sum(nd.concat(*(array.reshape(1) for array in sums.values()), dim=0))
        self.sums.add(f"step {step} (learning rate {self.trainer.learning_rate:.2e})", list(sums), values, tokens)

    def _sum_gradients(self):
        """Give every device of every worker the sum of all gradients; the trainer steps where there has been one."""
        watched = {}  # parameters that may have their first gradient now
        for name, parameter in self.parameters.items():
            if self.workers.size > 1 or has_fresh_gradient(parameter):
                watched |= {name: parameter} if name in self.unused else {}
            else:
                parameter.zero_grad()  # it is that of an earlier step
        self.trainer.allreduce_grads()
        if watched:  # zero: a hybridized block computes it, and the loss does not use it
            sizes = (nd.norm(parameter.list_grad()[0], ord=1).reshape(1) for parameter in watched.values())
            for name, size in zip(watched, nd.concat(*sizes, dim=0).asnumpy(), strict=True):
                if size != 0:
                    del self.unused[name]
        for name, parameter in self.parameters.items():
            mark_gradient(parameter, fresh=name not in self.unused)

    def _name_unused(self, step):
        """Say once which parameters are not trained."""
        if self.names_unused and self.unused:
            first, more = list(self.unused)[:NAMES_SHOWN], len(self.unused) - NAMES_SHOWN
            names = ", ".join(first) + (f" and {more} more" if more > 0 else "")
            tqdm.write(f"step {step} has no gradient for {names}: what the loss does not use stays as it is")
        self.names_unused = False

    def _save_now_and_then(self):
        try:
            raise_kept_interrupt()
        except KeyboardInterrupt:
            if self.checkpoint:
                self.save()
            raise
        if self.checkpoint and time.perf_counter() > self.save_at:
            self.save()

    def finish_round(self, row):
        """Add a row to the history; keep the parameters if they are worth it.

        Raises
        ------
        TrainingDivergedError
            A loss or perplexity in it is not a finite number. The parameters are put back to those kept last.
        """
        for name, value in row.items():
            if name.endswith(("loss", "perplexity")) and not math.isfinite(value):
                raise self._diverged(f"{name.replace('_', ' ')} became {value} at step {self.step}")
        self.history.append(row)
        self.sums = RunningSums()
        worth_it = row is min(self.history, key=_badness) if self.keep_best else self.step < self.num_steps
        if worth_it:
            self.kept.keep(self._values(), f"of epoch {len(self.history)}")

    def _diverged(self, reason):
        """Put back the parameters kept last; the error that says so."""
        if self.kept.when:  # else no step was done since the start
            self.kept.put_back()
        when = self.kept.when or self.start
        return TrainingDivergedError(
            f"{reason}. The parameters were put back to those {when}. Try a lower learning rate."
        )

    def finish(self):
        """End the run: leave the network with the best round's parameters, if those were kept."""
        if self.keep_best:
            self.kept.put_back()

    def _values(self):
        return {name: parameter.data(self.devices[0]) for name, parameter in self.changing.items()}

    def save(self):
        """Write all that `restore` needs."""
        self.sums.read()  # a diverged run is found out before it is saved
        started = time.perf_counter()
        arrays = {f"net/{name}": array for name, array in self._values().items()}
        for index, (mean, variance) in self.trainer._updaters[0].states.items():
            arrays |= {f"mean/{index}": mean, f"variance/{index}": variance}
        if self.keep_best:
            arrays |= {f"kept/{name}": array for name, array in self.kept.read()}
        save_checkpoint(self.checkpoint, arrays, self._state())
        now = time.perf_counter()
        self.save_at = now + max(SAVE_INTERVAL, (now - started) / SAVE_SHARE)

    def _state(self):
        return {
            **self.identity,
            "seed": self.seed,
            "step": self.step,
            "sums": {"seconds": self.sums.seconds, **self.sums.totals},
            "history": self.history,
            "kept": self.kept.when,
            "loss_scaler": self.loss_scaler and vars(self.loss_scaler),
        }

    def restore(self):
        """Continue where `save` left off, if there is a checkpoint.

        Raises
        ------
        ValueError
            It was made with other settings or for another network, or is damaged and so is the one before it.
        """
        found = self._read_checkpoint()
        if found is None:
            return
        arrays, state = found
        self._refuse_another_run(arrays, state)
        self.seed, self.step, self.history = state["seed"], state["step"], state["history"]
        self.sums = RunningSums(**state["sums"])
        if self.loss_scaler:
            vars(self.loss_scaler).update(state["loss_scaler"])
        for name, parameter in self.changing.items():
            parameter.set_data(arrays[f"net/{name}"])
        if self.keep_best:
            self.kept.keep({name: arrays[f"kept/{name}"] for name in self.changing}, state["kept"])
        self.start = f"of the checkpoint at step {self.step}"
        for device, updater in zip(self.devices, self.trainer._updaters, strict=True):
            updater.states = {
                int(name.removeprefix("mean/")): tuple(
                    arrays[name.replace("mean", kind)].as_in_context(device) for kind in ("mean", "variance")
                )
                for name in arrays
                if name.startswith("mean/")
            }
            updater.states_synced = dict.fromkeys(updater.states, True)
        for index, name in enumerate(self.parameters):
            if index in updater.states:
                del self.unused[name]

    def _read_checkpoint(self):
        """Arrays and state of worker 0's checkpoint, on every worker; None if there is none."""
        arrays, state = {}, None
        if self.checkpoint and checkpoint_exists(self.checkpoint):
            arrays, state = load_checkpoint(self.checkpoint)
        state = json.loads(self.workers.broadcast(json.dumps(state).encode()))
        return state and (self.workers.broadcast_arrays(arrays), state)

    def _refuse_another_run(self, arrays, state):
        changed = _changes(state, self.identity)
        if changed:
            raise ValueError(f"{self.checkpoint} was made with other settings ({changed}): use the same, or start anew")
        then = {name.removeprefix("net/"): array.shape for name, array in arrays.items() if name.startswith("net/")}
        now = {name: parameter.shape for name, parameter in self.changing.items()}
        for name in {**then, **now}:
            if then.get(name) != now.get(name):
                raise ValueError(
                    f"{self.checkpoint} is of another network: {name} has shape {then.get(name)} there, "
                    f"{now.get(name)} here"
                )


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
