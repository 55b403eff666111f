"""The criteria of the checks: pure functions of a measure's curve, with the published tolerances.

A curve is the mean value of a measure at every point of a sweep. 1 means good, 0 means bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["pass", "fail", "low", "high", "unmeasured"]
"""A measure of diversity may be low or high where samples are spread too far: checks allow one of the two."""

LEFT, RIGHT = -np.inf, np.inf
NEAR, WOBBLE, DROP = 0.05, 0.1, 0.2
"""The distance of a value to its target, the distance of an extreme to the end of a curve, and the least
difference between the ends of a curve."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Values `y` of a measure at points `x`, ascending."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def at(self, x: float) -> float:
        """The value at the point nearest to x; at an end for `LEFT` and `RIGHT`."""
        inside = min(max(x, self.x[0]), self.x[-1])
        return float(self.y[np.abs(self.x - inside).argmin()])

    @property
    def left(self) -> float:
        """The value at the smallest x."""
        return float(self.y[0])

    @property
    def right(self) -> float:
        """The value at the largest x."""
        return float(self.y[-1])


Rule = Callable[[Curve], Verdict]


def _verdict(passed: bool) -> Verdict:
    return "pass" if passed else "fail"


def _is_near(value: float, target: float) -> bool:
    return target - NEAR <= value <= target + NEAR


def value(at: float, target: float) -> Rule:
    """The value at a point is near its target."""
    return lambda curve: _verdict(_is_near(curve.at(at), target))


def one_or_zero(at: float) -> Rule:
    """The value at a point is near 1, which makes the measure a high one, or near 0, a low one."""

    def rule(curve: Curve) -> Verdict:
        found = curve.at(at)
        return "high" if _is_near(found, 1) else "low" if _is_near(found, 0) else "fail"

    return rule


def bell(middle: float) -> Rule:
    """The curve is highest in the middle, and at least one of its ends is its lowest."""

    def rule(curve: Curve) -> Verdict:
        top, lowest = curve.at(middle), curve.y.min()
        return _verdict(
            top - curve.left >= DROP
            and top - curve.right >= DROP
            and curve.y.max() - top <= WOBBLE
            and min(curve.left, curve.right) - lowest <= WOBBLE
        )

    return rule


def rising(curve: Curve) -> Verdict:
    """The curve is lowest at its left end and highest at its right end."""
    low, high = curve.left, curve.right
    steady = low - curve.y.min() <= WOBBLE and curve.y.max() - high <= WOBBLE
    return _verdict(high - low >= DROP and steady)


def falling(curve: Curve) -> Verdict:
    """The curve is highest at its left end and lowest at its right end."""
    return rising(Curve(curve.x, curve.y[::-1]))


def falling_by(x: float) -> Rule:
    """The curve falls, and has fallen by a tenth at a point."""
    return lambda curve: _verdict(falling(curve) == "pass" and curve.left - curve.at(x) >= WOBBLE)


def flat(curve: Curve) -> Verdict:
    """The curve hardly changes."""
    return _verdict(float(np.ptp(curve.y)) <= NEAR)


def flat_from(x: float) -> Rule:
    """The curve hardly changes from a point on."""
    return lambda curve: flat(Curve(curve.x[curve.x >= x], curve.y[curve.x >= x]))


def low_or_high(low: Rule, high: Rule) -> Rule:
    """The curve has the shape of a low or that of a high measure."""
    return lambda curve: "low" if low(curve) == "pass" else "high" if high(curve) == "pass" else "fail"


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of several criteria: all must be met, and a measure must be low in all or high in all."""
    found = set(verdicts)
    if "fail" in found or {"low", "high"} <= found:
        return "fail"
    for verdict in ("unmeasured", "low", "high"):
        if verdict in found:
            return verdict
    return "pass"
