"""Pairs the models of two runs, and names their differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from latentbench.analysis.features.request import variant
from latentbench.analysis.protocols.protocol import network_behind
from latentbench.bench.compare.policy import Verdict
from latentbench.bench.compare.verdicts import EVERY_METRIC, Outcome, Undecided, Why
from latentbench.bench.store.records.data_sets import row_names
from latentbench.bench.store.records.per_example import Examples, unpacked
from latentbench.bench.store.records.record import FeatureReference, Record, numbered
from latentbench.bench.store.run import Run


@dataclass(frozen=True, eq=False)
class Pair:
    """One model in both runs: its records by seed."""

    label: str
    a: dict[int, Record]
    b: dict[int, Record]
    runs: tuple[Run, Run]
    _arrays: dict[tuple[int, int], Mapping[str, np.ndarray]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics of both, in the order of the tables."""
        return list(dict.fromkeys(m.name for r in (*self.a.values(), *self.b.values()) for m in r.metrics))

    @property
    def environments(self) -> tuple[set[str], set[str]] | None:
        """The environments of both; None if all records share one."""
        a, b = ({record.environment for record in side.values()} for side in (self.a, self.b))
        return (a, b) if len(a | b) > 1 else None

    @property
    def trained(self) -> bool:
        """True if the weights depend on a seed in either run."""
        return any(record.trained for side in (self.a, self.b) for record in side.values())

    def same_subject(self, seeds: Iterable[int]) -> bool:
        """True if both have the same weights, or no training that depends on a seed."""
        if not self.trained:
            return True
        return all(
            self.a[seed].weights is not None and self.a[seed].weights == self.b[seed].weights
            for seed in seeds
        )

    @property
    def judges(self) -> tuple[str, str] | None:
        """The judges of both by their hashes; None where all records share them."""
        a, b = (
            dict.fromkeys(judge.hash[:8] for record in side.values() for judge in record.judges)
            for side in (self.a, self.b)
        )
        every = {tuple(judge.hash for judge in r.judges) for side in (self.a, self.b) for r in side.values()}
        return (" ".join(a) or "none", " ".join(b) or "none") if len(every) > 1 else None

    def features(self, metric: str) -> tuple[str, str] | None:
        """The hashes of the network or protocol that a metric names; None if both runs share it, or none."""
        every = [
            {each.weights for record in side.values() for each in record.features if _names(metric, each)}
            for side in (self.a, self.b)
        ]
        if len(every[0] | every[1]) < 2:
            return None
        a, b = (" ".join(sorted((weights or "none")[:8] for weights in side)) for side in every)
        return a, b

    def examples(self, name: str, seed: int) -> tuple[Examples, Examples] | None:
        """Return a metric's value for every test image in both runs; None where these were not kept."""
        both = []
        for side, records in enumerate((self.a, self.b)):
            if (side, seed) not in self._arrays:
                self._arrays[side, seed] = self.runs[side].arrays(records[seed])
            metric = records[seed].metric(name)
            values = None if metric is None else unpacked(self._arrays[side, seed], metric)
            if values is None:
                return None
            both.append(values)
        # Clusters of one size each are the same clusters: both runs are of the same images.
        return (both[0], both[1]) if _same_clusters(*both) else None


def _names(metric: str, feature: FeatureReference) -> bool:
    return metric.endswith(f" ({variant(feature.name)})") or feature.name == network_behind(metric)


def _same_clusters(a: Examples, b: Examples) -> bool:
    if a.clusters is None or b.clusters is None:
        return a.clusters is b.clusters
    return np.array_equal(a.clusters, b.clusters)


def matched(a: Run, b: Run) -> tuple[list[Pair], list[Outcome], list[str]]:
    """Pair the models of two runs by identity, which covers the data, and the remaining ones by label.

    A pair by label needs the same data, and a label that is unambiguous.

    Returns the pairs, a finding for each model without a partner, and notes on pairs by label.
    """
    in_a, in_b = _models(a), _models(b)
    name = row_names([*a.last_records, *b.last_records])
    pairs = [
        Pair(name(_first(in_a[key])), in_a.pop(key), in_b.pop(key), (a, b))
        for key in list(in_a)
        if key in in_b
    ]
    findings: list[Outcome] = []
    notes: list[str] = []
    for key, partner in _same_label(in_a, in_b, same_data=True):
        ours, theirs = in_a.pop(key), in_b.pop(partner)
        label = name(_first(ours))
        others = {_first(side).measured_by for side in (ours, theirs)} - {None}
        how = (
            f"measured by {', '.join(sorted(map(str, others)))}"
            if others
            else _settings_difference(ours, theirs)
        )
        notes.append(f"{label}: compared by its name; {how}")
        pairs.append(Pair(label, ours, theirs, (a, b)))
    for key, partner in _same_label(in_a, in_b, same_data=False):
        ours, theirs = in_a.pop(key), in_b.pop(partner)
        difference = _settings_difference(ours, theirs)
        findings.append(not_compared(_first(ours).label, "incomparable", Why.OTHER_DATA, difference))
    findings += [not_compared(name(_first(each)), "missing", Why.ONLY_IN_A) for each in in_a.values()]
    findings += [not_compared(name(_first(each)), "new", Why.ONLY_IN_B) for each in in_b.values()]
    labels = numbered(pair.label for pair in pairs)
    return (
        [replace(pair, label=label) for pair, label in zip(pairs, labels, strict=True)],
        findings,
        notes,
    )


def not_compared(model: str, verdict: Verdict, why: Why, detail: str = "") -> Undecided:
    """Return the outcome of a model that is not compared."""
    return Undecided(model=model, metric=EVERY_METRIC, verdict=verdict, why=why, detail=detail)


_Models = dict[str, dict[int, Record]]


def _models(run: Run) -> _Models:
    """Return the records of each model on each data set by seed."""
    models: _Models = {}
    for record in run.last_records:
        models.setdefault(record.identity, {})[record.seed] = record
    return models


def _first(records: dict[int, Record]) -> Record:
    return next(iter(records.values()))


def _same_label(in_a: _Models, in_b: _Models, *, same_data: bool) -> list[tuple[str, str]]:
    """Return the models that one label names in both runs, on the same data or on any."""

    def known_by(models: _Models) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for key, records in models.items():
            first = _first(records)
            found.setdefault((first.label, first.data.fingerprint * same_data), []).append(key)
        return found

    by_a, by_b = known_by(in_a), known_by(in_b)
    return [
        (by_a[each][0], by_b[each][0]) for each in by_a if len(by_a[each]) == len(by_b.get(each, ())) == 1
    ]


def _settings_difference(a: dict[int, Record], b: dict[int, Record]) -> str:
    """Return the differences between two models of one name, such as `hidden 512 → 256`."""
    first, second = _first(a), _first(b)
    settings = [
        {**r.model.model_dump(), **r.recipe.model_dump(), "data": f"{r.data.name} {r.data.fingerprint[:8]}"}
        for r in (first, second)
    ]
    return ", ".join(_differences(*settings))


def environment_difference(a: Run, b: Run, pairs: Sequence[Pair]) -> str:
    """Return the differences between the first two environments that differ, such as `torch 2.14 → 2.15`."""
    pair = next(pair for pair in pairs if pair.environments)
    assert pair.environments is not None
    first, second = (min(names) for names in pair.environments)
    if first == second:
        return "several in one run"
    known = [{**e, **e.pop("packages", {})} for e in (a.environment(first), b.environment(second))]
    return ", ".join(_differences(*known)) or f"{first} → {second}"


def _differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield f"{name.replace('_', ' ')} {a.get(name)} → {b.get(name)}"
