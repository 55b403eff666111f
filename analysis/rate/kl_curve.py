"""Formulas on a curve over training steps: smoothed, settled, and with a spike or without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 0.05
"""Steps averaged around a step, as a share of its number: a window of even width on a logarithmic axis."""
SPIKE = 1.1
"""A peak counts as a spike if it is this many times the settled value of the curve."""
SETTLED = 0.1
"""Share of the steps, at the end, over which a curve counts as settled."""

Curve = NDArray[np.floating]


def smoothed(curve: Curve) -> NDArray[np.float64]:
    """Average each step with the steps before and after it, `WINDOW` of its number on either side."""
    steps = np.arange(len(curve))
    reach = np.ceil(WINDOW * steps).astype(int)
    first, last = np.maximum(steps - reach, 0), np.minimum(steps + reach, len(curve) - 1)
    total = np.concatenate([[0.0], np.cumsum(curve, dtype=np.float64)])
    return np.asarray((total[last + 1] - total[first]) / (last - first + 1))


def last_steps(curve: Curve) -> Curve:
    """Return the last tenth of a curve, at least one step.

    >>> last_steps(np.arange(30.0)).tolist()
    [27.0, 28.0, 29.0]
    """
    return curve[-max(1, round(SETTLED * len(curve))) :]


def spike(curve: Curve) -> int | None:
    """Return the step, from 0, of the highest point; None unless it is well above the settled value."""
    peak = int(np.argmax(curve))
    return peak if curve[peak] > SPIKE * last_steps(curve).mean() else None
