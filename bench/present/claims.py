"""The statements of "Compression Is Understanding" as measurements of one run, each with a verdict.

A statement is held to mean that some effect, a metric or the difference of two, is larger than a bound. Its
verdict follows from the effect's 95 % interval alone: `supported` where all of it is beyond the bound, `not
supported` where all of it falls short, `inconclusive` where it does neither, and `not measured` where the run
lacks a model or a number. The interval is Student's t over the seeds that both models share, paired; of one
seed it is that of the measurement, and says nothing of another training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.rate.kl_dynamics import SPIKE
from latentbench.analysis.statistics.estimates import Estimate, of_one, of_seeds
from latentbench.bench.present.rows import Row, as_defined_now
from latentbench.bench.store.record import Record
from latentbench.bench.text import numbers

Verdict = Literal["supported", "not supported", "inconclusive", "not measured"]
NO_GAP = 0.02
"""The largest dead-zone mass that codes without any gap have been seen to score."""


@dataclass(frozen=True)
class Term:
    """A metric of the model with this label."""

    model: str
    metric: str


@dataclass(frozen=True)
class Claim:
    """That `term`, less `minus` where there is one, is more than `bound`."""

    statement: str
    effect: str
    """What is measured, in words."""
    term: Term
    minus: Term | None = None
    bound: float = 0.0


CLAIMS = (
    Claim(
        "16 numbers are enough: they cost at most two points of recognition.",
        "accuracy of a frozen classifier on digits rebuilt by ae-16, less that on the originals",
        Term("ae-16", "recognisable"),
        Term("ae-16", "recognisable_originals"),
        bound=-0.02,
    ),
    Claim(
        "The latent space of a plain autoencoder has gaps.",
        f"dead-zone mass of ae-2, beyond {NO_GAP}",
        Term("ae-2", "dead_zone_moment"),
        bound=NO_GAP,
    ),
    Claim(
        "It has more of them than a VAE's.",
        "dead-zone mass of ae-2, less that of vae-2 β=1",
        Term("ae-2", "dead_zone_moment"),
        Term("vae-2 β=1", "dead_zone_moment"),
    ),
    Claim(
        "Random points of a plain autoencoder decode to garbage.",
        "precision of ae-16 with codes of images, less that with draws of N(0, I)",
        Term("ae-16", "functional_dead_zone_prior"),
    ),
    Claim(
        "A plain autoencoder cannot generate, whatever one draws from.",
        "Fréchet distance of ae-16 with a mixture fitted to its codes, less that of vae-16 β=1 with its "
        "prior",
        Term("ae-16", "frechet_gmm10"),
        Term("vae-16 β=1", "frechet_prior"),
    ),
    Claim(
        "A VAE reconstructs worse than an autoencoder of its width.",
        "MSE of vae-16 β=1, less that of ae-16",
        Term("vae-16 β=1", "mse"),
        Term("ae-16", "mse"),
    ),
    Claim(
        "It has a space one can sample.",
        "Fréchet distance of draws of the prior from ae-16, less that from vae-16 β=1",
        Term("ae-16", "frechet_prior"),
        Term("vae-16 β=1", "frechet_prior"),
    ),
    Claim(
        "A larger β costs reconstruction.",
        "MSE of vae-16 at β = 4, less that at β = 0.02",
        Term("vae-16 β=4", "mse"),
        Term("vae-16 β=0.02", "mse"),
    ),
    Claim(
        "A little β buys better samples.",
        "Fréchet distance of draws of the prior from vae-16 at β = 0.02, less that at β = 0.25",
        Term("vae-16 β=0.02", "frechet_prior"),
        Term("vae-16 β=0.25", "frechet_prior"),
    ),
    Claim(
        "The more β, the better the samples.",
        "Fréchet distance of draws of the prior from vae-16 at β = 0.02, less that at β = 4",
        Term("vae-16 β=0.02", "frechet_prior"),
        Term("vae-16 β=4", "frechet_prior"),
    ),
    Claim(
        "The KL starts low, spikes, and settles.",
        f"peak of the KL over where it settles, vae-16 β=1, beyond {SPIKE:g}",
        Term("vae-16 β=1", "kl_spike"),
        bound=SPIKE,
    ),
    Claim(
        "The narrower the bottleneck, the less zero-shot.",
        "zero-shot accuracy from the codes of ae-32, less that from ae-2",
        Term("ae-32", "zero_shot_top1"),
        Term("ae-2", "zero_shot_top1"),
    ),
)


@dataclass(frozen=True)
class Finding:
    """What a run says about a claim: its verdict, the effect unless it was not measured, and a reason."""

    claim: Claim
    verdict: Verdict
    effect: Estimate | None = None
    reason: str = ""

    @property
    def shown(self) -> str:
        """The effect with its interval: `0.0170 [0.0120, 0.0220]`."""
        if self.effect is None:
            return numbers.MISSING
        decimals = METRICS[self.claim.term.metric].decimals
        value, _ = numbers.value_and_error(self.effect.value, self.effect.half_width, decimals)
        if self.effect.interval is None:
            return value
        ends = (
            numbers.value_and_error(end, self.effect.half_width, decimals) for end in self.effect.interval
        )
        return f"{value} [{', '.join(end for end, _ in ends)}]"

    @property
    def n(self) -> str:
        """How many seeds, or for one seed how many images, the interval is over."""
        if self.effect is None:
            return ""
        if self.effect.repeated == "seeds":
            return f"{self.effect.n} seeds"
        return "1 seed" if self.effect.n is None else f"1 seed, {self.effect.n:,} images"


def findings(rows: Sequence[Row]) -> list[Finding]:
    """One finding for each claim, in order; none where the run measured none of the claims."""
    found = [finding(claim, rows) for claim in CLAIMS]
    return found if any(each.effect is not None for each in found) else []


class _NotMeasuredError(Exception):
    """The reason a claim has no effect."""


def finding(claim: Claim, rows: Sequence[Row]) -> Finding:
    """What the run says about one claim."""
    try:
        pairs = _by_seed(claim, rows)
    except _NotMeasuredError as reason:
        return Finding(claim, "not measured", reason=str(reason))
    effects = [math.fsum(sign * value for sign, value in _signed(pair)) for pair in pairs]
    effect = of_seeds(effects) if len(effects) > 1 else of_one(effects[0], _error(pairs[0]), pairs[0][0].n)
    verdict, why = _verdict(effect.interval, claim.bound)
    return Finding(claim, verdict, effect, why)


Pair = tuple[Metric, Metric | None]
"""The measured terms of one seed."""


def _by_seed(claim: Claim, rows: Sequence[Row]) -> list[Pair]:
    """The measured terms of every seed that has both."""
    terms = _measured(claim.term, rows)
    if claim.minus is None:
        return [(metric, None) for metric in terms.values()]
    others = _measured(claim.minus, rows)
    shared = sorted(terms.keys() & others.keys())
    if not shared:
        raise _NotMeasuredError(f"{claim.term.model} and {claim.minus.model} share no seed")
    return [(terms[seed], others[seed]) for seed in shared]


def _measured(term: Term, rows: Sequence[Row]) -> dict[int, Metric]:
    """The term by seed."""
    records: tuple[Record, ...] = next((row.records for row in rows if row.label == term.model), ())
    if not records:
        raise _NotMeasuredError(f"no {term.model} in this run")
    metrics = {
        record.seed: as_defined_now(metric) for record in records if (metric := record.metric(term.metric))
    }
    measured = {seed: metric for seed, metric in metrics.items() if metric.value is not None}
    if not measured:
        reason = next((metric.reason for metric in metrics.values()), None) or "not measured"
        raise _NotMeasuredError(f"{term.metric} of {term.model}: {reason}")
    return measured


def _signed(pair: Pair) -> list[tuple[int, float]]:
    metric, other = pair
    return [
        (sign, each.value) for sign, each in ((1, metric), (-1, other)) if each and each.value is not None
    ]


def _error(pair: Pair) -> float | None:
    """The standard error of the effect, its two terms taken as independent; None where one is missing."""
    errors = [metric.se for metric in pair if metric is not None]
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if len(known) == len(errors) else None


def _verdict(interval: tuple[float, float] | None, bound: float) -> tuple[Verdict, str]:
    if interval is None:
        return "inconclusive", "one seed, and the error of its measurement is not known"
    low, high = interval
    if low > bound:
        return "supported", ""
    return ("not supported", "") if high < bound else ("inconclusive", "the interval includes the bound")
