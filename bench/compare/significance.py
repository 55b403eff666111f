"""Tests whether a regression exceeds chance: an estimate, its interval and a p-value, by what was repeated.

A *regression* is a difference here, with the sign set so that positive is worse. Tests are one-sided, since
a gate asks only whether something got worse, and each bound of an interval is one-sided as well: at
`alpha` 0.05 the regression lies above `low` with 95 % confidence, and below `high` with 95 %.

A small p means that chance alone would rarely cause so large a regression. A large p does not mean that
nothing changed: `high` states how large a regression is still possible.

Seeds that all differ by the same amount do not prove that others would: a share of 60 test images has 61
possible values, and few trainings often agree on one of them. So a spread over seeds is never less than
the metric's `step`, and p is 0 only if no seed is involved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from latentbench.analysis.statistics.intervals import clustered_se

ALPHA = 0.05
FEW_EXAMPLES = 200
"""The mean of fewer examples is bootstrapped; from here on Student's t gives the same interval."""
RESAMPLES = 20_000

Values = NDArray[np.float64]


Sample = Literal["seeds", "examples", "blocks"]
"""The unit that a test repeats: trainings from seeds, test images, or blocks of timed processes."""

TIED = 1e-9
"""Differences that vary by less, relative to their size, are equal except for rounding."""


@dataclass(frozen=True)
class Evidence:
    """The result of a test. `spread` is the standard deviation of one replicate's regression, in its unit."""

    method: str
    """The test in words."""
    sample: Sample
    regression: float
    low: float
    high: float
    p: float
    n: int
    """The number of replicates in the sample."""
    spread: float

    def scaled(self, factor: float) -> Evidence:
        """Return the same evidence in another unit; `factor` must be positive."""
        return replace(
            self,
            regression=self.regression * factor,
            low=self.low * factor,
            high=self.high * factor,
            spread=self.spread * factor,
        )


def step_of(values: ArrayLike, n: int | None) -> float:
    """Return the step between a metric's values: 1/n for shares of n images, 1 for counts, else 0.

    It is inferred from the values: those of a continuous metric are never all multiples of 1/n.

    >>> step_of([0.95, 0.9], 60), step_of([3.0, 4.0], None), step_of([0.123, 0.456], 60)
    (0.016666666666666666, 1.0, 0.0)
    """
    given = np.asarray(values, dtype=np.float64)
    for count in (1, n or 1):
        whole = np.round(given * count)
        # Values in float32 are off by up to 1e-7 of themselves; a tiny one is not 0.
        if (np.abs(given * count - whole) <= 1e-6 * count).all() and ((whole != 0) | (given == 0)).all():
            return 1.0 / count
    return 0.0


def paired_t(
    regressions: ArrayLike,
    *,
    alpha: float = ALPHA,
    sample: Sample = "seeds",
    step: float = 0.0,
    certain: bool = False,
) -> Evidence:
    """Test paired differences `[n]`, n ≥ 2, such as one for each shared seed, by Student's t.

    `step` is the metric's, see `step_of`. `certain` means that no chance is involved, as in a closed form
    that takes no seed: then a difference that all pairs share has p = 0. Raises ValueError for one value.
    """
    values = _checked(regressions)
    n = len(values)
    regression, spread = (
        float(values.mean()),
        float(values.std(ddof=1) if certain else paired_spread(values, step)),
    )
    return _student(
        f"paired t over {n} {sample}", sample, regression, spread / math.sqrt(n), n - 1, alpha, n, spread
    )


def paired_spread(regressions: Values, step: float | Values = 0.0) -> Values:
    """Return the standard deviation of differences `[..., n]`, as large as their step allows, `[...]`.

    Equal differences on an unknown grid count as one step of it.
    """
    spread = regressions.std(axis=-1, ddof=1)
    tied = spread <= TIED * np.abs(regressions).max(axis=-1)
    return np.asarray(
        np.maximum(np.where(tied & (np.asarray(step) == 0), np.abs(regressions.mean(axis=-1)), spread), step)
    )


def welch_t(
    a: ArrayLike, b: ArrayLike, *, alpha: float = ALPHA, step: float = 0.0, certain: bool = False
) -> Evidence:
    """Test the regression mean(b) − mean(a) between unpaired runs `[n]` and `[m]` by Welch's t.

    A larger value is worse. If one side is a single value, its spread is assumed to be the other side's
    (Student's t with the pooled variance, which is then that of the other side). Raises ValueError for one
    value each.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n, m = len(first), len(second)
    if min(n, m) < 1 or n + m < 3:
        raise ValueError(f"Welch's t needs 1 and 2 values at least, got {n} and {m}")
    regression = float(second.mean() - first.mean())
    error, freedom = (float(each) for each in welch_error(first, second, step=step, certain=certain))
    one = min(n, m) == 1
    method = f"t, {n} seeds and {m}, one spread for both" if one else f"Welch's t, {n} seeds and {m}"
    # The spread of a pair's difference that would give this error with as many pairs as the smaller side has.
    fewer = max(2, min(n, m))
    return _student(method, "seeds", regression, error, freedom, alpha, fewer, error * math.sqrt(fewer))


def welch_error(
    a: Values, b: Values, *, step: float | Values = 0.0, certain: bool = False
) -> tuple[Values, Values]:
    """Return the standard error of mean(b) − mean(a) and its degrees of freedom, over the last axis."""
    n, m = a.shape[-1], b.shape[-1]
    if min(n, m) == 1:
        several, n_several = (a, n) if n > 1 else (b, m)
        variance = several.var(axis=-1, ddof=1)
        variances = [variance, variance]
        freedom = np.full(variance.shape, float(n_several - 1))
    else:
        variances = [a.var(axis=-1, ddof=1), b.var(axis=-1, ddof=1)]
        freedom = np.full(variances[0].shape, float(n + m - 2))
    if not certain:
        # A pair's difference has the variance of both sides, so each side has half of a step's square.
        regression = b.mean(axis=-1) - a.mean(axis=-1)
        largest = np.maximum(np.abs(a).max(axis=-1), np.abs(b).max(axis=-1))
        tied = np.sqrt(variances[0] + variances[1]) <= TIED * largest
        least = np.where(tied & (np.asarray(step) == 0), np.abs(regression), step) ** 2 / 2
        variances = [np.maximum(variance, least) for variance in variances]
    parts = np.stack([variances[0] / n, variances[1] / m])
    if min(n, m) > 1:
        squares = parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)
        freedom = np.divide(parts.sum(0) ** 2, squares, out=freedom, where=squares > 0)
    return np.sqrt(parts.sum(0)), freedom


def p_of(regression: ArrayLike, error: ArrayLike, freedom: ArrayLike) -> Values:
    """Return one-sided p-values of regressions with these standard errors, all of one shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.asarray(regression, dtype=np.float64) / np.asarray(error, dtype=np.float64)
    # Without an error a regression is certain, and 0 is no regression.
    return np.asarray(special.stdtr(freedom, -np.nan_to_num(t, nan=-np.inf)))


def _student(
    method: str,
    sample: Sample,
    regression: float,
    error: float,
    freedom: float,
    alpha: float,
    n: int,
    spread: float,
) -> Evidence:
    if error <= np.finfo(np.float64).eps * abs(regression):
        return Evidence(
            method, sample, regression, regression, regression, 0.0 if regression > 0 else 1.0, n, 0.0
        )
    reach = float(special.stdtrit(freedom, 1 - alpha)) * error
    p = float(p_of(regression, error, freedom))
    return Evidence(method, sample, regression, regression - reach, regression + reach, p, n, spread)


def mcnemar(a: ArrayLike, b: ArrayLike, *, alpha: float = ALPHA) -> Evidence:
    """Test hits `[n]` of two models on the same examples by exact McNemar; regression is the accuracy lost.

    Given the number of examples that only one of the two gets right, the number that B lost is binomial. The
    interval is Clopper and Pearson's of that share, converted to the difference in accuracy, so it
    excludes 0 exactly when p < `alpha`. McNemar 1947, doi:10.1007/BF02295996.

    Raises ValueError if the two differ in length or are empty.
    """
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"hits must share one shape [n], n ≥ 1, got {first.shape} and {second.shape}")
    n = first.size
    lost, gained = int((first & ~second).sum()), int((~first & second).sum())
    method = f"exact McNemar over {n:,} examples, {lost} lost and {gained} gained"
    differing, regression = lost + gained, (lost - gained) / n
    spread = math.sqrt(max(differing / n - regression**2, 0.0))
    if not differing:
        return Evidence(method, "examples", 0.0, 0.0, 0.0, 1.0, n, 0.0)
    p = float(stats.binom.sf(lost - 1, differing, 0.5))
    low = float(special.betaincinv(lost, gained + 1, alpha)) if lost else 0.0
    high = float(special.betaincinv(lost + 1, gained, 1 - alpha)) if gained else 1.0
    scale = differing / n
    return Evidence(
        method, "examples", regression, (2 * low - 1) * scale, (2 * high - 1) * scale, p, n, spread
    )


def paired_examples(regressions: ArrayLike, *, alpha: float = ALPHA, seed: int = 0) -> Evidence:
    """Test the mean of one difference per example `[n]`, n ≥ 2, such as a per-image error.

    Few examples use a bootstrap of the mean, bias-corrected and accelerated (Efron 1987,
    doi:10.1080/01621459.1987.10478410), whose p is the share of resampled means that are no regression. Many
    examples use Student's t, since their mean is normal for any distribution.
    """
    values = _checked(regressions)
    n = len(values)
    if n >= FEW_EXAMPLES or np.ptp(values) == 0:
        return paired_t(values, alpha=alpha, sample="examples", certain=True)
    regression, spread = float(values.mean()), float(values.std(ddof=1))
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=1 - 2 * alpha,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    not_worse = int((result.bootstrap_distribution <= 0).sum())
    return Evidence(
        f"paired bootstrap over {n} examples",
        "examples",
        regression,
        float(interval.low),
        float(interval.high),
        (not_worse + 1) / (RESAMPLES + 1),
        n,
        spread,
    )


def paired_clusters(regressions: ArrayLike, clusters: ArrayLike, *, alpha: float = ALPHA) -> Evidence:
    """The mean of one difference an example `[n]` if those of one cluster, of `[n]`, are not independent.

    Student's t with the clusters' standard error (`clustered_se`), for G ≥ 2 clusters G − 1 degrees of
    freedom: 5,000 images of 18 captions are 18 observations of what new captions would show.
    """
    values = _checked(regressions)
    count = len(np.unique(np.asarray(clusters)))
    if count < 2:
        raise ValueError("a paired test needs at least 2 clusters, got 1")
    error = clustered_se(values, clusters) or 0.0
    return _student(
        f"paired t over {count} clusters of {len(values):,} examples",
        "examples",
        float(values.mean()),
        error,
        count - 1,
        alpha,
        count,
        error * math.sqrt(count),
    )


def _checked(regressions: ArrayLike) -> Values:
    values = np.asarray(regressions, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"regressions must be [n] with n ≥ 2, got shape {values.shape}")
    return values
