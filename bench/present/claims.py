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
from latentbench.analysis.statistics.intervals import mean_interval
from latentbench.bench.present.tables import Row, format_number
from latentbench.bench.store.record import Record

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
    """What a run says of a claim. `n` counts seeds where there are several, else what one was measured on."""

    claim: Claim
    verdict: Verdict
    value: float | None = None
    interval: tuple[float, float] | None = None
    n: str = ""
    reason: str = ""

    @property
    def shown(self) -> str:
        """The effect with its interval: `0.017 [0.012, 0.022]`."""
        if self.value is None:
            return "–"
        decimals = METRICS[self.claim.term.metric].decimals
        value, *bounds = (format_number(each, decimals) for each in (self.value, *(self.interval or ())))
        return f"{value} [{', '.join(bounds)}]" if bounds else value


def findings(rows: Sequence[Row]) -> list[Finding]:
    """A finding for every claim, in order; nothing where the run has none of the models."""
    found = [_finding(claim, rows) for claim in CLAIMS]
    return found if any(finding.value is not None for finding in found) else []


class _NotMeasuredError(Exception):
    """The reason a claim has no effect."""


def _finding(claim: Claim, rows: Sequence[Row]) -> Finding:
    try:
        pairs = _by_seed(claim, rows)
    except _NotMeasuredError as reason:
        return Finding(claim, "not measured", reason=str(reason))
    effects = [_difference(*pair) for pair in pairs]
    value = math.fsum(effects) / len(effects)
    if len(effects) > 1:
        interval: tuple[float, float] | None = mean_interval(effects)
        n = f"{len(effects)} seeds"
    else:
        interval, n = _interval_of_one(value, pairs[0]), _count(pairs[0])
    verdict, why = _verdict(interval, claim.bound)
    return Finding(claim, verdict, value, interval, n, why)


Pair = tuple[Metric, Metric | None]


def _by_seed(claim: Claim, rows: Sequence[Row]) -> list[Pair]:
    """The measured terms of every seed that has both."""
    terms = _measured(claim.term, rows)
    if claim.minus is None:
        return [(metric, None) for metric in terms.values()]
    others = _measured(claim.minus, rows)
    shared = [(terms[seed], others[seed]) for seed in sorted(terms.keys() & others.keys())]
    if not shared:
        raise _NotMeasuredError(f"{claim.term.model} and {claim.minus.model} share no seed")
    return list(shared)


def _measured(term: Term, rows: Sequence[Row]) -> dict[int, Metric]:
    """The term by seed."""
    records: tuple[Record, ...] = next((row.records for row in rows if row.label == term.model), ())
    if not records:
        raise _NotMeasuredError(f"no {term.model} in this run")
    metrics = {record.seed: metric for record in records if (metric := record.metric(term.metric))}
    measured = {seed: metric for seed, metric in metrics.items() if metric.value is not None}
    if not measured:
        reason = next((metric.reason for metric in metrics.values()), None) or "not measured"
        raise _NotMeasuredError(f"{term.metric} of {term.model}: {reason}")
    return measured


def _difference(metric: Metric, other: Metric | None) -> float:
    assert metric.value is not None
    return metric.value - ((other.value or 0.0) if other else 0.0)


def _interval_of_one(value: float, pair: Pair) -> tuple[float, float] | None:
    """1.96 standard errors each way, the two terms' taken as independent; None where one has no error."""
    errors = [metric.se for metric in pair if metric is not None]
    if any(error is None for error in errors):
        return None
    reach = 1.96 * math.hypot(*(error for error in errors if error is not None))
    return value - reach, value + reach


def _count(pair: Pair) -> str:
    n = pair[0].n
    return "1 seed" if n is None else f"1 seed, {n:,} images"


def _verdict(interval: tuple[float, float] | None, bound: float) -> tuple[Verdict, str]:
    if interval is None:
        return "inconclusive", "one seed, and no error within it"
    low, high = interval
    if low > bound:
        return "supported", ""
    return ("not supported", "") if high < bound else ("inconclusive", "the interval includes the bound")
