"""Generative metrics: set distances and neighbourhood scores, functions of two sets of features.

A set distance depends on the number of points and on the features, so it is only comparable with
one for the same number in the same features. Features are `[N, D]` of real images and `[M, D]` of
samples, of any float precision; sums and distances are computed in float64. Every function raises ValueError
for mismatched widths, for too few points, and for values that are not finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.analysis.statistics.moments import Moments
from latentbench.analysis.statistics.neighbours import Balls, distances, nearest, within

MANIFOLD_K, DENSITY_K = 3, 5
CHUNK = 500
WIDEST_CUBE = 128
"""Features of more dimensions than this have so many products of three that pairs are cheaper."""


# Distances between two sets of features


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Compute the Fréchet distance ‖μ_a − μ_b‖² + tr(S_a + S_b − 2 (S_a S_b)^½) of two sets of features.

    Features are `[N, D]` and `[M, D]`. The squared Wasserstein-2 distance of the fitted Gaussians (Dowson &
    Landau 1982), used on image features by Heusel et al. 2017 (arXiv:1706.08500); computed in float64;
    non-negative, zero for equal moments. It is biased upwards, by about D (D + 5) / 2n for two sets of n from
    one Gaussian: compare values of the same n only. Raises ValueError below two points, for mismatched widths
    and for values that are not finite.
    """
    _check(a, b, smallest=2)
    return frechet_between(Moments.of(a), Moments.of(b))


def frechet_between(a: Moments, b: Moments) -> float:
    """Compute the Fréchet distance of two sets from their moments."""
    # tr (S_a S_b)^½ = tr (S_a^½ S_b S_a^½)^½, of a symmetric matrix: no general matrix root is needed.
    cross = torch.linalg.eigvalsh(a.root @ b.covariance @ a.root).clamp_min(0).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float((a.mean - b.mean).square().sum() + spread), 0.0)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Compute the squared maximum mean discrepancy under the kernel (x·y / D + 1)³, unbiased over all pairs.

    Features are `[N, D]` and `[M, D]`. The kernel distance of Bińkowski et al. 2018 (arXiv:1801.01401),
    without its random subsets: exact and deterministic, in float64. Its expectation is zero for two sets
    of one distribution, so it may be negative. The kernel depends on where 0 is: features far from it, such
    as at 10⁴, leave large sums that cancel, and a distance with few correct digits. The cost is linear in
    the number of points up to 128 dimensions. Raises ValueError below two points, for mismatched widths and
    for values that are not finite.
    """
    _check(a, b, smallest=2)
    if a.shape[1] > WIDEST_CUBE:
        return _kernel_by_pairs(a.double(), b.double())
    return kernel_between(Cubes.of(a), Cubes.of(b))


@dataclass(frozen=True, eq=False)
class Cubes:
    """A summary of a set for the kernel: its count, the sum of embeddings, and that of squared norms.

    With x' = [x / √D, 1] the kernel is (x'·y')³, an inner product of all products of three coordinates of
    x'. So a sum over all pairs of two sets is the inner product of two sums.
    """

    count: int
    total: Tensor
    """Σ x'ᵢ x'ⱼ x'ₖ, weighted so that an inner product counts every triple: `[(D + 1)(D + 2) / 2, D + 1]`."""
    diagonal: float
    """Σ k(x, x)."""

    @classmethod
    def of(cls, points: Tensor) -> Cubes:
        """Summarise points `[N, D]`."""
        x = F.pad(points.double() / math.sqrt(points.shape[1]), (0, 1), value=1.0)
        i, j = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
        # A pair i < j stands for (j, i) too; √2 in either set makes 2 of their product.
        weight = torch.where(i == j, 1.0, 2.0).double().sqrt()
        total = torch.zeros(len(i), x.shape[1], dtype=torch.float64, device=x.device)
        for part in x.T.contiguous().split(CHUNK, dim=1):
            total += (part[i] * part[j]) @ part.T
        total *= weight.unsqueeze(1)
        return cls(len(x), total, x.square().sum(1).pow(3).sum().item())

    def __add__(self, other: Cubes) -> Cubes:
        """Return the summary of the union of two disjoint sets."""
        return Cubes(self.count + other.count, self.total + other.total, self.diagonal + other.diagonal)

    @property
    def within(self) -> float:
        """Return the mean kernel of two different points of the set."""
        pairs = self.count * (self.count - 1)
        return float(self.total.square().sum() - self.diagonal) / pairs


def kernel_between(a: Cubes, b: Cubes) -> float:
    """Compute the kernel distance of two sets from their cubes."""
    across = (a.total * b.total).sum().item() / (a.count * b.count)
    return a.within + b.within - 2 * across


def _kernel_by_pairs(a: Tensor, b: Tensor) -> float:
    within_a = (_kernel_sum(a, a) - _kernel_diagonal(a)) / (len(a) * (len(a) - 1))
    within_b = (_kernel_sum(b, b) - _kernel_diagonal(b)) / (len(b) * (len(b) - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    return math.fsum(((rows @ b.T) / b.shape[1] + 1).pow(3).sum().item() for rows in a.split(CHUNK))


def _kernel_diagonal(a: Tensor) -> float:
    return (a.square().mean(1) + 1).pow(3).sum().item()


# Neighbourhoods: is a sample where real images are, and is a real image where samples are?


@dataclass(frozen=True)
class Neighbourhoods:
    """The points that lie within k-nearest-neighbour balls of the other set, which are open and Euclidean.

    `precise` bool `[M]`: the sample lies within some real ball. `recalled` bool `[N]`: the real image
    lies within some sample's ball. Both at k = `MANIFOLD_K` by default. `density` `[M]`: real balls
    that contain the sample, over k. `covered` bool `[N]`: the real image's ball contains some sample. Both at
    k = `DENSITY_K` by default.
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

    `real_distances` are `nearest(real.double(), real.double(), k, exclude_self=True)[0]` if they are
    already known, for the larger k. Memory O(chunk · N). Raises ValueError for fewer than k + 1 points
    in a set that gets balls, for mismatched widths and for values that are not finite.
    """
    _check(real, fake, smallest=1 + manifold_k)
    _check(real, real, smallest=1 + max(manifold_k, density_k))
    real, fake = real.double(), fake.double()
    if real_distances is None:
        real_distances = nearest(real, real, max(manifold_k, density_k), exclude_self=True)[0]
    fake_distances = nearest(fake, fake, manifold_k, exclude_self=True)[0]
    manifold_radius, density_radius = real_distances[:, manifold_k - 1], real_distances[:, density_k - 1]
    precise, covered = (torch.zeros(len(each), dtype=torch.bool, device=each.device) for each in (fake, real))
    density = torch.zeros(len(fake), dtype=torch.float64, device=fake.device)
    widest = Balls(real, torch.maximum(manifold_radius, density_radius))
    for sample, ball in widest.members(fake):
        apart = distances(fake, real, sample, ball)
        precise[sample[within(apart, manifold_radius[ball])]] = True
        dense = within(apart, density_radius[ball])
        density += sample[dense].bincount(minlength=len(fake)) / density_k
        covered[ball[dense]] = True
    recalled = Balls(fake, fake_distances[:, -1]).hold(real)
    return Neighbourhoods(precise, recalled, density, covered)


def precision_recall(real: Tensor, fake: Tensor, *, k: int = MANIFOLD_K) -> tuple[float, float]:
    """Compute the shares of samples in real k-NN balls (precision) and of real images in samples' (recall).

    Features are `[N, D]` of real images and `[M, D]` of samples. A ball reaches to the k-th nearest neighbour
    in its own set. Kynkäänniemi et al. 2019 (arXiv:1904.06991); equal to the package prdc 0.2. Each is in
    [0, 1], higher is better. Raises ValueError for fewer than k + 1 points in either set, for mismatched
    widths and for values that are not finite.
    """
    found = neighbourhoods(real, fake, manifold_k=k, density_k=k)
    return found.precise.double().mean().item(), found.recalled.double().mean().item()


def density_coverage(real: Tensor, fake: Tensor, *, k: int = DENSITY_K) -> tuple[float, float]:
    """Compute density and coverage: real balls per sample over k, and the share of real balls with a sample.

    Features are `[N, D]` of real images and `[M, D]` of samples; a ball reaches to the k-th nearest
    neighbour among the real images. Naeem et al. 2020 (arXiv:2002.09797); equal to the package prdc 0.2.
    Density is in [0, N / k] and about 1 for samples of the real distribution; coverage is in [0, 1].
    Higher is better. Raises ValueError for fewer than k + 1 real images, for mismatched widths and for
    values that are not finite.
    """
    found = neighbourhoods(real, fake, manifold_k=k, density_k=k)
    return found.density.mean().item(), found.covered.double().mean().item()


def class_histogram_kl(samples: Tensor, real: Tensor, classes: int) -> float:
    """Compute the KL divergence of the samples' classes from the real images' classes, in nats, in [0, ∞].

    `samples` and `real` are int64 classes `[M]` and `[N]`.

    It is zero for equal shares, ln K if all samples fall into one of K equally frequent classes, and infinite
    if samples fall into a class without real images. Raises ValueError for a class outside 0 …
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
    """Compute the standard error of `class_histogram_kl` over sets of samples, the real set being given.

    It is of first order in the shares (delta method): too small if the shares are nearly equal. None if
    the divergence is infinite.
    """
    p, q = (_shares(labels, classes) for labels in (samples, real))
    surprise = torch.where(p > 0, (p / q).log(), 0.0)
    variance = (p * surprise.square()).sum() - (p * surprise).sum().square()
    return math.sqrt(max(variance.item(), 0.0) / len(samples)) if variance.isfinite() else None


# Diversity and memorisation of the samples


def vendi_score(features: Tensor) -> float:
    """Compute the effective number of different points: exp of the entropy of the eigenvalues of K / N.

    K holds the cosine similarities of features `[N, D]`. Friedman & Dieng 2023 (arXiv:2210.02410); equal to
    the package vendi-score. It is 1 if all features point the same way, and at most min(N, D). K / N and the
    D × D matrix of the features have the same eigenvalues, so the cost is linear in N. Raises ValueError
    for a feature of length 0 and for values that are not finite.
    """
    _check(features, features, smallest=1)
    lengths = features.double().norm(dim=1, keepdim=True)
    if not (lengths > 0).all():
        raise ValueError("a feature of length 0 has no direction")
    unit = features.double() / lengths
    similarities = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T
    shares = torch.linalg.eigvalsh(similarities / len(unit)).clamp_min(0)
    return math.exp(torch.special.entr(shares).sum().item())


def authenticity(real: Tensor, fake: Tensor, *, real_distances: Tensor | None = None) -> Tensor:
    """Find the samples farther from their nearest real image than it is from its nearest other, bool `[M]`.

    Features are `[N, D]` of real images and `[M, D]` of samples. Alaa et al. 2022 (arXiv:2102.08921). The
    share of such samples is a diagnostic of memorisation if `real` are the train images: copies score 0,
    new images of the same distribution a little over a half, and useless samples up to 1.
    `real_distances` are `nearest(real, real, 1, exclude_self=True)[0]`, if they are known already. Raises
    ValueError below two real images, for mismatched widths and for values that are not finite.
    """
    _check(real, fake, smallest=1)
    _check(real, real, smallest=2)
    real, fake = real.double(), fake.double()
    if real_distances is None:
        real_distances = nearest(real, real, 1, exclude_self=True)[0]
    apart, closest = nearest(fake, real, 1)
    return (apart > real_distances[closest[:, 0], :1]).squeeze(1)


# Input


def _check(a: Tensor, b: Tensor, *, smallest: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features [N, D] and [M, D] must agree in D, got {list(a.shape)} and {list(b.shape)}"
        )
    if min(len(a), len(b)) < smallest:
        raise ValueError(f"at least {smallest} points are needed on either side, got {len(a)} and {len(b)}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold values that are not finite")
