"""AdamW's steps, written out in NumPy."""

import numpy as np


def adamw(weight, gradients, rates, recipe):
    """A weight after a step for each of the gradients, at each of the rates."""
    weight, mean, variance = weight.astype("float64"), 0, 0
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = 0.9 * mean + 0.1 * gradient
        variance = recipe.beta2 * variance + (1 - recipe.beta2) * gradient**2
        of_1, of_2 = (1 - 0.9**t, 1 - recipe.beta2**t) if recipe.bias_correction else (1, 1)
        adam = mean / of_1 / (np.sqrt(variance / of_2) + recipe.epsilon)
        weight = weight - rate * (adam + recipe.weight_decay * weight)
    return weight
