"""Dead zones: the share of a reference density that lies where codes are missing.

To sample from an autoencoder, codes are drawn from a simple density, the reference: the prior N(0, I), or the
moment Gaussian with the codes' own mean and covariance. A dead zone is a region where it has mass but codes
are missing, so that the decoder was never trained there. From about 8 dimensions up, small holes escape the
measure, and the same hole counts for less if the code is wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from latentbench.analysis.statistics.intervals import binomial_se
from latentbench.analysis.statistics.moments import Moments, Whitening
from latentbench.analysis.statistics.neighbours import nearest
from latentbench.models.seeds import generator

K = 5
ALPHA = 0.05


class MassEstimate(NamedTuple):
    """A number and its standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class Sparsity:
    """The sparsity of codes near a point, relative to the density of the reference there.

    It is the distance to the k-th nearest code over the distance to the k-th nearest of as many draws; its
    D-th power estimates the ratio of the densities. The distance to codes alone would not be enough: if codes
    have a long tail, as those of autoencoders do, a hole in their middle is no emptier than the tail, and
    would count as inhabited.
    """

    codes: Tensor
    draws: Tensor
    k: int

    def __call__(self, z: Tensor) -> Tensor:
        """Compute the sparsity at points `[M, D]`: `[M]`, in [0, ∞]; about 1 if both are equally dense."""
        to_code, to_draw = (nearest(z, points, self.k)[0][:, -1] for points in (self.codes, self.draws))
        return torch.where(to_code > 0, to_code / to_draw, 0.0)


@dataclass(frozen=True)
class Gap:
    """Sparsity at held-out codes and at held-out draws."""

    sparsity: Sparsity
    at_codes: Tensor
    at_draws: Tensor

    @classmethod
    def of(cls, codes: Tensor, reference: Tensor, *, k: int = K, seed: int = 0) -> Gap:
        """Measure codes `[N, D]` and draws `[M, D]`, each split at random into halves for fit and evaluation.

        Raises ValueError if half of either is fewer than k.
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

    def dead_zone(self, alpha: float = ALPHA) -> MassEstimate:
        """The dead-zone mass, as `dead_zone_mass` returns it."""
        return exceedance(self.at_codes, self.at_draws, alpha)

    def leak(self, alpha: float = ALPHA) -> MassEstimate:
        """The leak, as `leak` returns it."""
        return exceedance(1 / self.at_draws, 1 / self.at_codes, alpha)

    def is_dead(self, z: Tensor, alpha: float = ALPHA) -> Tensor:
        """Find the points `[M, D]` that are in a dead zone, bool `[M]`."""
        return self.sparsity(z) > _threshold(self.at_codes, alpha)[0]


def dead_zone_mass(
    codes: Tensor, reference: Tensor, *, k: int = K, alpha: float = ALPHA, seed: int = 0
) -> MassEstimate:
    """Estimate the share of the reference that lies where codes are missing, beyond that of new codes.

    It is [P_{z ∼ p}(s > τ) − α] / (1 − α) for codes `[N, D]` and draws of the reference p `[M, D]`, with s
    the `Sparsity` and τ its upper α-quantile at new codes. Split-conformal (Vovk, Gammerman & Shafer 2005):
    0 in expectation if codes follow p, for every N and D; 1 if no draw is ever near a code, so also for
    codes that take only a few values. It depends on N: compare at equal N only. The standard
    error covers the evaluation and the calibration, not the fit. Raises ValueError for fewer than 2 k
    codes or draws, or fewer than 1 / α for the calibration.
    """
    return Gap.of(codes, reference, k=k, seed=seed).dead_zone(alpha)


def leak(
    codes: Tensor, reference: Tensor, *, k: int = K, alpha: float = ALPHA, seed: int = 0
) -> MassEstimate:
    """Estimate the share of the codes where the reference is missing: dead-zone mass with swapped roles.

    Codes are `[N, D]`, draws of the reference `[M, D]`. Range and source are those of
    `dead_zone_mass`. Raises ValueError as it does.
    """
    return Gap.of(codes, reference, k=k, seed=seed).leak(alpha)


def exceedance(calibration: Tensor, evaluation: Tensor, alpha: float = ALPHA) -> MassEstimate:
    """Compute [P(evaluation > τ) − α] / (1 − α), τ being the upper α-quantile of the calibration; both 1-D.

    It is 0 in expectation if both come from one continuous distribution. Raises ValueError for fewer than
    1 / α calibration values.
    """
    threshold, level, bracket = _threshold(calibration, alpha)
    hits, n = int((evaluation > threshold).sum()), len(evaluation)
    fewer, more = (_share(evaluation > bound) for bound in bracket)
    error = math.hypot(binomial_se(hits, n), (more - fewer) / 2)
    return MassEstimate((hits / n - level) / (1 - level), error / (1 - level))


def _threshold(calibration: Tensor, alpha: float) -> tuple[float, float, tuple[float, float]]:
    """Return the threshold, the exact probability that a new value is above it, and its error.

    The threshold is the value at a high rank of the calibration. Its error is given by the values at the
    ranks one standard deviation of that probability below and above.
    """
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


# Codes without holes


FILLED_BELOW = 0.1
"""A bin with less than this share of the reference's density is a hole if there are fuller ones around it."""
BINS = 40


def without_holes(codes: Tensor, reference: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Make two sets of codes like the given ones but without holes, `[N, D]`: the null for a gap.

    The first set has the given codes' distances from the mean in white coordinates, in random directions. The
    second has the values of each of their coordinates and, by a Gaussian copula, the rank correlations
    between them. If a range of distances, or of one coordinate, is nearly empty and there are codes on its
    far side, it is filled. Codes of a disc, a cube or a heavy-tailed density resemble one of the two sets, so
    their difference from a Gaussian is no gap.
    """
    draws = generator(seed, "codes without holes")
    whitening = Whitening.of(reference)
    white, white_reference = whitening(codes), whitening(reference)
    radius = _filled(white.norm(dim=1), white_reference.norm(dim=1), draws, from_zero=True)
    direction = F.normalize(torch.randn(white.shape, generator=draws, dtype=white.dtype), dim=1)
    same_radius = whitening.undo(direction * radius.unsqueeze(1)).to(codes.dtype)
    columns = zip(codes.T.contiguous(), reference.T.contiguous(), strict=True)
    filled = torch.stack([_filled(ours, theirs, draws) for ours, theirs in columns], dim=1)
    noise = torch.randn(codes.shape, generator=draws, dtype=torch.float64)
    ranks = _ranks(Moments.of(_normal_scores(codes)).draws(noise))
    return same_radius, filled.sort(dim=0).values.gather(0, ranks)


def _ranks(points: Tensor) -> Tensor:
    """Return the rank of each point in each coordinate `[N, D]`, from 0."""
    return points.argsort(dim=0).argsort(dim=0)


def _normal_scores(points: Tensor) -> Tensor:
    """Replace each coordinate by the normal quantiles of its ranks (van der Waerden's scores), float64."""
    scores: Tensor = torch.special.ndtri((_ranks(points).double() + 0.5) / len(points))
    return scores


def _filled(values: Tensor, reference: Tensor, draws: Generator, *, from_zero: bool = False) -> Tensor:
    """Return the values `[N]` in a new order, with holes in their range filled from the reference."""
    quantiles = torch.linspace(0, 1, BINS + 1, dtype=reference.dtype)[1:-1]
    edges = torch.quantile(reference, quantiles)
    of_values, of_reference = torch.searchsorted(edges, values), torch.searchsorted(edges, reference)
    shares = of_values.bincount(minlength=BINS).double() / len(values)
    expected = of_reference.bincount(minlength=BINS).double() / len(reference)
    ratio = shares / expected.clamp_min(1 / len(reference))
    full = (ratio >= FILLED_BELOW).nonzero().squeeze(1)
    holes = [
        index
        for index in (ratio < FILLED_BELOW).nonzero().squeeze(1).tolist()
        if (full > index).any() and (from_zero or (full < index).any())
    ]
    if not holes:
        return values[torch.randperm(len(values), generator=draws)]
    parts = [values[~torch.isin(of_values, torch.tensor(holes))]]
    for index in holes:
        around = [full[full > index][:1], full[full < index][-1:]]
        level = float(ratio[torch.cat(around)].min())
        pool = reference[of_reference == index]
        count = round(level * float(expected[index]) * len(values)) if len(pool) else 0
        parts.append(pool[torch.randint(max(len(pool), 1), (count,), generator=draws)])
    pooled = torch.cat(parts)
    return pooled[torch.randint(len(pooled), (len(values),), generator=draws)]


def null_gaps(codes: Tensor, reference: Tensor, *, seed: int = 0) -> tuple[Gap, ...]:
    """Measure the gaps of codes without holes but otherwise like the given ones, with the same reference."""
    nulls = without_holes(codes, reference, seed=seed)
    return tuple(Gap.of(null, reference, seed=seed) for null in nulls)


def beyond_null(gap: Gap, nulls: tuple[Gap, ...]) -> MassEstimate:
    """Return the dead-zone mass of a gap beyond the largest of codes without holes: (m − m₀) / (1 − m₀).

    It is 0 if the null explains all of it. The standard error includes that of both.
    """
    found = gap.dead_zone()
    null = max((each.dead_zone() for each in nulls), key=lambda estimate: estimate.value)
    explained = min(max(null.value, 0.0), found.value)
    return MassEstimate(
        (found.value - explained) / (1 - explained) if explained < 1 else 0.0,
        math.hypot(found.se, null.se) / max(1 - explained, 0.05),
    )
