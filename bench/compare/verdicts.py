"""What a comparison finds: a verdict for each metric of each model, and what stands behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from latentbench.analysis.core.metric import Better
from latentbench.bench.compare.multiplicity import Correction
from latentbench.bench.compare.policy import TIMINGS, Policy, Verdict
from latentbench.bench.compare.power import detectable_effect, pairs_needed
from latentbench.bench.compare.significance import Evidence

EVERY_METRIC = "every metric"
"""In place of a metric's name, where a whole model is concerned."""
COMPARED: tuple[Verdict, ...] = ("regressed", "changed", "inconclusive", "ok")


@dataclass(frozen=True)
class Finding:
    """One metric of one model in two runs. Values are means over the seeds that were compared."""

    model: str
    metric: str
    verdict: Verdict
    reason: str = ""
    seeds: tuple[int, ...] = ()
    """Of B."""
    a: float | None = None
    b: float | None = None
    better: Better = "neither"
    smallest_effect: float | None = None
    """The smallest effect of interest, in the metric's unit."""
    evidence: Evidence | None = None
    """The harm, in the metric's unit; None where nothing was tested."""
    in_family: bool = False
    """Whether it is one of the tests that the p-values are corrected for."""
    p_adjusted: float | None = None
    alpha: float = 0.05
    tests: int = 1
    """How many tests the p-value was corrected for."""

    @property
    def change(self) -> float | None:
        """(B − A) / |A|; None where there is none."""
        return (self.b - self.a) / abs(self.a) if self.a and self.b is not None else None

    @property
    def harm(self) -> float | None:
        """By how much B is worse, in the metric's unit; None without a better end."""
        if self.a is None or self.b is None or self.better == "neither":
            return None
        return (self.b - self.a) * direction_of_harm(self.better)

    @property
    def is_worse(self) -> bool:
        """Whether B is worse by the smallest effect of interest or more, chance or not."""
        return self.harm is not None and self.harm >= (self.smallest_effect or 0.0)

    @property
    def is_better(self) -> bool:
        """Whether B is better beyond doubt: even the harm's upper bound is a gain."""
        return self.evidence is not None and self.evidence.high < 0

    @property
    def over_seeds(self) -> bool:
        """Whether seeds were the sample, so that more of them would tell more."""
        return self.evidence is not None and "seeds" in self.evidence.method

    @property
    def further_seeds(self) -> int | None:
        """How many more seeds would settle an inconclusive finding 4 times in 5, if all stays as it looks.

        None where it is settled, or where more seeds are no remedy.
        """
        if self.verdict != "inconclusive" or not self.over_seeds:
            return None
        assert self.evidence is not None
        smallest = self.smallest_effect or 0.0
        worse = self.evidence.harm >= smallest
        gap = self.evidence.harm if worse else smallest - self.evidence.harm
        if not self.evidence.spread or gap <= 0:
            return None
        needed = pairs_needed(gap / self.evidence.spread, alpha=self.alpha / (self.tests if worse else 1))
        return None if needed is None else max(1, needed - self.evidence.n)

    @property
    def detectable(self) -> float | None:
        """The harm that as many seeds as these find 4 times in 5, uncorrected, in the metric's unit."""
        if not self.over_seeds:
            return None
        assert self.evidence is not None
        return self.evidence.spread * detectable_effect(self.evidence.n, alpha=self.alpha)

    def fails(self, fail_on: Sequence[Verdict]) -> bool:
        """Whether this makes a gate fail."""
        if self.verdict == "changed" and (self.metric in TIMINGS or not self.is_worse):
            return False
        return self.verdict in fail_on


@dataclass(frozen=True)
class Comparison:
    """Run B held against run A."""

    a: str
    b: str
    findings: tuple[Finding, ...]
    policy: Policy
    correction: Correction
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    """The cases of B that are not ok, each with its status and reason."""

    @property
    def compared(self) -> int:
        """How many metrics could be held against each other."""
        return sum(finding.verdict in COMPARED for finding in self.findings)

    @cached_property
    def failures(self) -> tuple[Finding, ...]:
        """What the policy fails on."""
        return tuple(finding for finding in self.findings if finding.fails(self.policy.fail_on))

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many findings have which verdict; the gravest first."""
        return dict(Counter(finding.verdict for finding in sorted(self.findings, key=gravity)))

    @cached_property
    def tests(self) -> int:
        """How many tests the p-values were corrected for."""
        return sum(finding.in_family for finding in self.findings)

    @cached_property
    def power(self) -> str | None:
        """What so many seeds can see, in a sentence; None where seeds were not the sample."""
        counts = Counter(f.evidence.n for f in self.findings if f.evidence and f.over_seeds)
        if not counts:
            return None
        n, alpha = counts.most_common(1)[0][0], self.policy.alpha
        others = ", ".join(f"{detectable_effect(m, alpha=alpha):.1f} with {m}" for m in (3, 5, 8) if m != n)
        text = (
            f"{n} seeds find a loss of {detectable_effect(n, alpha=alpha):.1f} standard deviations of a "
            f"pair's difference 4 times in 5 ({others})"
        )
        if self.correction == "Holm" and self.tests > 1:
            corrected = detectable_effect(n, alpha=alpha / self.tests)
            text += f"; as one of {self.tests} tests, by Holm's correction, {corrected:.1f} at worst"
        return text


def gravity(finding: Finding) -> int:
    """The order in which findings are read: the gravest first."""
    return get_args(Verdict).index(finding.verdict)


def direction_of_harm(better: Better) -> int:
    """What turns a difference into a harm: 1, or −1 where more is better."""
    return -1 if better == "higher" else 1
