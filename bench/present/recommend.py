"""Recommends a model of a run: requirements, the models that meet them, the best one, and the reasons."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.definitions import definition_of
from latentbench.analysis.statistics.pareto import front
from latentbench.bench.present.rows import Cell, TableRow
from latentbench.data.errors import LatentbenchError
from latentbench.data.text import numbers

LATENCY, QUALITY = "encode_latency_seconds", "psnr"
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
SENSES: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Requirement:
    """A metric that must be at most (`<=`) or at least (`>=`) a bound."""

    metric: str
    sense: str
    bound: float

    def __str__(self) -> str:
        sign = "≤" if self.sense == "<=" else "≥"
        return f"{self.metric} {sign} {with_unit(definition_of(self.metric), self.bound)}"

    def is_met(self, cell: Cell | None) -> bool:
        """Return True if a model has the metric, and it is on the right side."""
        value = cell.decisive if cell else None
        return value is not None and SENSES[self.sense](value, self.bound)

    def missed_by(self, cell: Cell | None) -> float:
        """Return the relative distance of a model from the bound: 0 if it is met, infinite if unknown."""
        if cell is None or cell.decisive is None:
            return float("inf")
        if self.is_met(cell):
            return 0.0
        return abs(cell.decisive - self.bound) / max(abs(self.bound), 1e-12)

    def is_near(self, cell: Cell) -> bool:
        """Return True if the bound lies within the 95 % interval: another run may decide otherwise."""
        return cell.value is not None and abs(cell.value - self.bound) <= (cell.half_width or 0.0)


@dataclass(frozen=True)
class Recommendation:
    """The recommended model, the others that qualified, and the number that each requirement excluded."""

    chosen: TableRow
    qualified: tuple[TableRow, ...]
    tied: tuple[TableRow, ...]
    """Models whose preferred metric is within the intervals of the best; the fastest of them is chosen."""
    ruled_out: dict[Requirement, tuple[str, ...]]
    requirements: tuple[Requirement, ...]
    prefer: MetricDefinition


def seconds(text: str) -> float:
    """Parse a duration with its unit, in seconds.

    >>> seconds("250us"), seconds("2 ms")
    (0.00025, 0.002)
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*(s|ms|us|µs)\s*", text)
    try:
        value = float(found[1]) * UNITS[found[2]] if found else 0.0
    except ValueError:
        value = 0.0
    if value <= 0:
        raise LatentbenchError(f"{text!r} is not a duration; add a unit, such as 250us, 2ms or 0.5s")
    return value


def requirement(text: str) -> Requirement:
    """Parse `frechet_prior<=50` as a requirement. Raises LatentbenchError for an unknown metric."""
    found = re.fullmatch(r"\s*(\w+(?: \([^()]+\))?)\s*(<=|>=)\s*(\S+)\s*", text)
    if not found:
        raise LatentbenchError(f"{text!r} is not a requirement; write METRIC<=NUMBER or METRIC>=NUMBER")
    try:
        bound = float(found[3])
    except ValueError:
        raise LatentbenchError(f"{text!r}: {found[3]!r} is not a number") from None
    return Requirement(definition_of(found[1]).name, found[2], bound)


def recommend(
    rows: Sequence[TableRow], requirements: Sequence[Requirement], prefer: str = QUALITY
) -> Recommendation:
    """Recommend the model that meets every requirement and is best in the metric `prefer`.

    If the 95 % interval of the best model overlaps others', they are tied, and the fastest is chosen. Raises
    LatentbenchError, naming the closest, if none qualifies.
    """
    if any(row.records[0].point for row in rows):
        raise LatentbenchError("a sweep times models with random weights, which have no quality to choose by")
    if rows and rows[0].data:
        found = ", ".join(dict.fromkeys(row.data for row in rows))
        raise LatentbenchError(f"the run has several data sets; choose one with --data: {found}")
    preferred = definition_of(prefer)
    if preferred.better == "neither":
        raise LatentbenchError(f"{prefer} describes a model and does not rank it; prefer another metric")
    qualified = [row for row in rows if all(each.is_met(row.cells.get(each.metric)) for each in requirements)]
    measured = [row for row in qualified if _value(row, prefer) is not None]
    if not measured:
        raise LatentbenchError(_nothing(rows, requirements, qualified, prefer))
    sign = 1 if preferred.better == "higher" else -1
    best = max(measured, key=lambda row: sign * _known(row, prefer))
    tied = [row for row in measured if _overlap(row.cells[prefer], best.cells[prefer])]
    chosen = min(tied, key=lambda row: (_value(row, LATENCY) or float("inf"), row is not best))
    ruled_out = {
        each: tuple(row.label for row in rows if not each.is_met(row.cells.get(each.metric)))
        for each in requirements
    }
    return Recommendation(chosen, tuple(qualified), tuple(tied), ruled_out, tuple(requirements), preferred)


def _value(row: TableRow, metric: str) -> float | None:
    cell = row.cells.get(metric)
    return cell.decisive if cell else None


def _known(row: TableRow, metric: str) -> float:
    value = _value(row, metric)
    assert value is not None
    return value


def _overlap(a: Cell, b: Cell) -> bool:
    return a.estimate is not None and b.estimate is not None and a.estimate.overlaps(b.estimate)


def _nothing(
    rows: Sequence[TableRow], requirements: Sequence[Requirement], qualified: Sequence[TableRow], prefer: str
) -> str:
    """Return the reason why nothing can be recommended, and the closest model."""
    if qualified:
        labels = ", ".join(row.label for row in qualified)
        return f"nothing to choose by: {prefer} was not measured of what qualifies ({labels})"
    wanted = " and ".join(map(str, requirements))
    misses = [(row, [each.missed_by(row.cells.get(each.metric)) for each in requirements]) for row in rows]
    row, missed = min(misses, key=lambda pair: max(pair[1]))
    if max(missed) == float("inf"):
        return f"no model meets {wanted}, and none has all of these metrics undisturbed"
    short = "; ".join(
        f"{each.metric} {with_unit(definition_of(each.metric), _known(row, each.metric))}, off by {share:.0%}"
        for each, share in zip(requirements, missed, strict=True)
        if share > 0
    )
    return f"no model meets {wanted}; the closest is {row.label}: {short}"


def explain(found: Recommendation) -> list[str]:
    """Explain the choice in sentences, one per line."""
    chosen, name = found.chosen, found.prefer.name
    lines = [f"Pick {chosen.label}: {_shown(chosen, found.prefer)}."]
    for each in found.requirements:
        cell = chosen.cells[each.metric]
        near = ", though the limit is within its interval" if each.is_near(cell) else ""
        lines.append(f"It meets {each}: {_shown(chosen, definition_of(each.metric))}{near}.")
    end = "highest" if found.prefer.better == "higher" else "lowest"
    others = [row.label for row in found.tied if row is not chosen]
    if others:
        lines.append(
            f"Of {len(found.qualified)} that qualify, the {end} {name} cannot be told apart within the "
            f"intervals from that of {', '.join(others)}; of these it is the quickest."
        )
    else:
        lines.append(f"Of {len(found.qualified)} that qualify it has the {end} {name}.")
    for each, labels in found.ruled_out.items():
        if labels:
            lines.append(f"{each} rules out {len(labels)}: {', '.join(labels)}.")
    return lines


def with_unit(definition: MetricDefinition, value: float, half_width: float | None = None) -> str:
    """Format a value with its unit and its error, if it has one.

    >>> with_unit(definition_of("encode_latency_seconds"), 0.00025)
    '250 µs'
    """
    return numbers.quantity(value, definition.unit, half_width, definition.decimals)


def _shown(row: TableRow, definition: MetricDefinition) -> str:
    cell = row.cells[definition.name]
    return numbers.MISSING if cell.value is None else with_unit(definition, cell.value, cell.half_width)


def as_rows(rows: Sequence[TableRow], found: Recommendation) -> list[dict[str, object]]:
    """Return every model with these metrics, whether it qualifies, is on the Pareto front, and is chosen.

    The front is that of the preferred metric against latency, over all models that have both.
    """
    names = list(dict.fromkeys([found.prefer.name, LATENCY, *(each.metric for each in found.requirements)]))
    sign = 1 if found.prefer.better == "higher" else -1
    both = [
        row for row in rows if all(_value(row, name) is not None for name in (LATENCY, found.prefer.name))
    ]
    best = front(
        [_known(row, LATENCY) for row in both], [sign * _known(row, found.prefer.name) for row in both]
    )
    on_front = {both[position].label for position in best}
    qualified = {row.label for row in found.qualified}
    return [
        {
            "model": row.label,
            **{name: _value(row, name) for name in names},
            "qualifies": row.label in qualified,
            "on_front": row.label in on_front,
            "chosen": row.label == found.chosen.label,
        }
        for row in rows
    ]
