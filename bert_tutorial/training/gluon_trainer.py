"""Gluon's Trainer with BERT's AdamW, and the one place where we use what Gluon keeps to itself.

Those are names with an underscore, of MXNet 1.9.1, whose last version it is:

- `NDArray._fresh_grad`: set by each backward pass, cleared by each step; the Trainer passes over what has it not.
- `Trainer._scale`: the optimiser multiplies gradients with it as it reads them, so clipping costs no pass of its own.
- `Trainer._amp_loss_scaler`: as MXNet's AMP sets it; the Trainer skips a step whose gradients are not finite.
- `Trainer._updaters`: for each device, the optimiser's means, by the number of the parameter.
- `Trainer._init_kvstore`, `_init_params`: else done with the first gradients, which can overtake the parameters.
- `Parameter._trainer`: the trainer that a parameter was given to last, to which `set_data` reports.
- `Parameter._deferred_init`: what waits until a first batch shows its input's size.
- `Parameter._differentiable`: false for what a forward pass changes, as BatchNorm's running means.
- `Block._collect_params_with_prefix`: names by place in the structure, the same in every process.

AdamW: Kingma and Ba 2015, Loshchilov and Hutter 2019. GluonNLP's BERTAdam leaves out the bias correction, as the code
of Devlin et al. 2018 does; where the recipe wants it, we put it into the numbers that BERTAdam is given.
"""

import math

from mxnet import gluon, nd


class BERTTrainer:
    """Takes the optimiser's steps for some parameters, on all their devices.

    Parameters
    ----------
    parameters : dict of str to mxnet.gluon.Parameter
    recipe : Recipe
        For its weight_decay, epsilon, beta2 and bias_correction.
    kvstore : mxnet.kvstore.KVStore or None
        Adds up the gradients of several processes.
    loss_scaler : mxnet.contrib.amp.loss_scaler.LossScaler or None
        Watches for gradients that overflow.
    """

    def __init__(self, parameters, recipe, kvstore, loss_scaler):
        self._devices, self._recipe = next(iter(parameters.values())).list_ctx(), recipe
        optimizer = {"wd": recipe.weight_decay, "epsilon": recipe.epsilon, "beta2": recipe.beta2}
        self._trainer = gluon.Trainer(
            list(parameters.values()), "bertadam", optimizer, kvstore=kvstore or "device", update_on_kvstore=False
        )
        if kvstore:
            self._trainer._init_kvstore()
            self._trainer._init_params()
            nd.waitall()
        self._trainer._amp_loss_scaler = loss_scaler

    def sum_gradients(self):
        """Give every device of every process the sum of all gradients."""
        self._trainer.allreduce_grads()

    def step(self, lr, scale):
        """Step with `scale` times the gradients, where they are fresh."""
        self._trainer.set_learning_rate(lr * self._correct_bias() if self._recipe.bias_correction else lr)
        self._trainer._scale = scale
        self._trainer.update(1, ignore_stale_grad=True)

    def _correct_bias(self):
        """Set epsilon and decay so that BERTAdam, with the rate times what this returns, takes AdamW's corrected step.

        With c = sqrt(1 - beta2^t) and f = c / (1 - beta1^t), for the two means m and v and the weight w, that is
        m / (1 - beta1^t) / (sqrt(v) / c + epsilon) + decay * w = f * (m / (sqrt(v) + c * epsilon) + decay / f * w).
        """
        optimizer = self._trainer.optimizer
        t = self.steps_taken + 1
        c = math.sqrt(1 - optimizer.beta2**t)
        f = c / (1 - optimizer.beta1**t)
        optimizer.epsilon, optimizer.wd = c * self._recipe.epsilon, self._recipe.weight_decay / f
        return f

    @property
    def steps_taken(self):
        """Number of steps that changed parameters: those whose gradients overflowed do not count."""
        return self._trainer.optimizer.num_update

    def means(self):
        """The optimiser's two means of each parameter that has had a step, by its number: dict of int to two arrays."""
        return self._trainer._updaters[0].states

    def restore(self, means, steps_taken):
        """Go on with what `means` and `steps_taken` gave in another process."""
        self._trainer.optimizer.begin_num_update = self._trainer.optimizer.num_update = steps_taken
        for updater, device in zip(self._trainer._updaters, self._devices, strict=True):
            updater.states = {
                number: tuple(array.as_in_context(device) for array in arrays) for number, arrays in means.items()
            }
            updater.states_synced = dict.fromkeys(updater.states, True)


def structural_parameters(block):
    """A block's parameters by place in its structure; a shared one comes once, under its first name."""
    found = {}
    for name, parameter in block._collect_params_with_prefix().items():
        if parameter not in found.values():
            found[name] = parameter
    return found


def learns(parameter):
    """Whether gradients change a parameter, and not the forward pass alone."""
    return parameter._differentiable


def waits_for_input(parameter):
    """Whether a parameter has no values before a first batch shows its input's size."""
    return bool(parameter._deferred_init)


def noted_trainer(parameter):
    """The trainer that a parameter was given to last, or None."""
    return parameter._trainer


def note_trainer(parameter, trainer):
    """Take back what a later trainer has noted on a parameter."""
    parameter._trainer = trainer


def has_fresh_gradient(parameter):
    """Whether a backward pass has written it since the last step, on any device."""
    return any(data._fresh_grad for data in parameter.list_data())


def mark_gradient(parameter, fresh):
    """Tell Gluon's trainer whether to take the parameter's step."""
    for data in parameter.list_data():
        data._fresh_grad = fresh
