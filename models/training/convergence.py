"""Detects a training that was too short: its loss fell a lot over the second half of it."""

from __future__ import annotations

import math

import numpy as np

from latentbench.models.training.engine import schedule_factor
from latentbench.models.training.recipe import Recipe

MIDDLE, END = (0.4, 0.6), (0.9, 1.0)
"""Parts of the training that are compared, as shares of the sum of the learning rates of all steps."""
FEWEST = 5
"""The smallest number of steps in each part."""
MATERIAL = 0.1
"""The fall that counts, as a share of the loss in the middle. On MNIST, autoencoders and VAEs gained about
half as much from a training that was six times as long."""
CONFIDENCE = 1.96


def still_falling(loss: np.ndarray, recipe: Recipe) -> bool | None:
    """Return whether the loss fell by over 10 % from the middle of the training to its end, beyond noise.

    `loss` is that of each step, `[steps]`, counted from that of a perfect model (`ModelSpec.loss_from_zero`).
    Progress is counted in learning rate, not in steps: a rate that falls to zero makes every loss settle in
    the last steps. None where nothing is known: too few steps, or a loss that is not finite.

    >>> constant = Recipe(schedule="constant")
    >>> still_falling(10 - 0.005 * np.arange(1000), constant), still_falling(np.ones(1000), constant)
    (True, False)
    """
    if len(loss) < FEWEST:
        return None
    rates = np.array([schedule_factor(recipe, step, len(loss)) for step in range(len(loss))])
    progress = np.cumsum(rates) / rates.sum()
    parts = [loss[(progress > low) & (progress <= high)].astype(np.float64) for low, high in (MIDDLE, END)]
    if min(map(len, parts)) < FEWEST or not all(np.isfinite(part).all() for part in parts):
        return None
    middle, end = (part.mean() for part in parts)
    error = math.hypot(*(part.std(ddof=1) / math.sqrt(len(part)) for part in parts))
    return bool(middle - end - CONFIDENCE * error > MATERIAL * abs(middle))
