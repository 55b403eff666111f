"""Detects a training that ended too early: its loss was still falling."""

from __future__ import annotations

import math

import numpy as np

from latentbench.models.training.history import History

LAST = 0.25
"""The share of the steps, at the end, that is looked at."""
BLOCKS = 12
"""Blocks of steps; a line is fitted to their means, whose errors depend little on each other."""
MATERIAL = 0.01
"""A fall over the last steps counts from this share of the loss on."""
CONFIDENCE = 0.95


def still_falling(history: History) -> bool | None:
    """Return whether the loss fell by more than 1 % over the last quarter of the steps, beyond noise.

    The fall is that of a line fitted to the means of twelve blocks of steps, and all of its 95 % interval
    must be above 1 % of the mean loss there. False does not mean that a longer training would reach no lower
    loss: a learning rate that falls to zero makes every loss settle. None where nothing is known: no loss,
    too few steps, or a loss that is not finite.

    >>> falling = 10 - 0.005 * np.arange(1000)
    >>> still_falling(History({"loss": falling})), still_falling(History({"loss": np.ones(1000)}))
    (True, False)
    """
    loss = history.terms.get("loss", np.empty(0))
    last = loss[len(loss) - int(LAST * len(loss)) :].astype(np.float64)
    if len(last) < BLOCKS or not np.isfinite(last).all():
        return None
    from scipy import special  # slow to import

    means = np.array([block.mean() for block in np.array_split(last, BLOCKS)])
    position = np.linspace(-0.5, 0.5, BLOCKS)
    spread = position @ position
    slope = position @ means / spread
    residuals = means - means.mean() - slope * position
    error = math.sqrt(residuals @ residuals / (BLOCKS - 2) / spread)
    smallest_fall = -slope - special.stdtrit(BLOCKS - 2, (1 + CONFIDENCE) / 2) * error
    return bool(smallest_fall > MATERIAL * abs(last.mean()))
