"""One step of the optimiser: gradients of all devices and workers summed, clipped, and followed by AdamW.

Source: Devlin et al. 2018, section A.2.
"""

import gluonnlp as nlp
from mxnet import nd
from tqdm.auto import tqdm

from ..precision import new_loss_scaler
from .gluon_trainer import BERTTrainer, has_fresh_gradient, mark_gradient
from .progress import TrainingDivergedError
from .recipe import learning_rate

SMALLEST_LOSS_SCALE = 1e-4  # as fairseq's; below it, smaller numbers are not what the gradients lack
NAMES_SHOWN = 6


class Stepper:
    """Takes the steps of a training.

    A parameter stays as it is as long as no step has had a gradient for it: the loss does not use it. From then on, no
    gradient counts as 0.

    Parameters
    ----------
    parameters : dict of str to mxnet.gluon.Parameter
        Those to train, by name; their `grad_req` and `wd_mult` are set.
    lr : float
        The learning rate's peak.
    num_steps : int
        Of the whole run.
    recipe : Recipe
    workers : Workers
    precision : {"float32", "float16", "bfloat16"}
        That the network computes in.

    Raises
    ------
    ValueError
        There are no parameters.
    """

    def __init__(self, parameters, lr, num_steps, recipe, workers, precision):
        if not parameters:
            raise ValueError('there is nothing to train: grad_req is "null" for all parameters of the network')
        self.parameters, self.lr, self.num_steps, self.recipe = parameters, lr, num_steps, recipe
        self.workers, self.precision = workers, precision
        num_devices = len(next(iter(parameters.values())).list_ctx())
        # a device that a small batch leaves without work must add zeros, not the gradients of the step before
        self.adds_gradients = recipe.accumulate > 1 or num_devices > 1 or workers.size > 1
        for name, parameter in parameters.items():
            parameter.grad_req = "add" if self.adds_gradients else "write"
            parameter.zero_grad()
            mark_gradient(parameter, fresh=False)
            if name.endswith(("bias", "gamma", "beta")):
                parameter.wd_mult = 0.0
        self.unused = dict(parameters)  # those that no step has had a gradient for
        self.names_unused = workers.rank == 0  # in the first step
        self.loss_scaler = new_loss_scaler(precision)
        self.trainer = BERTTrainer(parameters, recipe, workers.kvstore, self.loss_scaler)

    @property
    def loss_scale(self):
        """What the loss is multiplied with before its gradients are computed."""
        return self.loss_scaler.loss_scale if self.loss_scaler else 1.0

    def sum_gradients(self):
        """Give every device of every worker the sum of all gradients; the trainer steps where there has been one."""
        watched = {}  # parameters that may have their first gradient now
        for name, parameter in self.parameters.items():
            if self.workers.size > 1 or has_fresh_gradient(parameter):
                watched |= {name: parameter} if name in self.unused else {}
            else:
                parameter.zero_grad()  # it is that of an earlier step
        self.trainer.sum_gradients()
        if watched:  # zero: a hybridized block computes it, and the loss does not use it
            sizes = (nd.norm(parameter.list_grad()[0], ord=1).reshape(1) for parameter in watched.values())
            for name, size in zip(watched, nd.concat(*sizes, dim=0).asnumpy(), strict=True):
                if size != 0:
                    del self.unused[name]
        for name, parameter in self.parameters.items():
            mark_gradient(parameter, fresh=name not in self.unused)

    def step(self, number, loss_scale):
        """Change the parameters by the summed gradients of `loss_scale` times the mean loss.

        Parameters
        ----------
        number : int
            Of the step, counted from 1.
        loss_scale : float

        Returns
        -------
        float
            The learning rate.

        Raises
        ------
        TrainingDivergedError
            The gradients overflow, however small the loss scale.
        """
        lr = learning_rate(number, self.num_steps, self.lr, self.recipe.warmup_ratio)
        _, ratio, _ = nlp.utils.grad_global_norm(self.parameters.values(), self.recipe.clip_norm * loss_scale)
        self.trainer.step(lr, 1 / (ratio * loss_scale))
        if self.loss_scale < SMALLEST_LOSS_SCALE:
            raise TrainingDivergedError(f"the gradients overflow {self.precision} at step {number}")
        for parameter in self.parameters.values():
            mark_gradient(parameter, fresh=False)  # the trainer does not when it skips a step
            if self.adds_gradients:
                parameter.zero_grad()
        self._name_unused(number)
        return lr

    def _name_unused(self, number):
        """Say once which parameters are not trained."""
        if self.names_unused and self.unused:
            first, more = list(self.unused)[:NAMES_SHOWN], len(self.unused) - NAMES_SHOWN
            names = ", ".join(first) + (f" and {more} more" if more > 0 else "")
            tqdm.write(f"step {number} has no gradient for {names}: what the loss does not use stays as it is")
        self.names_unused = False

    def arrays(self):
        """What a checkpoint needs of the optimiser: dict of str to mxnet.nd.NDArray."""
        kinds = ("mean", "variance")
        means = self.trainer.means().items()
        return {f"{kind}/{number}": array for number, both in means for kind, array in zip(kinds, both, strict=True)}

    def state(self):
        """What else a checkpoint needs: the number of steps taken, and the loss scaler's numbers, or None."""
        return {"steps_taken": self.trainer.steps_taken, "loss_scaler": self.loss_scaler and vars(self.loss_scaler)}

    def restore(self, arrays, state):
        """Go on from what `arrays` and `state` gave."""
        if self.loss_scaler:
            vars(self.loss_scaler).update(state["loss_scaler"])
        numbers = [int(name.removeprefix("mean/")) for name in arrays if name.startswith("mean/")]
        means = {number: (arrays[f"mean/{number}"], arrays[f"variance/{number}"]) for number in numbers}
        self.trainer.restore(means, state["steps_taken"])
        names = list(self.parameters)
        for number in numbers:
            del self.unused[names[number]]
