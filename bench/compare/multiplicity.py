"""Corrects p-values for the number of tests.

A gate must rarely raise a false alarm, so it controls the chance of any (Holm). A table shows what to look
at next, so it controls the share of false ones among those that it marks (Benjamini and Hochberg).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Correction = Literal["Holm", "Benjamini–Hochberg"]


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values `[..., m]`: rejecting those ≤ α makes the chance of any false rejection at most α.

    Each row of the last axis is a family; a NaN in it is no test, and stays NaN. Holds for any dependence
    of the tests. Holm 1979, https://www.jstor.org/stable/4615733.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    tests = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    order = np.argsort(values, axis=-1)
    steps = np.take_along_axis(values, order, axis=-1) * (tests - np.arange(values.shape[-1]))
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0), axis=-1)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values `[m]`: of those ≤ α a share of at most α is expected to be false.

    For independent or positively dependent tests. Benjamini and Hochberg 1995,
    doi:10.1111/j.2517-6161.1995.tb02031.x.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    return np.asarray(stats.false_discovery_control(values, method="bh")) if values.size else values


CORRECTIONS: dict[Correction, Callable[[ArrayLike], NDArray[np.float64]]] = {
    "Holm": holm,
    "Benjamini–Hochberg": benjamini_hochberg,
}
