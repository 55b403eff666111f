"""Mean and covariance of a set of points, and what follows from them: whitening and a fitted Gaussian.

All are in float64, for points of any precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

NO_VARIANCE = 1e-10
"""A direction with less than this share of the largest variance counts as constant."""
AT_ONCE = 2_000_000
"""Values that a block of `columns` has at most: 16 MB in float64."""


def columns(count: int, width: int) -> list[slice]:
    """Split `width` columns of `count` rows into blocks, so that no copy of all of them is ever made.

    >>> columns(1000, 16), columns(1_000_000, 3)
    ([slice(0, 16, None)], [slice(0, 2, None), slice(2, 3, None)])
    """
    step = max(1, AT_ONCE // max(1, count))
    return [slice(start, min(start + step, width)) for start in range(0, width, step)]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean `[D]` and scatter Σ (x − mean)(x − mean)ᵀ `[D, D]` of a set, float64.

    The sum of two `Moments` is that of the union of two disjoint sets.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, points: Tensor) -> Moments:
        """Compute the moments of points `[N, D]`."""
        double = points.double()
        centred = double - double.mean(0)
        return cls(len(double), double.mean(0), centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        """Combine two disjoint sets by Chan, Golub & LeVeque 1983 (doi:10.1080/00031305.1983.10483115)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(
            count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between
        )

    @property
    def covariance(self) -> Tensor:
        """The sample covariance, over count − 1; zero for a single point."""
        return self.scatter / max(self.count - 1, 1)

    @cached_property
    def root(self) -> Tensor:
        """The covariance's symmetric square root `[D, D]`."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
        return root

    def draws(self, noise: Tensor) -> Tensor:
        """Turn standard normal `noise` `[..., D]` into draws of the Gaussian with these moments, float64."""
        return self.mean + noise.double() @ self.root


@dataclass(frozen=True, eq=False)
class Whitening:
    """The linear map, in both directions, to coordinates in which given points have mean 0 and covariance I.

    Directions in which the points do not vary are dropped: R of D dimensions remain, possibly none.
    """

    mean: Tensor
    forward: Tensor
    backward: Tensor

    @classmethod
    def of(cls, points: Tensor) -> Whitening:
        """Fit to points `[N, D]`."""
        moments = Moments.of(points)
        values, vectors = torch.linalg.eigh(moments.covariance)
        varies = (values > NO_VARIANCE * values[-1]) & (values > 0)
        deviations, vectors = values[varies].sqrt(), vectors[:, varies]
        return cls(moments.mean, vectors / deviations, (vectors * deviations).T)

    def __call__(self, z: Tensor) -> Tensor:
        """Map points `[..., D]` to float64 `[..., R]`."""
        return (z.double() - self.mean) @ self.forward

    def undo(self, white: Tensor) -> Tensor:
        """Map white points `[..., R]` to float64 `[..., D]`."""
        return self.mean + white.double() @ self.backward


def moment_matched(codes: Tensor, noise: Tensor) -> Tensor:
    """Turn standard normal `noise` `[M, D]` into draws of N(mean(codes), cov(codes)); codes are `[N, D]`.

    The covariance's symmetric square root is used, so a dimension without variance stays constant.
    """
    return Moments.of(codes).draws(noise).to(codes.dtype)
