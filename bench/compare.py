"""Comparing two runs of the same seeds: a plain tolerance check, a verdict for every metric.

A difference within a metric's own relative tolerance is `same`; beyond it, it is `better`, `worse`, or
`changed` where the metric has no better end. This says nothing about chance: a model trained from other
seeds may differ by more than the tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.metric import Metric
from latentbench.bench.record import Record
from latentbench.bench.store import Run

Verdict = Literal["same", "better", "worse", "changed", "missing", "new", "incomparable"]
ABSOLUTE_FLOOR = 1e-9


@dataclass(frozen=True)
class Difference:
    """One metric of one case in two runs; `relative` is (b − a) / |a|."""

    model: str
    seed: int
    metric: str
    a: float | None
    b: float | None
    relative: float | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Run B held against run A."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def compared(self) -> int:
        """How many metrics were measured in both runs by one definition."""
        return sum(
            difference.verdict in ("same", "better", "worse", "changed") for difference in self.differences
        )

    @property
    def regressed(self) -> bool:
        """Whether anything got worse or went missing."""
        return any(difference.verdict in ("worse", "missing") for difference in self.differences)


def compare(
    a: Run, b: Run, *, tolerance: float | None = None, across_environments: bool = False
) -> Comparison:
    """Every metric of every case of A beside the same one of B.

    `tolerance` replaces the metrics' own relative tolerances. Cases measured in different environments
    are incomparable unless `across_environments`.
    """
    in_a, in_b = _by_case(a), _by_case(b)
    differences: list[Difference] = []
    notes: list[str] = []
    for case, record in in_a.items():
        other = in_b.get(case)
        if other is None:
            notes.append(f"{record.model.label}, seed {record.seed}: only in A")
            continue
        if record.environment != other.environment and not across_environments:
            notes.append(f"{record.model.label}, seed {record.seed}: measured in different environments")
            continue
        differences += _differences(record, other, tolerance)
    notes += [f"{r.model.label}, seed {r.seed}: only in B" for case, r in in_b.items() if case not in in_a]
    return Comparison(a.stem, b.stem, tuple(differences), tuple(notes))


def _by_case(run: Run) -> dict[str, Record]:
    return {record.case: record for record in run.last_records}


def _differences(a: Record, b: Record, tolerance: float | None) -> list[Difference]:
    names = list(dict.fromkeys(metric.name for metric in (*a.metrics, *b.metrics)))
    return [_difference(a, name, a.metric(name), b.metric(name), tolerance) for name in names]


def _difference(
    record: Record, name: str, a: Metric | None, b: Metric | None, tolerance: float | None
) -> Difference:
    def verdict(word: Verdict, relative: float | None = None, reason: str = "") -> Difference:
        return Difference(
            record.model.label,
            record.seed,
            name,
            a.value if a else None,
            b.value if b else None,
            relative,
            word,
            reason,
        )

    if a is None or a.value is None:
        return verdict("new" if b and b.value is not None else "same")
    if b is None or b.value is None:
        return verdict("missing", reason=(b.reason or "") if b else "not measured")
    if a.version != b.version:
        return verdict("incomparable", reason=f"version {a.version} against {b.version}")
    allowed = tolerance if tolerance is not None else _tolerance(name)
    change = b.value - a.value
    relative = change / abs(a.value) if a.value else None
    if abs(change) <= max(allowed * abs(a.value), ABSOLUTE_FLOOR):
        return verdict("same", relative)
    if a.better == "neither":
        return verdict("changed", relative)
    return verdict("better" if (change > 0) == (a.better == "higher") else "worse", relative)


def _tolerance(name: str) -> float:
    return METRICS[name].tolerance if name in METRICS else 0.0


def as_frame(differences: Sequence[Difference]) -> pd.DataFrame:
    """One row a difference."""
    return pd.DataFrame(
        [asdict(difference) for difference in differences], columns=list(Difference.__annotations__)
    )


def as_json(comparison: Comparison) -> str:
    """The whole comparison."""
    return json.dumps(asdict(comparison), indent=2, ensure_ascii=False) + "\n"
