"""Whether a harm is more than chance: an estimate, its interval and a p-value, for each way of repeating.

Everything here works on *harm*, a difference turned so that positive is worse. Tests are one-sided, since a
gate asks only whether something got worse, and each bound of an interval is one-sided as well: at
`alpha` 0.05 the harm lies above `low` with 95 % confidence, and below `high` with 95 %.

A small p says that chance alone would rarely do this much harm. A large p does not say that nothing
happened: that is what `high` is for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

ALPHA = 0.05
FEW_EXAMPLES = 200
"""Below so many examples a mean is bootstrapped; from here on Student's t gives the same interval."""
RESAMPLES = 20_000

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What a test has found. `spread` is the standard deviation of one replicate's harm, in its unit."""

    method: str
    harm: float
    low: float
    high: float
    p: float
    n: int
    """Replicates: seeds, pairs of processes, or test images."""
    spread: float

    def scaled(self, factor: float) -> Evidence:
        """The same evidence in another unit; `factor` must be positive."""
        return Evidence(
            self.method,
            self.harm * factor,
            self.low * factor,
            self.high * factor,
            self.p,
            self.n,
            self.spread * factor,
        )


def paired_t(harms: ArrayLike, *, alpha: float = ALPHA, of: str = "seeds") -> Evidence:
    """Student's t test of paired differences `[n]`, n ≥ 2, such as one for each shared seed.

    Where every pair differs by the same the answer is certain, as for a closed form that takes no seed.
    Raises ValueError for fewer than two.
    """
    values = _checked(harms)
    n, harm, spread = len(values), float(values.mean()), float(values.std(ddof=1))
    return _student(f"paired t over {n} {of}", harm, spread / math.sqrt(n), n - 1, alpha, n, spread)


def welch_t(a: ArrayLike, b: ArrayLike, *, alpha: float = ALPHA) -> Evidence:
    """Welch's t test of the harm mean(b) − mean(a) between unpaired runs; both are harms, `[n]` and `[m]`.

    Where one side is a single value, that value's spread is taken to be the other side's (Student's t with
    the pooled variance, which is then that of the other side). Raises ValueError for one value each.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n, m = len(first), len(second)
    if min(n, m) < 1 or n + m < 3:
        raise ValueError(f"Welch's t needs 1 and 2 values at least, got {n} and {m}")
    harm = float(second.mean() - first.mean())
    if min(n, m) == 1:
        variance = float((first if n > 1 else second).var(ddof=1))
        error, freedom = math.sqrt(variance * (1 / n + 1 / m)), float(n + m - 2)
        method = f"t, {n} seeds against {m}, one spread for both"
    else:
        parts = np.array([first.var(ddof=1) / n, second.var(ddof=1) / m])
        error = math.sqrt(parts.sum())
        freedom = float(parts.sum() ** 2 / (parts**2 / [n - 1, m - 1]).sum()) if error else float(n + m - 2)
        method = f"Welch's t, {n} seeds against {m}"
    # The spread of a pair's difference that would give this error at as many pairs as the fewer side has.
    fewer = max(2, min(n, m))
    return _student(method, harm, error, freedom, alpha, fewer, error * math.sqrt(fewer))


def _student(
    method: str, harm: float, error: float, freedom: float, alpha: float, n: int, spread: float
) -> Evidence:
    if error <= np.finfo(np.float64).eps * abs(harm):
        return Evidence(method, harm, harm, harm, 0.0 if harm > 0 else 1.0, n, 0.0)
    reach = float(special.stdtrit(freedom, 1 - alpha)) * error
    p = float(special.stdtr(freedom, -harm / error))
    return Evidence(method, harm, harm - reach, harm + reach, p, n, spread)


def mcnemar(a: ArrayLike, b: ArrayLike, *, alpha: float = ALPHA) -> Evidence:
    """Exact McNemar test of hits `[n]` of two models on the same examples; harm is the accuracy lost.

    Given how many examples only one of the two gets right, the number that B lost is binomial. The
    interval is Clopper and Pearson's of that share, carried over to the difference in accuracy, so it
    excludes 0 exactly when p < `alpha`. McNemar 1947, doi:10.1007/BF02295996.

    Raises ValueError where the two differ in length or are empty.
    """
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"hits must share one shape [n], n ≥ 1, got {first.shape} and {second.shape}")
    n = first.size
    lost, gained = int((first & ~second).sum()), int((~first & second).sum())
    method = f"exact McNemar over {n:,} examples, {lost} lost and {gained} gained"
    differing, harm = lost + gained, (lost - gained) / n
    spread = math.sqrt(max(differing / n - harm**2, 0.0))
    if not differing:
        return Evidence(method, 0.0, 0.0, 0.0, 1.0, n, 0.0)
    p = float(stats.binom.sf(lost - 1, differing, 0.5))
    low = float(special.betaincinv(lost, gained + 1, alpha)) if lost else 0.0
    high = float(special.betaincinv(lost + 1, gained, 1 - alpha)) if gained else 1.0
    return Evidence(method, harm, (2 * low - 1) * differing / n, (2 * high - 1) * differing / n, p, n, spread)


def paired_examples(harms: ArrayLike, *, alpha: float = ALPHA, seed: int = 0) -> Evidence:
    """The mean of one difference an example `[n]`, such as a per-image error, n ≥ 2.

    Of few examples a bootstrap of the mean, bias-corrected and accelerated (Efron 1987,
    doi:10.1080/01621459.1987.10478410), whose p is that share of resampled means that show no harm. Of
    many, Student's t: their mean is normal whatever the examples are.
    """
    values = _checked(harms)
    n = len(values)
    if n >= FEW_EXAMPLES or np.ptp(values) == 0:
        return paired_t(values, alpha=alpha, of="examples")
    harm, spread = float(values.mean()), float(values.std(ddof=1))
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=1 - 2 * alpha,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    no_harm = int((result.bootstrap_distribution <= 0).sum())
    return Evidence(
        f"paired bootstrap over {n} examples",
        harm,
        float(interval.low),
        float(interval.high),
        (no_harm + 1) / (RESAMPLES + 1),
        n,
        spread,
    )


def _checked(harms: ArrayLike) -> Values:
    values = np.asarray(harms, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"harms must be [n] with n ≥ 2, got shape {values.shape}")
    return values
