"""Compares two runs: a verdict for every metric of every model.

The possible conclusions depend on what was repeated.

1. The same seeds in the same environment give the same numbers, so a value within the metric's tolerance
   is `ok`, and a larger difference is a change in the code or its inputs. With one seed it is only called
   `changed`: a training from another seed might not show it.
2. The same weights, an imported model, or one that takes no seed: the test images are the sample, and the
   two are compared image by image.
3. Trained from several seeds: the seeds are the sample. Paired where both runs have the same seeds (one seed
   means one order of the data), else Welch's t.

Then, for a metric with a preferred direction: `regressed` if its p-value, corrected for the other tests, is
at most alpha and the regression is at least the smallest effect of interest; `ok` if its upper bound is
below that; else `inconclusive`. A model or metric only in A is `missing`, only in B `new`; one that cannot
be compared is `incomparable`.

The file is long because it contains every rule that leads to a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.definitions import known
from latentbench.bench.compare.matching import Pair, environment_difference, matched, not_compared
from latentbench.bench.compare.multiplicity import CORRECTIONS, Correction
from latentbench.bench.compare.policy import Policy, Verdict, timings
from latentbench.bench.compare.significance import (
    Evidence,
    Values,
    mcnemar,
    paired_clusters,
    paired_examples,
    paired_t,
    step_of,
    welch_t,
)
from latentbench.bench.compare.verdicts import (
    Comparison,
    Decided,
    FailedCase,
    Outcome,
    Undecided,
    Why,
    direction_of_regression,
)
from latentbench.bench.store.records.data_sets import row_names
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run

ABSOLUTE_FLOOR = 1e-9

BySeed = dict[int, Metric]
"""A metric by seed, for the seeds with a value."""


def compare(
    a: Run,
    b: Run,
    policy: Policy,
    *,
    metrics: frozenset[str] | None = None,
    correction: Correction = "Benjamini–Hochberg",
    across_environments: bool = False,
) -> Comparison:
    """Compare every metric of every model of B with the same one of A, or only the given `metrics`.

    Models measured in different environments are incomparable unless `across_environments`.
    """
    pairs, findings, notes = matched(a, b)
    same_run = a.path.resolve() == b.path.resolve()
    if same_run:
        notes.append("A and B are one run: nothing was measured in between")
    if a.suite != b.suite:
        notes.append(f"A is a run of suite {a.suite}, B of suite {b.suite}")
    notes += [f"{name} is unfinished" for name, run in (("A", a), ("B", b)) if not run.finished]
    if metrics is not None and timings() & {name for pair in pairs for name in pair.metrics} - metrics:
        notes.append("speed was measured and is not tested; test it with: latentbench check --throughput")
    if across_environments and any(pair.environments for pair in pairs):
        notes.append(f"compared across environments: {environment_difference(a, b, pairs)}")
    for pair in pairs:
        if pair.environments and not across_environments:
            difference = environment_difference(a, b, [pair])
            findings.append(not_compared(pair.label, "incomparable", Why.OTHER_ENVIRONMENT, difference))
        else:
            names = [name for name in pair.metrics if metrics is None or name in metrics]
            findings += [found for name in names if (found := _finding(pair, name, policy))]
    return Comparison(
        a.stem,
        b.stem,
        tuple(_decided(findings, correction)),
        policy,
        correction,
        tuple(notes),
        tuple(_failed(a, b)),
        same_run=same_run,
        unfinished=not b.finished,
    )


def _failed(a: Run, b: Run) -> Iterator[FailedCase]:
    """Find the cases of B without a result, leaving out those that are not possible in A either."""
    before = {record.case: record.status for record in a.last_records}
    name = row_names(b.last_records)
    for record in b.last_records:
        unchanged = record.status in NO_RESULT and before.get(record.case) == record.status
        if record.status != "ok" and not unchanged:
            yield FailedCase(f"{name(record)}, seed {record.seed}", record.status, record.reason)


NO_RESULT = ("skipped", "out_of_memory")
"""Statuses of a model that cannot do something here, which is not a failure."""


def _finding(pair: Pair, name: str, policy: Policy) -> Outcome | None:
    """Return a metric's outcome, its verdict still open if there is evidence; None if null in both."""
    a, b = _measured(pair.a, name), _measured(pair.b, name)
    found = partial(Undecided, model=pair.label, metric=name, a=_mean(a), b=_mean(b))
    if not a:
        return found(verdict="new", why=Why.NULL_IN_A) if b else None
    lost = [seed for seed in a if seed in pair.b and seed not in b]
    if not b or lost:
        return found(verdict="missing", why=Why.NULL_IN_B, detail=_why_null(pair, name, lost))
    if collapsed := _newly_collapsed(a, b):
        return found(verdict="missing", why=Why.COLLAPSED, detail=collapsed)
    if reason := _incomparable(pair, a, b, name):
        return found(verdict="incomparable", why=reason[0], detail=reason[1])
    shared = [seed for seed in a if seed in b]
    # If one run has seeds that the other lacks, it is enough that the shared ones are equal.
    if paired := len(shared) == min(len(a), len(b)):
        same_a, same_b = ({seed: side[seed] for seed in shared} for side in (a, b))
        if why := _same(_values(same_a), _values(same_b), _tolerance(name)):
            decided = _compared(pair, name, same_a, same_b, policy, why)
            testable = name not in timings() and decided.better != "neither"
            return replace(decided, in_family=why is Why.WITHIN_TOLERANCE and testable)
        if paired := len(shared) > 1 or len(a) == len(b):
            a, b = same_a, same_b
    decided = _compared(pair, name, a, b, policy, Why.TESTED)
    return _beyond_tolerance(decided, pair, a, b, paired=paired)


def _compared(pair: Pair, name: str, a: BySeed, b: BySeed, policy: Policy, why: Why) -> Decided:
    """Return the outcome of two metrics as `ok`, until there is evidence."""
    metric, mean = next(iter(b.values())), float(_values(a).mean())
    return Decided(
        model=pair.label,
        metric=name,
        verdict="ok",
        why=why,
        a=mean,
        b=float(_values(b).mean()),
        better=metric.better,
        smallest_effect=policy.smallest_effect.of(name, metric.unit, mean),
        seeds=tuple(b),
        alpha=policy.alpha,
    )


def _same(a: Values, b: Values, tolerance: float) -> Why | None:
    """Return how similar paired values are; None if they differ by more than the relative tolerance."""
    if (a == b).all():
        return Why.SAME
    within = (np.abs(b - a) <= tolerance * np.abs(a) + ABSOLUTE_FLOOR).all()
    return Why.WITHIN_TOLERANCE if within else None


def _beyond_tolerance(found: Decided, pair: Pair, a: BySeed, b: BySeed, *, paired: bool) -> Decided:
    """Return the outcome of a metric whose values differ: tested if something was repeated."""
    if found.better == "neither":
        return replace(found, verdict="changed", why=Why.NO_DIRECTION)
    if found.metric in timings():
        return replace(found, verdict="changed", why=Why.TIMED_ONCE)
    if paired and pair.same_subject(a) and (evidence := _over_examples(found, pair, list(a))):
        return _tested(found, evidence)
    oriented_a, oriented_b = (_values(side) * direction_of_regression(found.better) for side in (a, b))
    counts = [metric.n for side in (a, b) for metric in side.values()]
    readings = [value for side in (a, b) for metric in side.values() for value in _readings(metric)]
    step = step_of(readings, min((n for n in counts if n), default=None))
    certain = not pair.trained
    if paired and len(a) > 1:
        return _tested(
            found, paired_t(oriented_b - oriented_a, alpha=found.alpha, step=step, certain=certain)
        )
    if not paired and len(a) + len(b) > 2:
        return _tested(found, welch_t(oriented_a, oriented_b, alpha=found.alpha, step=step, certain=certain))
    if not paired or pair.environments:
        return replace(found, verdict="inconclusive", why=Why.ONE_SEED_EACH)
    return replace(found, verdict="changed", why=_of_one_seed(found, pair, next(iter(a))))


def _tested(found: Decided, evidence: Evidence) -> Decided:
    return replace(found, evidence=evidence, in_family=True)


def _over_examples(found: Decided, pair: Pair, seeds: list[int]) -> Evidence | None:
    """Test with the test images as the sample; their differences are averaged over the seeds."""
    kept = [pair.examples(found.metric, seed) for seed in seeds]
    both = [values for values in kept if values is not None]
    if not both or len(both) < len(kept):
        return None
    clusters = both[0][0].clusters
    if len(both) == 1 and both[0][0].values.dtype == bool and clusters is None:
        first, second = (side.values for side in both[0])
        hits = (first, second) if found.better == "higher" else (second, first)
        return mcnemar(*hits, alpha=found.alpha)
    changes = np.mean([b.values.astype(float) - a.values.astype(float) for a, b in both], axis=0)
    regressions = changes * direction_of_regression(found.better)
    if len(np.unique(clusters if clusters is not None else np.arange(len(regressions)))) < 2:
        return None
    evidence = (
        paired_examples(regressions, alpha=found.alpha)
        if clusters is None
        else paired_clusters(regressions, clusters, alpha=found.alpha)
    )
    # The stored values of each image are rounded; the records' own values are not.
    assert found.regression is not None
    off = found.regression - evidence.regression
    return replace(evidence, regression=found.regression, low=evidence.low + off, high=evidence.high + off)


def _of_one_seed(found: Decided, pair: Pair, seed: int) -> Why:
    """Return the outcome of two trainings from one seed."""
    evidence = _over_examples(found, pair, [seed])
    if evidence is None:
        return Why.ONE_SEED
    differs = evidence.p <= found.alpha / 2 or evidence.p >= 1 - found.alpha / 2
    return Why.ONE_SEED_DIFFERS if differs else Why.ONE_SEED_ALIKE


def _measured(records: dict[int, Record], name: str) -> BySeed:
    metrics = {seed: records[seed].metric(name) for seed in sorted(records)}
    return {seed: metric for seed, metric in metrics.items() if metric and metric.value is not None}


def _newly_collapsed(a: BySeed, b: BySeed) -> str | None:
    """Return the reason if most seeds of B have collapsed, and none of A; None if not.

    A single one may be chance at a model that is near to it: its metric is shown as incomparable.
    """
    counted = {seed: metric for seed, metric in b.items() if seed in a} or b
    reasons = [metric.reason for metric in counted.values() if metric.doubt == "collapsed"]
    if any(metric.doubt for metric in a.values()) or 2 * len(reasons) <= len(counted):
        return None
    return f"at {len(reasons)} of {len(counted)} seeds of B: {reasons[0]}"


def _incomparable(pair: Pair, a: BySeed, b: BySeed, name: str) -> tuple[Why, str] | None:
    """Return the reason why two measurements cannot be compared; None if they can."""
    for metric in (*a.values(), *b.values()):
        if metric.doubt:
            return Why[metric.doubt.upper()], metric.reason or ""
    versions = [{metric.version for metric in side.values()} for side in (a, b)]
    if len(versions[0] | versions[1]) > 1:
        return Why.OTHER_VERSION, f"{max(versions[0])} → {max(versions[1])}"
    judged = any(metric.by_judge for side in (a, b) for metric in side.values())
    if judged and (judges := pair.judges):
        return Why.OTHER_JUDGES, " → ".join(judges)
    if features := pair.features(name):
        return Why.OTHER_FEATURES, " → ".join(features)
    counts = [{metric.n for metric in side.values()} for side in (a, b)]
    if name not in timings() and counts[0] != counts[1]:
        return Why.OTHER_COUNT, " → ".join(" or ".join(map(str, side)) for side in counts)
    return None


def _why_null(pair: Pair, name: str, lost: list[int]) -> str:
    records = [pair.b[seed] for seed in lost] or list(pair.b.values())
    metric = records[0].metric(name)
    reason = (metric.reason if metric else None) or "not measured"
    return reason if len(lost) in (0, len(pair.b)) else f"at {len(lost)} of {len(pair.b)} seeds: {reason}"


def _tolerance(name: str) -> float:
    definition = known(name)
    return definition.tolerance if definition else 0.0


def _values(metrics: BySeed) -> Values:
    return np.array([metric.value for metric in metrics.values()], dtype=np.float64)


def _readings(metric: Metric) -> tuple[float, ...]:
    """The values that were read: of a mean over judges those of each, which are shares of n images."""
    assert metric.value is not None
    return metric.by_judge or (metric.value,)


def _mean(metrics: BySeed) -> float | None:
    return float(_values(metrics).mean()) if metrics else None


def _decided(findings: Sequence[Outcome], correction: Correction) -> Iterator[Outcome]:
    """Yield the findings, with a verdict if there is evidence.

    A difference within the tolerance is one of the tests too, with p = 1: leaving it out for being small
    would make the others look rarer than they are. Identical values were not affected by the change.
    """
    family = [found for found in findings if isinstance(found, Decided) and found.in_family]
    p = [found.evidence.p if found.evidence else 1.0 for found in family]
    adjusted = iter(CORRECTIONS[correction](p))
    for found in findings:
        if not isinstance(found, Decided) or not found.in_family:
            yield found
            continue
        corrected = replace(found, p_adjusted=float(next(adjusted)), tests=len(family))
        yield replace(corrected, verdict=_verdict(corrected)) if found.evidence else found


def _verdict(found: Decided) -> Verdict:
    assert found.evidence is not None
    assert found.p_adjusted is not None
    if found.p_adjusted <= found.alpha and found.evidence.regression >= found.smallest_effect:
        return "regressed"
    return "ok" if found.evidence.high < found.smallest_effect else "inconclusive"
