"""How good decoded samples are: set distances and neighbourhood scores in the features of a judge.

A set distance depends on the number of images and on the features, so it means something only beside
one taken at the same number in the same features: `frechet_floor` is what two sets of real images score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.analysis.intervals import binomial_se, standard_error
from latentbench.analysis.judge import NO_JUDGE, JudgedImages
from latentbench.analysis.measurement import ANALYSES, Measurement, analysis
from latentbench.analysis.metric import Metric, MetricDefinition, define
from latentbench.analysis.neighbours import Balls, distances, nearest, within
from latentbench.analysis.subject import NEIGHBOURS, NO_DECODER, SAMPLERS, Subject, to_uint8

MANIFOLD_K, DENSITY_K = 3, NEIGHBOURS
JACKKNIFE_BLOCKS = 10
KERNEL_CHUNK = 1000
PICTURED = 64
"""Samples kept for pictures."""


SAMPLER_TITLES = {
    "prior": "samples of the prior N(0, I)",
    "moment": "samples of the Gaussian with the codes' mean and covariance",
}


def _frechet(sampler: str) -> MetricDefinition:
    return MetricDefinition(
        f"frechet_{sampler}",
        unit="",
        better="lower",
        title=f"Fréchet distance of {SAMPLER_TITLES[sampler]} to the test images, in the judge's features.",
        heading=f"Fréchet {sampler}",
        headline=True,
        decimals=1,
    )


def _precision(sampler: str) -> MetricDefinition:
    return MetricDefinition(
        f"precision_{sampler}",
        unit="fraction",
        better="higher",
        title=f"Share of {SAMPLER_TITLES[sampler]} that lie where test images are (k = {MANIFOLD_K}).",
        heading=f"precision {sampler}",
        headline=sampler == "moment",
    )


def _recall(sampler: str) -> MetricDefinition:
    return MetricDefinition(
        f"recall_{sampler}",
        unit="fraction",
        better="higher",
        title=f"Share of test images that lie where {SAMPLER_TITLES[sampler]} are (k = {MANIFOLD_K}).",
        heading=f"recall {sampler}",
    )


def _density(sampler: str) -> MetricDefinition:
    return MetricDefinition(
        f"density_{sampler}",
        unit="",
        better="higher",
        title=f"How densely test images surround {SAMPLER_TITLES[sampler]} (k = {DENSITY_K}); real: 1.",
        heading=f"density {sampler}",
    )


def _coverage(sampler: str) -> MetricDefinition:
    return MetricDefinition(
        f"coverage_{sampler}",
        unit="fraction",
        better="higher",
        title=f"Share of test images with {SAMPLER_TITLES[sampler]} nearby (k = {DENSITY_K}).",
        heading=f"coverage {sampler}",
    )


def _class_kl(sampler: str) -> MetricDefinition:
    return MetricDefinition(
        f"class_kl_{sampler}",
        unit="nats",
        better="lower",
        title=f"KL of the judge's classes of {SAMPLER_TITLES[sampler]} to those of the test images.",
        heading=f"class KL {sampler}",
    )


FRECHET_FLOOR = define(
    MetricDefinition(
        "frechet_floor",
        unit="",
        better="neither",
        title="Fréchet distance of as many train images to the test images: the best to be hoped for.",
        heading="Fréchet floor",
        decimals=2,
    )
)
OF_SAMPLES = {
    sampler: tuple(
        define(describe(sampler))
        for describe in (_frechet, _precision, _recall, _density, _coverage, _class_kl)
    )
    for sampler in SAMPLERS
}


# Distances between two sets of features


@dataclass(frozen=True)
class Moments:
    """Count, mean `[D]` and scatter Σ (x − mean)(x − mean)ᵀ `[D, D]` of a set, float64.

    The sum of two is the moments of the union of two disjoint sets.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features `[N, D]`."""
        double = features.double()
        centred = double - double.mean(0)
        return cls(len(double), double.mean(0), centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        """Chan, Golub & LeVeque 1983 (doi:10.1080/00031305.1983.10483115)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(
            count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between
        )

    @property
    def covariance(self) -> Tensor:
        """The sample covariance, over count − 1."""
        return self.scatter / (self.count - 1)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """‖μ_a − μ_b‖² + tr(S_a + S_b − 2 (S_a S_b)^½) between the Gaussians fitted to two sets.

    The squared Wasserstein-2 distance (Dowson & Landau 1982), used on image features by Heusel et al.
    2017 (arXiv:1706.08500). Features are `[N, D]` and `[M, D]`; computed in float64; non-negative, zero
    for equal moments. It is biased upwards, by about D (D + 5) / 2n for two sets of n from one
    Gaussian: compare at one n only. Raises ValueError below two points, for mismatched widths and for
    values that are not finite.
    """
    _check(a, b, smallest=2)
    return frechet_between(Moments.of(a), Moments.of(b))


def frechet_between(a: Moments, b: Moments) -> float:
    """`frechet_distance` of two sets known by their moments."""
    # tr (S_a S_b)^½ = tr (S_a^½ S_b S_a^½)^½, of a symmetric matrix: no general matrix root is needed.
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float((a.mean - b.mean).square().sum() + spread), 0.0)


def frechet_standard_error(real: Moments, fake: Tensor) -> float | None:
    """Standard error of the Fréchet distance over sets of samples, the real set being given.

    Delete-one jackknife over ten blocks of samples in their order, which must be independent; None for
    samples too few to fill the blocks.
    """
    if len(fake) < 2 * JACKKNIFE_BLOCKS:
        return None
    blocks = [Moments.of(block) for block in fake.tensor_split(JACKKNIFE_BLOCKS)]
    left_out = torch.tensor(
        [frechet_between(real, _merge(blocks[:i] + blocks[i + 1 :])) for i in range(len(blocks))]
    )
    spread = (left_out - left_out.mean()).square().sum().item()
    return math.sqrt(spread * (JACKKNIFE_BLOCKS - 1) / JACKKNIFE_BLOCKS)


def _merge(parts: list[Moments]) -> Moments:
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    return merged


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy under the kernel (x·y / D + 1)³, unbiased over all pairs.

    The kernel distance of Bińkowski et al. 2018 (arXiv:1801.01401), without its random subsets: exact
    and deterministic. Features are `[N, D]` and `[M, D]`; float64, memory O(chunk · N). Its expectation
    is zero for two sets of one distribution, so it may be negative. Raises ValueError as
    `frechet_distance` does.
    """
    _check(a, b, smallest=2)
    a, b = a.double(), b.double()
    within_a = (_kernel_sum(a, a) - _kernel_diagonal(a)) / (len(a) * (len(a) - 1))
    within_b = (_kernel_sum(b, b) - _kernel_diagonal(b)) / (len(b) * (len(b) - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    total = 0.0
    for rows in a.split(KERNEL_CHUNK):
        base = (rows @ b.T).div_(b.shape[1]).add_(1)
        total += torch.linalg.vecdot(base.square(), base).sum().item()
    return total


def _kernel_diagonal(a: Tensor) -> float:
    return (a.square().mean(1) + 1).pow(3).sum().item()


# Neighbourhoods: is a sample where real images are, and is a real image where samples are?


@dataclass(frozen=True)
class Neighbourhoods:
    """Who lies within whose k-nearest-neighbour ball; balls are open, distances Euclidean.

    `precise` bool `[M]`: the sample lies within some real ball. `recalled` bool `[N]`: the real image
    lies within some sample's ball. Both at k = `MANIFOLD_K` unless told. `density` `[M]`: real balls
    that hold the sample, over k. `covered` bool `[N]`: the real image's ball holds some sample. Both at
    k = `DENSITY_K` unless told.
    """

    precise: Tensor
    recalled: Tensor
    density: Tensor
    covered: Tensor


def neighbourhoods(
    real: Tensor,
    fake: Tensor,
    *,
    manifold_k: int = MANIFOLD_K,
    density_k: int = DENSITY_K,
    real_distances: Tensor | None = None,
) -> Neighbourhoods:
    """Compare real features `[N, D]` with samples' `[M, D]` in one pass over their distances, float64.

    `real_distances` are `nearest(real.double(), real.double(), k, exclude_self=True)[0]` where they are
    known already, for the larger k. Memory O(chunk · N). Raises ValueError for fewer than k + 1 points
    in a set that gets balls, for mismatched widths and for values that are not finite.
    """
    _check(real, fake, smallest=1 + manifold_k)
    _check(real, real, smallest=1 + max(manifold_k, density_k))
    real, fake = real.double(), fake.double()
    if real_distances is None:
        real_distances = nearest(real, real, max(manifold_k, density_k), exclude_self=True)[0]
    fake_distances = nearest(fake, fake, manifold_k, exclude_self=True)[0]
    manifold_radius, density_radius = real_distances[:, manifold_k - 1], real_distances[:, density_k - 1]
    precise, covered = (torch.zeros(len(points), dtype=torch.bool) for points in (fake, real))
    density = torch.zeros(len(fake), dtype=torch.float64)
    widest = Balls(real, torch.maximum(manifold_radius, density_radius))
    for sample, ball in widest.members(fake):
        apart = distances(fake, real, sample, ball)
        precise[sample[within(apart, manifold_radius[ball])]] = True
        dense = within(apart, density_radius[ball])
        density += sample[dense].bincount(minlength=len(fake)) / density_k
        covered[ball[dense]] = True
    recalled = Balls(fake, fake_distances[:, -1]).hold(real)
    return Neighbourhoods(precise, recalled, density, covered)


def precision_recall(real: Tensor, fake: Tensor, k: int = MANIFOLD_K) -> tuple[float, float]:
    """Share of samples within the real images' k-NN balls, and of real images within the samples'.

    Kynkäänniemi et al. 2019 (arXiv:1904.06991); equal to the package prdc 0.2. Each in [0, 1], higher
    is better. Shapes and errors as in `neighbourhoods`.
    """
    found = neighbourhoods(real, fake, manifold_k=k, density_k=k)
    return found.precise.double().mean().item(), found.recalled.double().mean().item()


def density_coverage(real: Tensor, fake: Tensor, k: int = DENSITY_K) -> tuple[float, float]:
    """Mean number of real balls around a sample over k, and the share of real balls that hold a sample.

    Naeem et al. 2020 (arXiv:2002.09797); equal to the package prdc 0.2. Density is in [0, N / k] and
    about 1 for samples of the real distribution; coverage is in [0, 1]. Higher is better. Shapes and
    errors as in `neighbourhoods`.
    """
    found = neighbourhoods(real, fake, manifold_k=k, density_k=k)
    return found.density.mean().item(), found.covered.double().mean().item()


def class_histogram_kl(samples: Tensor, real: Tensor, classes: int) -> float:
    """KL(samples' classes ‖ real images' classes), nats, in [0, ∞]; int64 classes `[M]` and `[N]`.

    Zero for equal shares; ln K where all samples fall into one of K equally frequent classes; infinite
    where samples fall into a class no real image has. Raises ValueError for a class outside 0 …
    `classes` − 1 or an empty set.
    """
    p, q = (_shares(labels, classes) for labels in (samples, real))
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum().item()


def _shares(labels: Tensor, classes: int) -> Tensor:
    if len(labels) == 0:
        raise ValueError("a histogram needs at least one label")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels must be 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    return labels.bincount(minlength=classes).double() / len(labels)


def class_kl_standard_error(samples: Tensor, real: Tensor, classes: int) -> float | None:
    """Standard error of `class_histogram_kl` over sets of samples, the real set being given.

    First order in the shares (delta method): too small where the shares are nearly equal. None where
    the divergence is infinite.
    """
    p, q = (_shares(labels, classes) for labels in (samples, real))
    surprise = torch.where(p > 0, (p / q).log(), 0.0)
    variance = (p * surprise.square()).sum() - (p * surprise).sum().square()
    return math.sqrt(max(variance.item(), 0.0) / len(samples)) if variance.isfinite() else None


def _check(a: Tensor, b: Tensor, *, smallest: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features [N, D] and [M, D] must agree in D, got {list(a.shape)} and {list(b.shape)}"
        )
    if min(len(a), len(b)) < smallest:
        raise ValueError(f"at least {smallest} points are needed on either side, got {len(a)} and {len(b)}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold values that are not finite")


# The analysis


@analysis("sampling", [*(metric for metrics in OF_SAMPLES.values() for metric in metrics), FRECHET_FLOOR])
def sampling(subject: Subject) -> Measurement:
    """Decoded samples of every sampler against the test images, as many samples as test images."""
    if subject.context.judge is None:
        return ANALYSES["sampling"].all_missing(NO_JUDGE)
    real = subject.context.test
    if len(real.features) <= NEIGHBOURS:
        return ANALYSES["sampling"].all_missing(f"fewer than {NEIGHBOURS + 1} test images")
    metrics: list[Metric] = []
    arrays = {}
    for sampler in SAMPLERS:
        problem = _why_unusable(subject, sampler)
        if problem is None:
            metrics += _measure(sampler, subject.judged_samples(sampler), subject)
            arrays[f"samples_{sampler}"] = to_uint8(subject.samples(sampler)[:PICTURED]).numpy()
        else:
            metrics += [metric.missing(problem) for metric in OF_SAMPLES[sampler]]
    train = subject.context.train.features
    floor = (
        FRECHET_FLOOR.measured(frechet_distance(train, real.features), n=len(train))
        if len(train) >= 2
        else FRECHET_FLOOR.missing("fewer than 2 train images")
    )
    return Measurement((*metrics, floor), arrays)


def _why_unusable(subject: Subject, sampler: str) -> str | None:
    if not subject.can_decode:
        return NO_DECODER
    if not subject.samples(sampler).isfinite().all():
        return "samples hold values that are not finite"
    return None


def _measure(sampler: str, samples: JudgedImages, subject: Subject) -> list[Metric]:
    """The metrics of `OF_SAMPLES`, in order. Their errors are over sets of samples, given the test images.

    Recall and coverage have none: both sets shape the balls they count in.
    """
    frechet, precision, recall, density, coverage, class_kl = OF_SAMPLES[sampler]
    context, real, n = subject.context, subject.context.test, len(samples.features)
    real_moments = Moments.of(real.features)
    found = neighbourhoods(real.features, samples.features, real_distances=context.test_distances)
    inside = int(found.precise.sum())
    kl_of = (samples.predictions, real.predictions, samples.probabilities.shape[1])
    return [
        frechet.measured(
            frechet_between(real_moments, Moments.of(samples.features)),
            se=frechet_standard_error(real_moments, samples.features),
            n=n,
        ),
        precision.measured(inside / n, se=binomial_se(inside, n), n=n),
        recall.measured(found.recalled.double().mean().item(), n=n),
        density.measured(found.density.mean().item(), se=standard_error(found.density), n=n),
        coverage.measured(found.covered.double().mean().item(), n=n),
        class_kl.measured(class_histogram_kl(*kl_of), se=class_kl_standard_error(*kl_of), n=n),
    ]
