"""Rank correlation of two quantities over models, and how much better one predictor is than another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
SEED = 0
"""Seed of the resamples, the same for all predictors of as many models: they are compared in pairs."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Correlation:
    """Spearman's ρ over n models, with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n: int
    resampled: Floats
    """ρ of each resample, NaN where all of its models have one value."""


def spearman(a: ArrayLike, b: ArrayLike) -> Floats:
    """Compute Spearman's ρ of `[..., N]` and `[..., N]` over the last axis, tied ranks averaged.

    It is NaN where either has one value only.

    >>> spearman([1, 2, 3, 4], [10, 20, 40, 30]).round(6)
    np.float64(0.8)
    """
    from scipy.stats import rankdata  # slow to import

    ranks = [rankdata(each, axis=-1) for each in (a, b)]
    first, second = (each - each.mean(-1, keepdims=True) for each in ranks)
    norm = np.sqrt(np.square(first).sum(-1) * np.square(second).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((first * second).sum(-1) / norm)[()]


def correlation(predictor: ArrayLike, target: ArrayLike) -> Correlation:
    """Compute ρ of two quantities of N models, `[N]` each, by resampling whole models.

    The interval says what other models of the same kind would show; it is NaN where ρ is.
    """
    a, b = np.asarray(predictor, dtype=np.float64), np.asarray(target, dtype=np.float64)
    chosen = np.random.default_rng(SEED).integers(0, len(a), (RESAMPLES, len(a)))
    resampled = spearman(a[chosen], b[chosen])
    low, high = np.nan, np.nan
    if not np.isnan(resampled).all():
        low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Correlation(float(spearman(a, b)), float(low), float(high), len(a), resampled)


def distinguishable(better: Correlation, worse: Correlation) -> bool:
    """Return True if |ρ| of one predictor is surely larger than that of another over the same models.

    The difference is taken in each resample, with both signs as measured; its 95 % interval must exclude 0.
    """
    if better.n != worse.n:
        raise ValueError(f"correlations over the same models are needed, got {better.n} and {worse.n}")
    signs = np.sign(better.value), np.sign(worse.value)
    differences = signs[0] * better.resampled - signs[1] * worse.resampled
    return bool(np.nanquantile(differences, 0.025) > 0)
