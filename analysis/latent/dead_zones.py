"""Where codes are not: dead zones of the latent space, and how well a simple density covers the codes.

To sample from an autoencoder one draws from a simple density, the reference: the prior N(0, I), or the
moment Gaussian with the codes' own mean and covariance. Where it has mass but codes are missing, in a
dead zone, the decoder was never trained. Two measures, each conservative, are read together:

- the dead-zone mass asks how much of the reference lies where codes are far and other draws are near.
  It sees holes and gaps between clusters; from about 8 dimensions up small holes escape it;
- the overlap asks a held-out classifier to tell codes from draws. It sees any difference of the two
  that a small network can learn, mere shrinkage included.

Codes are posterior draws, in the dimensions that the model uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latentbench.analysis.core.metric import Better, Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import ANALYSES, Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.judge import NO_JUDGE
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.latent.intrinsic_dimension import two_nn
from latentbench.analysis.latent.latent_plane import plane_arrays
from latentbench.analysis.rate.likelihood import active_units
from latentbench.analysis.statistics.fitting import fit
from latentbench.analysis.statistics.intervals import binomial_se
from latentbench.analysis.statistics.moments import NO_VARIANCE, Whitening, moment_matched
from latentbench.analysis.statistics.neighbours import nearest
from latentbench.models.protocols import Posterior
from latentbench.models.seeds import derive, generator

K = 5
ALPHA = 0.05
POINTS = 5000
"""Codes that a dead zone is fitted to and, again, calibrated on; its value depends on it."""

CLASSIFIED = 8000
"""Codes, and as many draws, that the overlap's classifier is trained on; it is evaluated on as many."""

FEWEST_CODES = 100
NO_PRIOR = "a deterministic code has no prior"
DISCRETE = "discrete code: a density is everywhere where codes are not"


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    se: float


# Dead zones


@dataclass(frozen=True)
class Sparsity:
    """How sparse codes are about a point, for how dense the reference is there.

    The distance to the k-th nearest of some codes over that to the k-th nearest of as many draws: its
    D-th power estimates the ratio of the densities. The distance to codes alone would not do: where
    codes have a long tail, as those of autoencoders do, a hole in their midst is no emptier than the
    tail, and passes for inhabited.
    """

    codes: Tensor
    draws: Tensor
    k: int

    def __call__(self, z: Tensor) -> Tensor:
        """Of points `[M, D]`: `[M]`, in [0, ∞]; 1 on average where both are equally dense."""
        to_code, to_draw = (nearest(z, points, self.k)[0][:, -1] for points in (self.codes, self.draws))
        return torch.where(to_code > 0, to_code / to_draw, 0.0)


@dataclass(frozen=True)
class Gap:
    """Sparsity at codes and at draws that had no part in it."""

    sparsity: Sparsity
    at_codes: Tensor
    at_draws: Tensor

    @classmethod
    def of(cls, codes: Tensor, reference: Tensor, *, k: int = K, seed: int = 0) -> Gap:
        """From codes `[N, D]` and draws `[M, D]`, each split at random into halves for either use.

        Raises ValueError where half of either is fewer than k.
        """
        smaller = min(len(codes), len(reference)) // 2
        if smaller < k:
            raise ValueError(
                f"{len(codes)} codes and {len(reference)} draws are too few for k = {k}: each needs {2 * k}"
            )
        order = generator(seed, "dead zone")
        shuffled = [z[torch.randperm(len(z), generator=order)] for z in (codes, reference)]
        sparsity = Sparsity(shuffled[0][:smaller], shuffled[1][:smaller], k)
        return cls(sparsity, sparsity(shuffled[0][smaller:]), sparsity(shuffled[1][smaller:]))

    def dead_zone(self, alpha: float = ALPHA) -> Estimate:
        """`dead_zone_mass`."""
        return exceedance(self.at_codes, self.at_draws, alpha)

    def leak(self, alpha: float = ALPHA) -> Estimate:
        """`leak`."""
        return exceedance(1 / self.at_draws, 1 / self.at_codes, alpha)

    def is_dead(self, z: Tensor, alpha: float = ALPHA) -> Tensor:
        """Which points `[M, D]` are in a dead zone, bool `[M]`."""
        return self.sparsity(z) > _threshold(self.at_codes, alpha)[0]


def dead_zone_mass(
    codes: Tensor, reference: Tensor, *, k: int = K, alpha: float = ALPHA, seed: int = 0
) -> Estimate:
    """Share of the reference that lies where codes are missing, beyond what happens to codes themselves.

    [P_{z ∼ p}(s > τ) − α] / (1 − α) for codes `[N, D]` and draws of the reference p `[M, D]`, s being the
    `Sparsity` and τ its upper α-quantile at fresh codes. Split-conformal (Vovk, Gammerman & Shafer 2005):
    0 in expectation wherever codes follow p, for every N and D; 1 where no draw is ever near a code, so
    also for codes that take only a few values. It depends on N: compare at one N only. The standard
    error covers the evaluation and the calibration, not the fit. Raises ValueError for fewer than 2 k
    codes or draws, or fewer than 1 / α for the calibration.
    """
    return Gap.of(codes, reference, k=k, seed=seed).dead_zone(alpha)


def leak(codes: Tensor, reference: Tensor, *, k: int = K, alpha: float = ALPHA, seed: int = 0) -> Estimate:
    """Share of the codes that lies where the reference is missing: the dead-zone mass with the roles swapped.

    Codes are `[N, D]`, draws of the reference `[M, D]`. Range and source are those of
    `dead_zone_mass`. Raises ValueError as it does.
    """
    return Gap.of(codes, reference, k=k, seed=seed).leak(alpha)


def exceedance(calibration: Tensor, evaluation: Tensor, alpha: float = ALPHA) -> Estimate:
    """[P(evaluation > τ) − α] / (1 − α), τ being the upper α-quantile of the calibration; both 1-D.

    0 in expectation where both come from one continuous distribution. Raises ValueError for fewer than
    1 / α calibration values.
    """
    threshold, level, bracket = _threshold(calibration, alpha)
    share = _share(evaluation > threshold)
    fewer, more = (_share(evaluation > bound) for bound in bracket)
    error = math.hypot(math.sqrt(share * (1 - share) / len(evaluation)), (more - fewer) / 2)
    return Estimate((share - level) / (1 - level), error / (1 - level))


def _threshold(calibration: Tensor, alpha: float) -> tuple[float, float, tuple[float, float]]:
    """A high rank of the calibration, the exact probability that a fresh value is above it, and the
    values at the ranks one standard deviation of that probability off."""
    n = len(calibration)
    rank = int(alpha * (n + 1))
    if rank < 1:
        raise ValueError(f"{n} calibration values are too few for alpha = {alpha}")
    level = rank / (n + 1)
    step = max(round(math.sqrt(level * (1 - level) * n)), 1)
    descending = calibration.sort(descending=True).values
    above, below = descending[max(rank - step, 1) - 1], descending[min(rank + step, n) - 1]
    return float(descending[rank - 1]), level, (float(above), float(below))


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()


# Overlap


def overlap_coverage(codes: Tensor, reference: Tensor, *, seed: int = 0) -> Estimate:
    """∫ min(p, q) = 1 − total variation of the codes' density q and the reference's p, from above.

    A small network on [z, ‖z‖² / D] learns on one half of codes `[N, D]` and draws `[M, D]` to tell them
    apart; on the other half, 1 − (true-positive rate − false-positive rate) is at least the overlap, for
    any classifier whatever: a gap it reports is there. In [0, 1] up to chance, 1 for q = p. The standard
    error is that of the evaluation. Raises ValueError for fewer than 2 codes or draws.
    """
    n = min(len(codes), len(reference)) // 2
    if n < 1:
        raise ValueError(f"at least 2 codes and draws are needed, got {len(codes)} and {len(reference)}")
    pooled = torch.stack([codes[: 2 * n], reference[: 2 * n]])
    learn, evaluate = pooled[:, :n], pooled[:, n:]
    features = ClassifierFeatures.of(learn.flatten(0, 1))
    network = _train_classifier(features(learn.flatten(0, 1)), n, seed)
    with torch.inference_mode():
        called_codes = network(features(evaluate)).squeeze(2) > 0
    true_positive, false_positive = (_share(called) for called in called_codes)
    variance = sum(rate * (1 - rate) / n for rate in (true_positive, false_positive))
    return Estimate(1 - (true_positive - false_positive), math.sqrt(variance))


@dataclass(frozen=True)
class ClassifierFeatures:
    """z in coordinates where given points have mean 0 and covariance I, and ‖z‖² / D, standardised.

    So the overlap hardly changes when codes and reference are shifted, scaled, rotated or sheared.
    """

    whitening: Whitening
    norm_deviation: float

    @classmethod
    def of(cls, z: Tensor) -> ClassifierFeatures:
        """From points `[N, D]`; directions in which they do not vary are dropped."""
        whitening = Whitening.of(z)
        deviation = float(whitening(z).square().mean(1).std())
        return cls(whitening, max(deviation, NO_VARIANCE))

    def __call__(self, z: Tensor) -> Tensor:
        """Points `[..., D]` to float32 `[..., R + 1]`, R ≤ D."""
        white = self.whitening(z)
        norm = (white.square().mean(-1, keepdim=True) - 1) / self.norm_deviation
        return torch.cat([white, norm], dim=-1).float()


def _train_classifier(x: Tensor, codes: int, seed: int) -> nn.Module:
    """Two hidden layers, AdamW, 300 small batches: enough for a 20 % wedge, too little to overfit."""
    steps, batch, width = 300, 512, 32
    is_code = (torch.arange(len(x)) < codes).to(x.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "overlap weights"))
        network = nn.Sequential(
            nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        ).to(x.dtype)
    draws = generator(seed, "overlap batches")

    def loss() -> Tensor:
        chosen = torch.randint(len(x), (batch,), generator=draws)
        return F.binary_cross_entropy_with_logits(network(x[chosen]).squeeze(1), is_code[chosen])

    fit(loss, network.parameters(), steps=steps, learning_rate=1e-2, weight_decay=1.0, warm_up=0.1)
    return network


# The analysis


def _define(
    name: str, better: Better, title: str, heading: str, *, headline: bool = False
) -> MetricDefinition:
    return define(
        name,
        unit="fraction",
        better=better,
        title=title,
        heading=heading,
        headline=headline,
    )


DEAD_ZONE_MOMENT = _define(
    "dead_zone_moment",
    "lower",
    "Share of the Gaussian with the codes' mean and covariance that lies where there are no codes.",
    "dead zone",
    headline=True,
)
DEAD_ZONE_PRIOR = _define(
    "dead_zone_prior",
    "lower",
    "Share of the prior N(0, I) that lies where there are no codes.",
    "dead zone prior",
)
LEAK_MOMENT = _define(
    "leak_moment",
    "lower",
    "Share of the codes that lies where the Gaussian with their mean and covariance is not.",
    "leak",
)
OVERLAP_MOMENT = _define(
    "overlap_moment",
    "higher",
    "Overlap of the codes with the Gaussian of their mean and covariance, by a classifier, from above.",
    "overlap",
)
OVERLAP_PRIOR = _define(
    "overlap_prior",
    "higher",
    "Overlap of the codes with the prior N(0, I), by a classifier, from above.",
    "overlap prior",
)


CLASS_AREA_LARGEST = _define(
    "class_area_largest",
    "neither",
    "Share of the plane of a 2-D code that decodes to the commonest class, under the codes' Gaussian.",
    "largest class",
)
CLASS_AREA_SMALLEST = _define(
    "class_area_smallest",
    "neither",
    "Share of the plane of a 2-D code that decodes to the rarest class, under the codes' Gaussian.",
    "smallest class",
)
INTRINSIC_DIMENSION = define(
    "intrinsic_dimension",
    unit="dimensions",
    better="neither",
    title="Dimensions that the codes of test images fill locally (two nearest neighbours); context.",
    heading="intrinsic",
    decimals=1,
)
CLASS_AREA = (CLASS_AREA_LARGEST, CLASS_AREA_SMALLEST)
GAPS = (DEAD_ZONE_MOMENT, DEAD_ZONE_PRIOR, LEAK_MOMENT, OVERLAP_MOMENT, OVERLAP_PRIOR)


@analysis("coverage", [*GAPS, *CLASS_AREA, INTRINSIC_DIMENSION], needs_judge=True)
def coverage(subject: Subject) -> Measurement:
    """The codes of the train images against their own Gaussian and, where there is one, the prior N(0, I)."""
    order = torch.randperm(len(subject.code_samples), generator=subject.generator("coverage order"))
    if subject.is_discrete:
        return Measurement(ANALYSES["coverage"].all_missing(DISCRETE).metrics, _lattice_plane(subject, order))
    if len(subject.code_samples) < FEWEST_CODES:
        raise Unmeasurable(f"fewer than {FEWEST_CODES} train images")
    used = in_use(subject.train_codes)
    _refuse_unusable(subject.code_samples, used)
    codes = subject.code_samples[order][:, used]
    noise = torch.randn(
        2 * CLASSIFIED, codes.shape[1], generator=subject.generator("coverage draws"), dtype=codes.dtype
    )
    moment = moment_matched(codes, noise)
    gap = Gap.of(codes[: 2 * POINTS], moment[: 2 * POINTS], seed=subject.seed)
    gap_n, overlap_n = min(len(codes), 2 * POINTS), min(len(codes), 2 * CLASSIFIED)
    overlap = overlap_coverage(codes, moment, seed=subject.seed)
    metrics = [
        _measured(DEAD_ZONE_MOMENT, gap.dead_zone(), gap_n),
        DEAD_ZONE_PRIOR.missing(NO_PRIOR),
        _measured(LEAK_MOMENT, gap.leak(), gap_n),
        _measured(OVERLAP_MOMENT, overlap, overlap_n),
        OVERLAP_PRIOR.missing(NO_PRIOR),
    ]
    if subject.has_prior:
        prior_zone = dead_zone_mass(codes[: 2 * POINTS], noise[: 2 * POINTS], seed=subject.seed)
        metrics[1] = _measured(DEAD_ZONE_PRIOR, prior_zone, gap_n)
        prior_overlap = overlap_coverage(codes, noise, seed=subject.seed)
        metrics[4] = _measured(OVERLAP_PRIOR, prior_overlap, overlap_n)
    metrics += [*_class_area(subject), _dimension(subject)]
    if subject.code_samples.shape[1] != 2 or codes.shape[1] != 2:
        return Measurement(tuple(metrics))
    labels = subject.data.train.labels
    arrays = plane_arrays(subject, codes, None if labels is None else labels[order], gap.is_dead)
    return Measurement(tuple(metrics), arrays)


def _class_area(subject: Subject) -> list[Metric]:
    """The commonest and the rarest class among decoded draws of the codes' Gaussian."""
    try:
        predictions = _classes_of_a_plane(subject)
    except Unmeasurable as reason:
        return [metric.missing(str(reason)) for metric in CLASS_AREA]
    counts, n = predictions.bincount(minlength=len(subject.data.classes)), len(predictions)
    return [
        metric.measured(hits / n, se=binomial_se(hits, n), n=n)
        for metric, hits in zip(CLASS_AREA, (int(counts.max()), int(counts.min())), strict=True)
    ]


def _classes_of_a_plane(subject: Subject) -> Tensor:
    if subject.code_samples.shape[1] != 2:
        raise Unmeasurable("the code has not two dimensions")
    if subject.context.judge is None:
        raise Unmeasurable(NO_JUDGE)
    return subject.once(SampleBank).judged("moment").predictions


def _dimension(subject: Subject) -> Metric:
    codes = subject.test_codes.mean[:POINTS]
    try:
        return INTRINSIC_DIMENSION.measured(two_nn(codes), n=len(codes))
    except ValueError as reason:
        return INTRINSIC_DIMENSION.missing(str(reason), n=len(codes))


def _lattice_plane(subject: Subject, order: Tensor) -> dict[str, NDArray[np.generic]]:
    """The plane of a two-dimensional discrete code: dead is what decodes to a code that no image has."""
    codes = subject.code_samples[order]
    if codes.shape[1] != 2 or not _spans_the_plane(codes):
        return {}
    inhabited = subject.indices(codes).unique(dim=0)

    def is_dead(points: Tensor) -> Tensor:
        lives: Tensor = (subject.indices(points)[:, None] == inhabited).all(2).any(1)
        return ~lives

    labels = subject.data.train.labels
    return plane_arrays(subject, codes, None if labels is None else labels[order], is_dead)


def _spans_the_plane(codes: Tensor) -> bool:
    """Whether codes `[N, 2]` are finite, and not all on one line."""
    if len(codes) < FEWEST_CODES or not codes.isfinite().all():
        return False
    smaller, larger = torch.linalg.eigvalsh(codes.double().T.cov()).tolist()
    return bool(smaller > NO_VARIANCE * larger)


def in_use(posterior: Posterior) -> Tensor:
    """Which dimensions the codes of a data set use, bool `[D]`.

    The active units of a stochastic code; of a deterministic one, whose scale means nothing, the
    dimensions that vary at all.
    """
    if posterior.log_var is not None:
        return active_units(posterior.mean)
    variance = posterior.mean.double().var(0)
    return variance > NO_VARIANCE * variance.max()


def _refuse_unusable(codes: Tensor, used: Tensor) -> None:
    finite(codes)
    if not used.any():
        raise Unmeasurable("no dimension of the code is in use")


def _measured(metric: MetricDefinition, estimate: Estimate, n: int) -> Metric:
    return metric.measured(estimate.value, se=estimate.se, n=n)
