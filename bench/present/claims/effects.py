"""The effect of a claim in one table, and the verdict that its 95 % interval gives.

`supported` means that all of the interval is beyond the bound, `not supported` that all of it falls short,
`inconclusive` that it includes the bound, and `not measured` that a model or a number is missing. The
interval is over the seeds that both models share, paired, and includes the error that seeds share; of one
seed it is that of the measurement, and says nothing of another training.

A trend has several contrasts, its steps. It is supported if every step is, and not supported if one is not;
its effect is that of the smallest step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from latentbench.analysis.core.ensemble import difference, error_of_difference
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.definitions import definition_of
from latentbench.analysis.statistics.estimates import (
    Estimate,
    error_of_one_seed,
    of_one,
    of_seeds,
    typical_error,
)
from latentbench.bench.present.claims.statements import Claim, Contrast, Term
from latentbench.bench.present.rows import TableRow, as_defined_now
from latentbench.bench.store.records.record import Record
from latentbench.data.text import numbers

Verdict = Literal["supported", "not supported", "inconclusive", "not measured"]
Reading = Callable[[Metric], Metric]
"""The part of a measured metric that is read, such as the value of one judge."""


@dataclass(frozen=True)
class ClaimOutcome:
    """A verdict, the effect unless it was not measured, and a reason where there is one."""

    verdict: Verdict
    metric: str
    effect: Estimate | None = None
    reason: str = ""
    step: str = ""
    """The models of the smallest step of a trend."""

    @property
    def shown(self) -> str:
        """The effect with its interval: `0.0170 [0.0120, 0.0220]`."""
        if self.effect is None:
            return numbers.MISSING
        decimals = definition_of(self.metric).decimals
        value, _ = numbers.value_and_error(self.effect.value, self.effect.half_width, decimals)
        where = f" ({self.step})" if self.step else ""
        if self.effect.interval is None:
            return value + where
        ends = (
            numbers.value_and_error(end, self.effect.half_width, decimals) for end in self.effect.interval
        )
        return f"{value} [{', '.join(end for end, _ in ends)}]{where}"

    @property
    def n(self) -> str:
        """The number of seeds that the interval is over, or for one seed of images."""
        if self.effect is None:
            return ""
        if self.effect.repeated == "seeds":
            return f"{self.effect.n} seeds"
        return "1 seed" if self.effect.n is None else f"1 seed, {self.effect.n:,} images"


def as_measured(metric: Metric) -> Metric:
    """Return the metric itself."""
    return metric


def outcome(claim: Claim, table: Sequence[TableRow], reading: Reading = as_measured) -> ClaimOutcome:
    """Return what a table says about one claim."""
    steps = [_of_contrast(contrast, claim.bound, table, reading) for contrast in claim.contrasts]
    for missing in (step for step in steps if step.effect is None):
        return missing
    smallest = min(steps, key=lambda step: step.effect.value if step.effect else math.inf)
    if len(steps) == 1:
        return replace(smallest, step="")
    refuted = [step for step in steps if step.verdict == "not supported"]
    unclear = [step for step in steps if step.verdict == "inconclusive"]
    decided_by = (refuted or unclear or [smallest])[0]
    return replace(smallest, verdict=decided_by.verdict, reason=decided_by.reason)


class _NotMeasuredError(Exception):
    """The reason a contrast has no effect."""


def _of_contrast(
    contrast: Contrast, bound: float, table: Sequence[TableRow], reading: Reading
) -> ClaimOutcome:
    metric = contrast.term.metric
    try:
        pairs = _by_seed(contrast, table, reading)
    except _NotMeasuredError as reason:
        return ClaimOutcome("not measured", metric, reason=str(reason))
    effects = [difference([each.value for each in pair if each.value is not None]) for pair in pairs]
    if len(effects) > 1:
        shared = (error_of_difference(pair, [each.common_se for each in pair]) for pair in pairs)
        effect = of_seeds(effects, typical_error(shared), typical_error(map(_error_of_one_seed, pairs)))
    else:
        (pair,) = pairs
        errors = [None if each.se is None else max(each.se, each.common_se or 0.0) for each in pair]
        error = None if None in errors else error_of_difference(pair, errors)
        effect = of_one(effects[0], error, pair[0].n)
    verdict, why = _verdict(effect.interval, bound)
    return ClaimOutcome(verdict, metric, effect, why, contrast.models)


def _by_seed(contrast: Contrast, table: Sequence[TableRow], reading: Reading) -> list[tuple[Metric, ...]]:
    """The measured terms of every seed that has them all."""
    measured = [_measured(term, table, reading) for term in contrast.terms]
    shared = sorted(set.intersection(*(set(seeds) for seeds in measured)))
    if not shared:
        raise _NotMeasuredError(f"{' and '.join(term.model for term in contrast.terms)} share no seed")
    return [tuple(seeds[seed] for seeds in measured) for seed in shared]


def _measured(term: Term, table: Sequence[TableRow], reading: Reading) -> dict[int, Metric]:
    """The term by seed; a doubted value decides nothing."""
    records: tuple[Record, ...] = next((row.records for row in table if row.label == term.model), ())
    if not records:
        raise _NotMeasuredError(f"no {term.model} in this run")
    metrics = {
        record.seed: reading(as_defined_now(metric))
        for record in records
        if (metric := record.metric(term.metric))
    }
    measured = {seed: metric for seed, metric in metrics.items() if metric.decisive is not None}
    if not measured:
        reason = next((metric.reason for metric in metrics.values()), None) or "not measured"
        raise _NotMeasuredError(f"{term}: {reason}")
    return measured


def _error_of_one_seed(pair: Sequence[Metric]) -> float | None:
    """The part of a difference's standard error that other seeds do not share; None if it is not known."""
    known = [error for error in map(error_of_one_seed, pair) if error is not None]
    return math.hypot(*known) if known else None


def _verdict(interval: tuple[float, float] | None, bound: float) -> tuple[Verdict, str]:
    if interval is None:
        return "inconclusive", "the error of the measurement is not known"
    low, high = interval
    if low > bound:
        return "supported", ""
    return ("not supported", "") if high < bound else ("inconclusive", "the interval includes the bound")
