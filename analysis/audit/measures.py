"""The measures that are audited, each read so that 1 is good and 0 is bad.

A dead zone and a leak are read as 1 minus the value, a distance d as 1 / (1 + d): it has no upper bound, so
its verdicts depend on that reading. Overlap and distances do not tell fidelity from diversity; they are
judged as both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from latentbench.analysis.audit.check import Kind
from latentbench.analysis.fidelity.clipped_density_coverage import clipped_density_coverage
from latentbench.analysis.fidelity.generative_metrics import (
    DENSITY_K,
    frechet_between,
    kernel_distance,
    neighbourhoods,
)
from latentbench.analysis.latent.dead_zones import Gap
from latentbench.analysis.latent.overlap import overlap_coverage
from latentbench.analysis.statistics.moments import Moments
from latentbench.analysis.statistics.neighbours import nearest

Values = Mapping[str, float]
"""Values by the name of the measure."""
Measuring = Callable[[Tensor], Values]
"""A function from samples `[M, D]` to values; it knows the real points. Raises ValueError for few points."""

BOTH: tuple[Kind, ...] = ("fidelity", "diversity")


@dataclass(frozen=True)
class MeasureFamily:
    """Measures that are computed together, the kinds that each is judged as, and the most repeats."""

    measures: Mapping[str, tuple[Kind, ...]]
    prepare: Callable[[Tensor], Measuring]
    repeats: int | None = None
    """None for as many as are asked for; fewer where a measure takes long."""

    def values(self, measuring: Measuring, fake: Tensor) -> Values:
        """The values, NaN where the measures refuse the points: they are too few for their dimensions."""
        try:
            return measuring(fake)
        except ValueError:
            return dict.fromkeys(self.measures, math.nan)


def _nearest_neighbours(real: Tensor) -> Measuring:
    known = nearest(real, real, DENSITY_K, exclude_self=True)[0]

    def measure(fake: Tensor) -> Values:
        found = neighbourhoods(real, fake, real_distances=known)
        return {
            "precision": found.precise.double().mean().item(),
            "density": found.density.mean().item(),
            "recall": found.recalled.double().mean().item(),
            "coverage": found.covered.double().mean().item(),
        }

    return measure


def _clipped(real: Tensor) -> Measuring:
    def measure(fake: Tensor) -> Values:
        density, coverage = clipped_density_coverage(real, fake)
        return {"clipped density": density, "clipped coverage": coverage}

    return measure


def _gaps(real: Tensor) -> Measuring:
    def measure(fake: Tensor) -> Values:
        gap = Gap.of(real, fake)
        return {"dead zone": 1 - gap.dead_zone().value, "leak": 1 - gap.leak().value}

    return measure


def _overlap(real: Tensor) -> Measuring:
    def measure(fake: Tensor) -> Values:
        return {"overlap": overlap_coverage(real, fake).value}

    return measure


def _distances(real: Tensor) -> Measuring:
    moments = Moments.of(real)

    def measure(fake: Tensor) -> Values:
        frechet = frechet_between(moments, Moments.of(fake))
        return {
            "kernel distance": 1 / (1 + max(kernel_distance(real, fake), 0)),
            "Fréchet distance": 1 / (1 + frechet),
        }

    return measure


FAMILIES: dict[str, MeasureFamily] = {
    "neighbours": MeasureFamily(
        {
            "precision": ("fidelity",),
            "density": ("fidelity",),
            "recall": ("diversity",),
            "coverage": ("diversity",),
        },
        _nearest_neighbours,
    ),
    "clipped": MeasureFamily(
        {"clipped density": ("fidelity",), "clipped coverage": ("diversity",)}, _clipped, repeats=3
    ),
    "gaps": MeasureFamily({"dead zone": ("fidelity",), "leak": ("diversity",)}, _gaps, repeats=3),
    "overlap": MeasureFamily({"overlap": BOTH}, _overlap, repeats=1),
    "distances": MeasureFamily({"kernel distance": BOTH, "Fréchet distance": BOTH}, _distances, repeats=3),
}
