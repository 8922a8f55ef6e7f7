"""The seed of all random numbers."""

import random

import mxnet as mx
import numpy as np


def seed_everything(seed):
    """Seed Python's, NumPy's and MXNet's random numbers; all three are used in training.

    Parameters
    ----------
    seed : int
        0 to 2**31 - 1.

    Returns
    -------
    int
        The seed, for printing.

    Raises
    ------
    ValueError
        Another seed.
    """
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must lie between 0 and 2**31 - 1, not {seed}")
    random.seed(seed)
    np.random.seed(seed)
    mx.random.seed(seed)
    return seed
