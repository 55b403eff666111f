"""The result of a comparison: a verdict for each metric of each model, with the evidence for it.

The rule that chooses the verdict is in `compare`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import get_args

from latentbench.analysis.core.metric import Better
from latentbench.bench.compare.multiplicity import Correction
from latentbench.bench.compare.policy import Policy, Verdict, timings
from latentbench.bench.compare.power import detectable_effect, pairs_needed
from latentbench.bench.compare.significance import Evidence

EVERY_METRIC = "every metric"
"""Replaces a metric's name if a whole model is concerned."""
COMPARED: tuple[Verdict, ...] = ("regressed", "changed", "inconclusive", "ok")


class Why(StrEnum):
    """The reason of a verdict. Code compares members; their values are for readers."""

    SAME = "the same"
    WITHIN_TOLERANCE = "within the tolerance"
    TESTED = "tested"
    NO_DIRECTION = "no preferred direction"
    TIMED_ONCE = "timed in one process each; `check --throughput` decides"
    ONE_SEED_EACH = "one seed each, so chance is not excluded"
    ONE_SEED = "one seed; others may not show it"
    ONE_SEED_DIFFERS = "one seed; these two models differ on the test images (p < α), others may not"
    ONE_SEED_ALIKE = "one seed; these two models do not differ significantly on the test images"
    ONLY_IN_A = "the model is not in B"
    ONLY_IN_B = "the model is not in A"
    NULL_IN_A = "no value in A"
    NULL_IN_B = "no value in B"
    OTHER_VERSION = "another version of the metric"
    OTHER_COUNT = "measured on another number of samples"
    OTHER_JUDGES = "judged by different judges"
    OTHER_FEATURES = "in a network with other weights, or by a protocol with other choices"
    OTHER_ENVIRONMENT = "different environments"
    OTHER_DATA = "different data"
    CONTENDED = "contended: other work disturbed the timing"
    COLLAPSED = "collapsed: the samples lack variety, which the metric does not see"


ONE_SEED = (Why.ONE_SEED_EACH, Why.ONE_SEED, Why.ONE_SEED_DIFFERS, Why.ONE_SEED_ALIKE)
"""Reasons that more seeds would resolve."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A metric of a model in two runs, or all of its metrics. Values are means over seeds."""

    model: str
    metric: str
    verdict: Verdict
    why: Why
    detail: str = ""
    a: float | None = None
    b: float | None = None

    @property
    def reason(self) -> str:
        """The reason in words."""
        return f"{self.why}: {self.detail}" if self.detail else str(self.why)

    @property
    def is_better(self) -> bool:
        """True if B is significantly better."""
        return False

    @property
    def further_seeds(self) -> int | None:
        """The number of further seeds that would probably decide; None if more seeds do not help."""
        return None

    def fails(self, fail_on: Sequence[Verdict]) -> bool:
        """Return True if this makes a gate fail."""
        return self.verdict in fail_on


@dataclass(frozen=True, kw_only=True)
class Undecided(Outcome):
    """A metric that could not be compared: missing, new or incomparable."""


@dataclass(frozen=True, kw_only=True)
class Decided(Outcome):
    """A metric that was compared. Values are means over the seeds that were compared."""

    a: float
    b: float
    better: Better
    smallest_effect: float
    """The smallest effect of interest, in the metric's unit."""
    seeds: tuple[int, ...] = ()
    """The number of seeds of B."""
    alpha: float = 0.05
    in_family: bool = False
    """True if it is one of the tests that p-values are corrected for."""
    evidence: Evidence | None = None
    """The regression, in the metric's unit; None if nothing was tested."""
    p_adjusted: float | None = None
    tests: int = 1
    """The number of tests for which the p-value was corrected."""

    @property
    def reason(self) -> str:
        """The reason in words; for a test, its name."""
        return self.evidence.method if self.why is Why.TESTED and self.evidence else super().reason

    @property
    def change(self) -> float | None:
        """The relative change (B − A) / |A|; None if A is 0."""
        return (self.b - self.a) / abs(self.a) if self.a else None

    @property
    def regression(self) -> float | None:
        """The amount by which B is worse, in the metric's unit; None without a preferred direction."""
        return None if self.better == "neither" else (self.b - self.a) * direction_of_regression(self.better)

    @property
    def is_worse(self) -> bool:
        """True if B is worse by the smallest effect of interest or more, significantly or not."""
        return self.regression is not None and self.regression >= self.smallest_effect

    @property
    def is_better(self) -> bool:
        """True if B is significantly better, by the smallest effect of interest or more."""
        if self.evidence is None:
            return False
        return self.evidence.high < 0 and -self.evidence.regression >= self.smallest_effect

    @property
    def over_seeds(self) -> bool:
        """True if seeds were the sample, so that more seeds would tell more."""
        return self.evidence is not None and self.evidence.sample == "seeds"

    @property
    def further_seeds(self) -> int | None:
        """The number of further seeds that give 80 % power, if effect and spread stay as they are.

        None if it is decided, or if more seeds do not help.
        """
        if self.verdict != "inconclusive" or self.evidence is None or not self.over_seeds:
            return None
        worse = self.evidence.regression >= self.smallest_effect
        gap = self.evidence.regression if worse else self.smallest_effect - self.evidence.regression
        if not self.evidence.spread or gap <= 0:
            return None
        needed = pairs_needed(gap / self.evidence.spread, alpha=self.alpha / (self.tests if worse else 1))
        return None if needed is None else max(1, needed - self.evidence.n)

    @property
    def detectable(self) -> float | None:
        """The regression that this many seeds detect with 80 % power, uncorrected, in the metric's unit."""
        if self.evidence is None or not self.over_seeds:
            return None
        return self.evidence.spread * detectable_effect(self.evidence.n, alpha=self.alpha)

    def fails(self, fail_on: Sequence[Verdict]) -> bool:
        """Return True if this makes a gate fail; a change does so only if B is worse."""
        if self.verdict == "changed" and (self.metric in timings() or not self.is_worse):
            return False
        return self.verdict in fail_on


@dataclass(frozen=True)
class FailedCase:
    """A case of B without the result that it should have."""

    name: str
    status: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.name}: {self.status} ({self.reason})"


@dataclass(frozen=True)
class Comparison:
    """The comparison of run B with run A."""

    a: str
    b: str
    findings: tuple[Outcome, ...]
    policy: Policy
    correction: Correction
    notes: tuple[str, ...] = ()
    failed: tuple[FailedCase, ...] = ()
    same_run: bool = False
    """True if A and B are one run, so that nothing was measured in between."""
    unfinished: bool = False
    """True if B was interrupted, so that nothing is known of its other cases."""

    @property
    def compared(self) -> int:
        """The number of metrics that were compared."""
        return sum(finding.verdict in COMPARED for finding in self.findings)

    @cached_property
    def decided(self) -> tuple[Decided, ...]:
        """The metrics that were compared."""
        return tuple(finding for finding in self.findings if isinstance(finding, Decided))

    @cached_property
    def failures(self) -> tuple[Outcome, ...]:
        """The findings that the policy fails on."""
        return tuple(finding for finding in self.findings if finding.fails(self.policy.fail_on))

    @property
    def counts(self) -> dict[Verdict, int]:
        """The number of findings by verdict, most serious first."""
        return dict(Counter(finding.verdict for finding in sorted(self.findings, key=gravity)))

    @cached_property
    def tests(self) -> int:
        """The number of tests for which the p-values were corrected."""
        return sum(finding.in_family for finding in self.decided)

    @cached_property
    def power(self) -> str | None:
        """The effect that these seeds can detect, in a sentence; None if seeds were not the sample."""
        counts = Counter(each.evidence.n for each in self.decided if each.evidence and each.over_seeds)
        if not counts:
            return None
        n, alpha = counts.most_common(1)[0][0], self.policy.alpha
        others = ", ".join(f"{detectable_effect(m, alpha=alpha):.1f} with {m}" for m in (3, 5, 8) if m != n)
        text = (
            f"with {n} seeds there is 80 % power to detect a regression of "
            f"{detectable_effect(n, alpha=alpha):.1f} SD of paired differences ({others})"
        )
        if self.correction == "Holm" and self.tests > 1:
            corrected = detectable_effect(n, alpha=alpha / self.tests)
            text += f"; as one of {self.tests} tests with Holm's correction, up to {corrected:.1f} SD"
        return text


def gravity(finding: Outcome) -> int:
    """Return a sort key that puts the most serious verdict first."""
    return get_args(Verdict).index(finding.verdict)


def direction_of_regression(better: Better) -> int:
    """Return the factor from a difference to a regression: 1, or −1 if more is better."""
    return -1 if better == "higher" else 1
