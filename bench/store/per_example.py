"""Per-example results as they are kept beside a run: a bit for hit or miss, two bytes for a number.

10,000 zero-shot hits take 1.25 kB. Half precision rounds a value by up to 0.05 %, differently for every
image: it widens the interval of a difference by next to nothing, and never narrows it. The difference
itself is taken between the records' own values, in full.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from latentbench.analysis.core.metric import Metric

FOLDER = "examples"
"""The first part of the arrays' names."""


def packed(examples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays to keep, by name, of one value per example for each metric."""
    return {f"{FOLDER}/{metric}": _packed(values) for metric, values in examples.items()}


def unpacked(
    arrays: Mapping[str, np.ndarray], metric: Metric
) -> NDArray[np.float64] | NDArray[np.bool_] | None:
    """One value for each of a metric's n examples, `[n]`; None where they were not kept, or are not n."""
    values = arrays.get(f"{FOLDER}/{metric.name}")
    if values is None or metric.n is None:
        return None
    if values.dtype == np.uint8:
        return np.unpackbits(values, count=metric.n).astype(bool) if values.size * 8 >= metric.n else None
    return values.astype(np.float64) if len(values) == metric.n else None


def _packed(values: np.ndarray) -> np.ndarray:
    if values.dtype == bool:
        return np.packbits(values)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.isfinite(half).all() else values.astype(np.float32)
