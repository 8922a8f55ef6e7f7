"""The recipe of a training: its rates, its optimiser's numbers, and what they may be.

Source: Devlin et al. 2018, section A.2; AdamW: Kingma and Ba 2015, Loshchilov and Hutter 2019.
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real


def require(name, value, kind, fits, meaning):
    """Raise ValueError, in one clear line, unless a setting is of a kind (a class of `numbers`) and fits."""
    if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
        raise ValueError(f"{name} must be {meaning}, not {value!r}")


def require_count(name, value):
    """As `require`, for a number of things of which there must be one."""
    require(name, value, Integral, lambda number: number >= 1, "a whole number, at least 1")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, apart from how long and how fast; BERT's own values where nothing else is given.

    Parameters
    ----------
    warmup_ratio : float, default 0.1
        Share of the steps in which the learning rate rises.
    weight_decay : float, default 0.01
        For weights; biases and LayerNorm have none.
    clip_norm : float, default 1.0
        Largest norm of the gradient of the mean loss.
    accumulate : int, default 1
        Number of batches whose gradients make one step, as if they were one batch.
    epsilon : float, default 1e-6
        Added to the root of AdamW's mean of squares, before it divides.
    beta2 : float, default 0.999
        Share of that mean which stays in each step.
    bias_correction : bool, default True
        Whether AdamW makes up for its means starting at 0, as its papers and PyTorch do. BERT's authors' code leaves it
        out, which makes the first steps several times as long (Zhang et al. 2021, section 4).

    Raises
    ------
    ValueError
        A value is out of range or of another type.

    Source: Devlin et al. 2018, section A.2, and the authors' code.
    """

    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulate: int = 1
    epsilon: float = 1e-6
    beta2: float = 0.999
    bias_correction: bool = True

    def __post_init__(self):
        require("warmup_ratio", self.warmup_ratio, Real, lambda x: 0 <= x <= 1, "a number from 0 to 1")
        require("weight_decay", self.weight_decay, Real, lambda x: 0 <= x < math.inf, "a number, at least 0")
        require("clip_norm", self.clip_norm, Real, is_positive, "a number above 0")
        require_count("accumulate", self.accumulate)
        require("epsilon", self.epsilon, Real, is_positive, "a number above 0")
        require("beta2", self.beta2, Real, lambda x: 0 <= x < 1, "a number from 0 to 1, below 1")
        if not isinstance(self.bias_correction, bool):
            raise ValueError(f"bias_correction must be True or False, not {self.bias_correction!r}")


def is_positive(number):
    return 0 < number < math.inf


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
    return peak * (num_steps - step + 1) / (num_steps - num_warmup)
