"""Comparing two runs: a verdict for every metric of every model, and nothing passed over in silence.

What can be said depends on what was repeated.

1. The same seeds in the same environment give the same numbers, so a value within the metric's tolerance
   is `ok`, and one beyond it is a change that somebody made. With one seed it is only called `changed`:
   training from another might have shown nothing of it.
2. The same weights, a model of one's own, or one that takes no seed: the test images are the sample, and the
   two are compared image by image.
3. Trained from several seeds: the seeds are the sample. Paired where both runs have them (one seed means one
   order of the data), else Welch's t.

Then, of a metric with a better end: `regressed` if its p-value, corrected for the other tests, is at most
alpha and the harm is at least the smallest effect of interest; `ok` if the harm's upper bound is below that;
else `inconclusive`. What is only in A is `missing`, what is only in B `new`; what cannot be held against each
other is `incomparable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.metric import Metric
from latentbench.bench.compare.matching import Pair, environment_difference, matched
from latentbench.bench.compare.multiplicity import CORRECTIONS, Correction
from latentbench.bench.compare.policy import TIMINGS, Policy, Verdict
from latentbench.bench.compare.significance import (
    Evidence,
    Values,
    mcnemar,
    paired_examples,
    paired_t,
    welch_t,
)
from latentbench.bench.compare.verdicts import EVERY_METRIC, Comparison, Finding, direction_of_harm
from latentbench.bench.store.record import Record
from latentbench.bench.store.run import Run

ABSOLUTE_FLOOR = 1e-9
WITHIN = "within the tolerance"

Measured = dict[int, Metric]
"""A metric by seed, where it has a value."""


def compare(
    a: Run,
    b: Run,
    policy: Policy,
    *,
    metrics: frozenset[str] | None = None,
    correction: Correction = "Benjamini–Hochberg",
    across_environments: bool = False,
) -> Comparison:
    """Every metric of every model of A beside the same one of B; or those named in `metrics` alone.

    Models measured in different environments are incomparable unless `across_environments`.
    """
    pairs, findings, notes = matched(a, b)
    if a.path == b.path:
        notes.append("A and B are one run: nothing was measured in between")
    if across_environments and any(pair.environments for pair in pairs):
        notes.append(f"compared across environments: {environment_difference(a, b, pairs)}")
    for pair in pairs:
        if pair.environments and not across_environments:
            reason = f"different environments: {environment_difference(a, b, [pair])}"
            findings.append(Finding(pair.label, EVERY_METRIC, "incomparable", reason))
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
        tuple(_failed(b)),
    )


def _failed(run: Run) -> Iterator[str]:
    for record in run.last_records:
        if record.status != "ok":
            yield f"{record.name}: {record.status} ({record.reason})"


def _finding(pair: Pair, name: str, policy: Policy) -> Finding | None:
    """What there is to say of a metric, its verdict open where there is evidence; None if null in both."""
    a, b = _measured(pair.a, name), _measured(pair.b, name)
    found = Finding(pair.label, name, "ok", seeds=tuple(b), alpha=policy.alpha)
    if not a:
        return replace(found, verdict="new", b=_mean(b)) if b else None
    lost = [seed for seed in a if seed in pair.b and seed not in b]
    if not b or lost:
        return replace(found, verdict="missing", a=_mean(a), b=_mean(b), reason=_why_null(pair, name, lost))
    if problem := _incomparable(a, b, name):
        return replace(found, verdict="incomparable", a=_mean(a), b=_mean(b), reason=problem)
    testable = name not in TIMINGS and next(iter(b.values())).better != "neither"
    shared = [seed for seed in a if seed in b]
    # Where one run has seeds that the other has not, it is still enough for the rest to be the same.
    if paired := len(shared) == min(len(a), len(b)):
        same_a, same_b = ({seed: side[seed] for seed in shared} for side in (a, b))
        if how := _same(_values(same_a), _values(same_b), _tolerance(name)):
            return replace(
                _valued(found, same_a, same_b, policy), reason=how, in_family=how == WITHIN and testable
            )
        if paired := len(shared) > 1 or len(a) == len(b):
            a, b = same_a, same_b
    return _beyond_tolerance(_valued(found, a, b, policy), pair, a, b, paired=paired)


def _valued(found: Finding, a: Measured, b: Measured, policy: Policy) -> Finding:
    """The finding with the means that it is about."""
    metric, mean = next(iter(b.values())), float(_values(a).mean())
    return replace(
        found,
        seeds=tuple(b),
        a=mean,
        b=_mean(b),
        better=metric.better,
        smallest_effect=policy.smallest_effect.of(found.metric, metric.unit, mean),
    )


def _same(a: Values, b: Values, tolerance: float) -> str:
    """How alike paired values are; empty where they differ by more than the relative tolerance."""
    if (a == b).all():
        return "the same"
    return WITHIN if (np.abs(b - a) <= tolerance * np.abs(a) + ABSOLUTE_FLOOR).all() else ""


def _beyond_tolerance(found: Finding, pair: Pair, a: Measured, b: Measured, *, paired: bool) -> Finding:
    """A metric whose values differ: tested where something was repeated."""
    if found.better == "neither":
        return replace(found, verdict="changed", reason="no end of it is better")
    if found.metric in TIMINGS:
        return replace(found, verdict="changed", reason="of one process each; `check --throughput` decides")
    sign = direction_of_harm(found.better)
    if paired and pair.same_subject(a) and (evidence := _over_examples(found, pair, list(a))):
        return _tested(found, evidence)
    if paired and len(a) > 1:
        return _tested(found, paired_t((_values(b) - _values(a)) * sign, alpha=found.alpha))
    if not paired and len(a) + len(b) > 2:
        return _tested(found, welch_t(_values(a) * sign, _values(b) * sign, alpha=found.alpha))
    if not paired or pair.environments:
        return replace(found, verdict="inconclusive", reason="one seed each: chance is not excluded")
    return replace(found, verdict="changed", reason=_of_one_seed(found, pair, next(iter(a))))


def _tested(found: Finding, evidence: Evidence) -> Finding:
    return replace(found, evidence=evidence, in_family=True)


def _over_examples(found: Finding, pair: Pair, seeds: list[int]) -> Evidence | None:
    """The test images as the sample; their differences are averaged over the seeds."""
    kept = [pair.examples(found.metric, seed) for seed in seeds]
    both = [values for values in kept if values is not None]
    if not both or len(both) < len(kept):
        return None
    if len(both) == 1 and both[0][0].dtype == bool:
        hits = both[0] if found.better == "higher" else (both[0][1], both[0][0])
        return mcnemar(*hits, alpha=found.alpha)
    changes = np.mean([second.astype(float) - first.astype(float) for first, second in both], axis=0)
    harms = changes * direction_of_harm(found.better)
    if len(harms) < 2:
        return None
    evidence = paired_examples(harms, alpha=found.alpha)
    # What was kept of each image is rounded; the records' own values are not.
    assert found.harm is not None
    off = found.harm - evidence.harm
    return replace(evidence, harm=found.harm, low=evidence.low + off, high=evidence.high + off)


def _of_one_seed(found: Finding, pair: Pair, seed: int) -> str:
    """What can be said of two trainings from one seed."""
    evidence = _over_examples(found, pair, [seed])
    if evidence is None:
        return "one seed: training from others may not show it"
    certain = "surely" if evidence.p <= found.alpha / 2 or evidence.p >= 1 - found.alpha / 2 else "not surely"
    return f"one seed: these two models {certain} differ on the test images, others may not"


def _measured(records: dict[int, Record], name: str) -> Measured:
    metrics = {seed: records[seed].metric(name) for seed in sorted(records)}
    return {seed: metric for seed, metric in metrics.items() if metric and metric.value is not None}


def _incomparable(a: Measured, b: Measured, name: str) -> str:
    """Why two measurements are of different things; empty where they are not."""
    versions = [{metric.version for metric in side.values()} for side in (a, b)]
    if len(versions[0] | versions[1]) > 1:
        return f"version {max(versions[0])} against {max(versions[1])} of the metric"
    counts = [{metric.n for metric in side.values()} for side in (a, b)]
    if name not in TIMINGS and counts[0] != counts[1]:
        return "measured on {} against {}".format(*(" or ".join(map(str, side)) for side in counts))
    return ""


def _why_null(pair: Pair, name: str, lost: list[int]) -> str:
    records = [pair.b[seed] for seed in lost] or list(pair.b.values())
    metric = records[0].metric(name)
    reason = (metric.reason if metric else None) or "not measured"
    return reason if len(lost) in (0, len(pair.b)) else f"at {len(lost)} of {len(pair.b)} seeds: {reason}"


def _tolerance(name: str) -> float:
    return METRICS[name].tolerance if name in METRICS else 0.0


def _values(metrics: Measured) -> Values:
    return np.array([metric.value for metric in metrics.values()], dtype=np.float64)


def _mean(metrics: Measured) -> float | None:
    return float(_values(metrics).mean()) if metrics else None


def _decided(findings: Sequence[Finding], correction: Correction) -> Iterator[Finding]:
    """The findings, with a verdict where there is evidence.

    What differs within the tolerance is one of the tests too, with p = 1: to leave it out for being small
    would make the others look rarer than they are. What is the very same was not touched by anything.
    """
    family = [finding.evidence.p if finding.evidence else 1.0 for finding in findings if finding.in_family]
    adjusted = iter(CORRECTIONS[correction](family))
    for finding in findings:
        p = float(next(adjusted)) if finding.in_family else None
        if finding.evidence is None or p is None:
            yield finding
        else:
            verdict, reason = _verdict(finding, p), finding.evidence.method
            yield replace(finding, p_adjusted=p, tests=len(family), verdict=verdict, reason=reason)


def _verdict(finding: Finding, p_adjusted: float) -> Verdict:
    assert finding.evidence is not None
    smallest = finding.smallest_effect or 0.0
    if p_adjusted <= finding.alpha and finding.evidence.harm >= smallest:
        return "regressed"
    return "ok" if finding.evidence.high < smallest else "inconclusive"
