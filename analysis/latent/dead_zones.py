"""Dead zones: how much of a reference density lies where codes are missing.

To sample from an autoencoder one draws from a simple density, the reference: the prior N(0, I), or the
moment Gaussian with the codes' own mean and covariance. Where it has mass but codes are missing, in a
dead zone, the decoder was never trained. From about 8 dimensions up small holes escape the measure, and
the same hole counts for less the wider the code is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from latentbench.analysis.statistics.moments import Whitening
from latentbench.analysis.statistics.neighbours import nearest
from latentbench.models.seeds import generator

K = 5
ALPHA = 0.05


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    se: float


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


# Codes without holes


FILLED_BELOW = 0.1
"""A bin with less than this share of the reference's density is a hole if there are fuller ones around."""
BINS = 40


def without_holes(codes: Tensor, reference: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes that look like the given ones and have no holes, `[N, D]` each: what a gap is compared with.

    The first have the given codes' distances from the mean in white coordinates, and any direction; the
    second their coordinates, each permuted for itself. Where a range of distances, or of one coordinate,
    is nearly empty and there are codes on the far side of it, it is filled. Codes of a disc, a cube or a
    heavy-tailed density are like one of the two, so what they lack under a Gaussian is no gap.
    """
    draws = generator(seed, "codes without holes")
    whitening = Whitening.of(reference)
    white, white_reference = whitening(codes), whitening(reference)
    radius = _filled(white.norm(dim=1), white_reference.norm(dim=1), draws, from_zero=True)
    direction = F.normalize(torch.randn(white.shape, generator=draws, dtype=white.dtype), dim=1)
    same_radius = whitening.undo(direction * radius.unsqueeze(1)).to(codes.dtype)
    columns = zip(codes.T.contiguous(), reference.T.contiguous(), strict=True)
    return same_radius, torch.stack([_filled(ours, theirs, draws) for ours, theirs in columns], dim=1)


def _filled(values: Tensor, reference: Tensor, draws: Generator, *, from_zero: bool = False) -> Tensor:
    """The values `[N]` in a new order, and holes in their range filled up with values of the reference."""
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
    """What codes without holes, but else like the given ones `[N, D]`, show next to the same reference."""
    nulls = without_holes(codes, reference, seed=seed)
    return tuple(Gap.of(null, reference, seed=seed) for null in nulls)


def beyond_null(gap: Gap, nulls: tuple[Gap, ...]) -> Estimate:
    """The dead-zone mass of a gap beyond the largest that codes without holes show: (m − m₀) / (1 − m₀).

    0 where the null explains all of it. The standard error is that of both.
    """
    found = gap.dead_zone()
    null = max((each.dead_zone() for each in nulls), key=lambda estimate: estimate.value)
    explained = min(max(null.value, 0.0), found.value)
    return Estimate(
        (found.value - explained) / (1 - explained) if explained < 1 else 0.0,
        math.hypot(found.se, null.se) / max(1 - explained, 0.05),
    )
