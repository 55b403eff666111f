"""The Bjøntegaard rate difference: how many more bits a codec needs for the same PSNR, on average.

Between the curves of two codecs, log₁₀ of the rate is interpolated over the PSNR and integrated over the
range of PSNR that both cover (Bjøntegaard 2001, VCEG-M33; piecewise cubic Hermite polynomials as in ITU-T
HSTP-VID-WPOM).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Curve = Sequence[tuple[float, float]]
"""Pairs of a rate and a PSNR in dB, in any order."""
SMALLEST_OVERLAP = 0.5
"""dB that both curves must cover."""


def bd_rate(curve: Curve, anchor: Curve) -> float | None:
    """Return how much larger the rate of `curve` is than that of `anchor` at the same PSNR, as a fraction.

    −0.2 means 20 % fewer bits. None if a curve has fewer than two points, or both share less than half a dB.

    >>> anchor = [(1.0, 30.0), (2.0, 33.0), (4.0, 36.0)]
    >>> round(bd_rate([(0.8 * rate, psnr) for rate, psnr in anchor], anchor), 6)
    -0.2
    """
    mine, other = _rising(curve), _rising(anchor)
    if min(len(mine), len(other)) < 2:
        return None
    low, high = max(mine[0][1], other[0][1]), min(mine[-1][1], other[-1][1])
    if high - low < SMALLEST_OVERLAP:
        return None
    difference = (_log_rate(mine, low, high) - _log_rate(other, low, high)) / (high - low)
    return float(10**difference - 1)


def _rising(curve: Curve) -> list[tuple[float, float]]:
    """Return the points of a curve that no cheaper point reaches, by rate: their PSNR rises."""
    kept: list[tuple[float, float]] = []
    for rate, psnr in sorted(curve):
        if rate > 0 and np.isfinite(psnr) and (not kept or psnr > kept[-1][1]):
            kept.append((rate, psnr))
    return kept


def _log_rate(curve: Curve, low: float, high: float) -> float:
    """Integrate log₁₀ of the rate over the PSNR from `low` to `high`."""
    from scipy.interpolate import PchipInterpolator  # slow to import

    rates, psnrs = zip(*curve, strict=True)
    return float(PchipInterpolator(psnrs, np.log10(rates)).integrate(low, high))
