"""A sanity check as data: what it draws, and what it asks for.

Real points are drawn from one density, samples from another, and one number x changes from point to point of
a sweep. A check has a sweep for each of its settings, such as 1, 8 and 64 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latentbench.analysis.audit.criteria import Rule

Array = NDArray[np.float64]
Pairs = Callable[[float], tuple[Array, Array]]
"""A function from x to real points `[N, D]` and samples `[M, D]`."""

Kind = Literal["fidelity", "diversity"]
Desideratum = Literal["purpose", "hyperparameters", "data size", "bounds", "invariance"]

SIZE = 1000
"""Real points, and samples, of the published battery."""
FEW = 11
"""Points of a thinned sweep, about."""


@dataclass(frozen=True)
class ParameterSweep:
    """The points of one setting. `draw` draws what they share, with n real points, and returns the rest."""

    setting: str
    x: tuple[float, ...]
    draw: Callable[[np.random.Generator, int], Pairs]
    keep: float = 0.0
    """A point that a thinned sweep keeps, as it keeps both ends."""

    def thinned(self) -> tuple[float, ...]:
        """About `FEW` of the points."""
        step = -(-len(self.x) // FEW)
        kept = int(np.abs(np.array(self.x) - self.keep).argmin())
        chosen = {*range(0, len(self.x), step), len(self.x) - 1, kept}
        return tuple(self.x[index] for index in sorted(chosen))


@dataclass(frozen=True)
class CheckRequirement:
    """One criterion: for measures of one kind and in one setting, where these are given."""

    desideratum: Desideratum
    name: str
    rule: Rule
    kind: Kind | None = None
    setting: str | None = None

    def applies(self, kind: Kind, setting: str) -> bool:
        """Return True if it applies to such a measure in that setting."""
        return self.kind in (None, kind) and self.setting in (None, setting)


@dataclass(frozen=True)
class SanityCheck:
    """One sanity check."""

    name: str
    title: str
    sweeps: tuple[ParameterSweep, ...]
    requirements: tuple[CheckRequirement, ...]

    @property
    def desiderata(self) -> tuple[Desideratum, ...]:
        """The subjects of the requirements, in order."""
        return tuple(dict.fromkeys(each.desideratum for each in self.requirements))


def dimensions(
    draw: Callable[[int], Callable[[np.random.Generator, int], Pairs]],
    points: dict[int, Array],
    *,
    keep: float = 0.0,
) -> tuple[ParameterSweep, ...]:
    """A sweep for each number of dimensions."""
    return tuple(ParameterSweep(f"D = {d}", tuple(map(float, x)), draw(d), keep) for d, x in points.items())
