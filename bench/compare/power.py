"""Power of a one-sided t test: the effect that a number of seeds can detect, and the seeds for an effect.

Effects are in standard deviations of a pair's difference, which is the difference of two runs of one seed,
not in standard deviations of one run's results.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from latentbench.bench.compare.significance import ALPHA

POWER = 0.8
MOST_SEEDS = 1000
SPREADS = 4000


def power_of_t(effect: float, n: int, *, alpha: float = ALPHA) -> float:
    """Compute the chance that a one-sided t test of n pairs finds an effect of so many standard deviations.

    >>> round(power_of_t(1.0, 8), 2)
    0.82
    """
    critical = special.stdtrit(n - 1, 1 - alpha)
    # The non-central t is computed as a normal mixed over the sample's own spread: scipy's is nan far out.
    return float(special.ndtr(effect * math.sqrt(n) - critical * _relative_spreads(n - 1)).mean())


@lru_cache(maxsize=256)
def _relative_spreads(freedom: int) -> NDArray[np.float64]:
    """Return equally likely values of a sample's standard deviation over the true one."""
    shares = (np.arange(SPREADS) + 0.5) / SPREADS
    return np.asarray(np.sqrt(2 * special.gammaincinv(freedom / 2, shares) / freedom))


def detectable_effect(n: int, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Compute the smallest effect, in standard deviations, that n ≥ 2 pairs detect with the given power.

    >>> [round(detectable_effect(n), 1) for n in (3, 5, 8)]
    [2.3, 1.4, 1.0]
    """
    if n < 2:
        raise ValueError(f"a t test needs at least 2 pairs, got {n}")
    critical = float(special.stdtrit(n - 1, 1 - alpha))
    highest = 4 * (critical + 10) / math.sqrt(n)
    return float(optimize.brentq(lambda effect: power_of_t(effect, n, alpha=alpha) - power, 0.0, highest))


def pairs_needed(
    effect: float, *, alpha: float = ALPHA, power: float = POWER, most: int = MOST_SEEDS
) -> int | None:
    """Compute the fewest pairs that detect an effect of so many standard deviations; None above `most`.

    >>> pairs_needed(1.0)
    8
    """
    if effect <= 0 or power_of_t(effect, most, alpha=alpha) < power:
        return None
    pairs = range(2, most + 1)
    return pairs[bisect_left(pairs, power, key=lambda n: power_of_t(effect, n, alpha=alpha))]
