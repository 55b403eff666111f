"""Which model of one run is which of another, and in what the two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from latentbench.bench.compare.verdicts import EVERY_METRIC, Finding
from latentbench.bench.store.per_example import unpacked
from latentbench.bench.store.record import Record
from latentbench.bench.store.run import Run


@dataclass(frozen=True, eq=False)
class Pair:
    """One model in both runs: its records by seed."""

    label: str
    a: dict[int, Record]
    b: dict[int, Record]
    runs: tuple[Run, Run]
    _arrays: dict[tuple[int, int], dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics of either, in the order of the tables."""
        return list(dict.fromkeys(m.name for r in (*self.a.values(), *self.b.values()) for m in r.metrics))

    @property
    def environments(self) -> tuple[set[str], set[str]] | None:
        """The environments of both where they are not one and the same."""
        a, b = ({record.environment for record in side.values()} for side in (self.a, self.b))
        return (a, b) if len(a | b) > 1 else None

    def same_subject(self, seeds: Iterable[int]) -> bool:
        """Whether no training stands between the two: equal weights, or a model that takes no seed."""
        if not next(iter(self.b.values())).trained:
            return True
        return all(
            self.a[seed].weights is not None and self.a[seed].weights == self.b[seed].weights
            for seed in seeds
        )

    def examples(self, name: str, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        """A metric's value for every test image in both runs, `[n]` each; None where not kept in both."""
        both = []
        for side, records in enumerate((self.a, self.b)):
            if (side, seed) not in self._arrays:
                self._arrays[side, seed] = self.runs[side].arrays(records[seed])
            metric = records[seed].metric(name)
            values = None if metric is None else unpacked(self._arrays[side, seed], metric)
            if values is None:
                return None
            both.append(values)
        return both[0], both[1]


def matched(a: Run, b: Run) -> tuple[list[Pair], list[Finding], list[str]]:
    """Models of the same settings; then those left over that go by one name and differ in settings."""
    in_a, in_b = _models(a), _models(b)
    pairs = [
        Pair(_label(in_a[key]), in_a.pop(key), in_b.pop(key), (a, b)) for key in list(in_a) if key in in_b
    ]
    findings: list[Finding] = []
    notes: list[str] = []
    for key, records in list(in_a.items()):
        label = _label(records)
        named = [other for other, theirs in in_b.items() if _label(theirs) == label]
        if len(named) == 1 and sum(_label(theirs) == label for theirs in in_a.values()) == 1:
            ours, theirs = in_a.pop(key), in_b.pop(named[0])
            difference = _settings_difference(ours, theirs)
            if _data(ours) != _data(theirs):
                findings.append(Finding(label, EVERY_METRIC, "incomparable", difference))
            else:
                notes.append(f"{label}: compared by its name; {difference}")
                pairs.append(Pair(label, ours, theirs, (a, b)))
    for records in in_a.values():
        findings.append(Finding(_label(records), EVERY_METRIC, "missing", "the model is not in B"))
    for records in in_b.values():
        findings.append(Finding(_label(records), EVERY_METRIC, "new", "the model is not in A"))
    return _told_apart(pairs), findings, notes


def _models(run: Run) -> dict[tuple[object, ...], dict[int, Record]]:
    """The records of each model by seed; a model is its spec, its recipe and its data."""
    models: dict[tuple[object, ...], dict[int, Record]] = {}
    for record in run.last_records:
        spec = record.model.model_dump_json(exclude_none=True, exclude={"code_sha256"})
        key = (spec, record.recipe, record.data.fingerprint)
        models.setdefault(key, {})[record.seed] = record
    return models


def _told_apart(pairs: list[Pair]) -> list[Pair]:
    """A number behind a label that several models have."""
    seen: Counter[str] = Counter()
    for index, pair in enumerate(pairs):
        seen[pair.label] += 1
        if seen[pair.label] > 1:
            pairs[index] = replace(pair, label=f"{pair.label} ({seen[pair.label]})")
    return pairs


def _label(records: dict[int, Record]) -> str:
    return next(iter(records.values())).label


def _data(records: dict[int, Record]) -> str:
    return next(iter(records.values())).data.fingerprint


def _settings_difference(a: dict[int, Record], b: dict[int, Record]) -> str:
    """What differs between two models of one name: `hidden 512 → 256`."""
    first, second = next(iter(a.values())), next(iter(b.values()))
    settings = [
        {**r.model.model_dump(), **r.recipe.model_dump(), "data": f"{r.data.name} {r.data.fingerprint[:8]}"}
        for r in (first, second)
    ]
    return ", ".join(_differences(*settings))


def environment_difference(a: Run, b: Run, pairs: Sequence[Pair]) -> str:
    """What differs between the first environments that are not the same: `torch 2.14 → 2.15`."""
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
