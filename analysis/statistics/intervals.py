"""Standard errors and confidence intervals of measured numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

NORMAL_95 = 1.96
"""Standard errors on each side of a 95 % interval of one measurement."""


def standard_error(values: ArrayLike) -> float | None:
    """Compute the standard error of the mean, s / √n with s over n − 1; None below two values.

    >>> standard_error([1.0, 2.0, 3.0, 4.0, 5.0]) == 0.5**0.5
    True
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size < 2:
        return None
    return float(array.std(ddof=1)) / math.sqrt(array.size)


def clustered_se(values: ArrayLike, clusters: ArrayLike) -> float | None:
    """Compute the standard error of the mean of `values` `[N]`, dependent within `clusters` `[N]`.

    The mean is the ratio of the clusters' sums to their sizes, whose error is
    √(G / (G − 1) Σ_g (Σ_i∈g (x_i − mean))²) / N for G clusters (Cochran 1977, section 9.5): only the clusters
    count as independent. None below two clusters, and where all values are equal: that would claim certainty.

    >>> round(clustered_se([1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2]), 6), round(standard_error([1, 0, 1]), 6)
    (0.333333, 0.333333)
    """
    array, group = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if array.ndim != 1 or array.shape != group.shape:
        raise ValueError(f"values and clusters must be [N] each, got {array.shape} and {group.shape}")
    _, member = np.unique(group, return_inverse=True)
    if not array.size or (count := int(member.max()) + 1) < 2 or np.ptp(array) == 0:
        return None
    sums = np.bincount(member, weights=array - array.mean())
    return math.sqrt(count / (count - 1) * float(np.square(sums).sum())) / array.size


def as_normal(error: float, freedom: int) -> float:
    """Widen a standard error with few degrees of freedom: 1.96 times the result is Student's 95 % interval.

    >>> round(as_normal(1.0, 17), 3), round(as_normal(1.0, 10_000), 3)
    (1.076, 1.0)
    """
    return error * _quantile_of_t(0.975, freedom) / NORMAL_95


def binomial_se(hits: int, n: int) -> float:
    """Compute the standard error of the share hits / n of independent trials, √(p (1 − p) / n).

    If all or none hit, where that would be 0 and claim certainty, 1.96 of it reach the far end of
    Wilson's interval: z / (n + z²).

    >>> binomial_se(20, 100), round(1.96 * binomial_se(0, 100), 3)
    (0.04, 0.037)
    """
    _check_counts(hits, n)
    if hits in (0, n):
        return NORMAL_95 / (n + NORMAL_95**2)
    share = hits / n
    return math.sqrt(share * (1 - share) / n)


def wilson_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the confidence interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    It is valid for few trials and for shares near 0 and 1, where hits / n ± 2 se is not.
    """
    _check_counts(hits, n)
    _check_confidence(confidence)
    from scipy import special  # imported here because it is slow; scipy.stats is slower still

    z, share = float(special.ndtri(0.5 + 0.5 * confidence)), hits / n
    scale = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / scale
    reach = z / scale * math.sqrt(4 * n * share * (1 - share) + z**2)
    # At the edges the formula gives 0 and 1 but for rounding.
    return 0.0 if hits == 0 else centre - reach, 1.0 if hits == n else centre + reach


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Compute Student's t interval of the mean of a few independent, roughly normal values, such as seeds.

    Raises ValueError below two values: one seed says nothing about the spread over seeds.
    """
    _check_confidence(confidence)
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 values, got {n}")
    # Not numpy, which takes ten times as long for a few values, and tables have many thousands of intervals.
    mean = math.fsum(values) / n
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    reach = _quantile_of_t((1 + confidence) / 2, n - 1) * error
    return mean - reach, mean + reach


@cache
def _quantile_of_t(share: float, freedom: int) -> float:
    from scipy import special  # imported here because it is slow

    return float(special.stdtrit(freedom, share))


Part = TypeVar("Part", bound="Addable")


class Addable(Protocol):
    """A summary of a part of the data that can be added to another."""

    def __add__(self: Part, other: Part, /) -> Part:
        """Return the summary of both parts."""


def jackknife_error(parts: Sequence[Part], statistic: Callable[[Part], float]) -> float:
    """Compute the standard error of `statistic` of the sum of two or more independent, equal-sized `parts`.

    Delete-one jackknife (Efron 1982, doi:10.1137/1.9781611970319); for a mean, the usual standard error.

    >>> round(jackknife_error([1.0, 2.0, 3.0, 4.0, 5.0], lambda total: total / 4), 6) == round(0.5**0.5, 6)
    True
    """
    return spread_of_left_out(
        [
            statistic(reduce(operator.add, (*parts[:index], *parts[index + 1 :])))
            for index in range(len(parts))
        ]
    )


def spread_of_left_out(left_out: Sequence[float]) -> float:
    """Compute the jackknife's standard error from the statistic without each of two or more equal parts."""
    values = np.asarray(left_out)
    return float(np.sqrt(np.square(values - values.mean()).sum() * (len(values) - 1) / len(values)))


def _check_counts(hits: int, n: int) -> None:
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"hits must be within 0 and n, and n at least 1; got hits={hits}, n={n}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
