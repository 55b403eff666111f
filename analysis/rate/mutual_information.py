"""Mutual information of image and noisy code, and the divergence of all codes from the prior; in nats.

The rate of a VAE is the sum of both: E KL(q(z | x) ‖ p) = I(x; z) + KL(q(z) ‖ p), q(z) being the mixture of
all posteriors (Hoffman & Johnson 2016, "ELBO surgery"). The mixture is only known from N images' posteriors,
with an error: with the code's own image among them the information is at most ln N and too low on average,
without it too high (Poole et al. 2019, arXiv:1905.06922). If the two agree there is a number, otherwise
there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.models.protocols import Posterior

CHUNK = 500
"""Codes whose densities are computed at once."""
AT_ONCE = 1_000_000
"""Values of the posteriors that they are computed from at once: all of 10,000 images of up to 100 values."""


@dataclass(frozen=True, eq=False)
class Information:
    """Two estimates for each of some codes, float64 `[M]` each, in nats.

    `information` is ln q(z | x) − ln q(z), `excess` ln q(z) − ln p(z): their means are I(x; z) and
    KL(q(z) ‖ p). Index 0 counts the code's own image in the mixture, index 1 leaves it out.
    """

    information: tuple[Tensor, Tensor]
    excess: tuple[Tensor, Tensor]

    @property
    def disagreement(self) -> float:
        """The difference of the two estimates of I(x; z), nats; infinite if one of them is."""
        return (self.information[1].mean() - self.information[0].mean()).item()


def information(posterior: Posterior, codes: Tensor) -> Information:
    """Estimate both from the posteriors of N images and one draw of each of the first M: `codes` `[M, D]`.

    Memory does not grow with N. Raises ValueError for a point posterior, fewer than two images, and more
    codes than images.
    """
    mean, log_var = posterior.mean, posterior.log_var
    if log_var is None:
        raise ValueError("a deterministic code has no information in nats")
    if not 1 <= len(codes) <= len(mean) or len(mean) < 2:
        raise ValueError(
            f"{len(codes)} codes of {len(mean)} images: needs at least 2 images, and at most one code of each"
        )
    count, at_once = len(mean), max(1, AT_ONCE // mean[0].numel())
    nothing = torch.full((len(codes),), -torch.inf, dtype=torch.float64)
    own, inside, outside = (nothing.clone() for _ in range(3))
    for first in range(0, count, at_once):
        density = _Densities.of(mean[first : first + at_once], log_var[first : first + at_once])
        for start in range(0, len(codes), CHUNK):
            part = slice(start, start + CHUNK)
            z = codes[part].double()
            logs = density(z)
            inside[part] = inside[part].logaddexp(logs.logsumexp(1))
            mine = torch.arange(start, start + len(z))
            mine = mine[(mine >= first) & (mine < first + at_once)]
            own[mine] = logs[mine - start, mine - first]
            logs[mine - start, mine - first] = -torch.inf
            outside[part] = outside[part].logaddexp(logs.logsumexp(1))
    prior = torch.cat([_log_prior(part.double()) for part in codes.split(CHUNK)])
    inside, outside = inside - math.log(count), outside - math.log(count - 1)
    return Information((own - inside, own - outside), (inside - prior, outside - prior))


def _log_prior(z: Tensor) -> Tensor:
    """Compute ln N(z; 0, I) of codes `[M, D]`."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


@dataclass(frozen=True, eq=False)
class _Densities:
    """ln q(z | x_n) of every pair: a quadratic form in z, by two matrix products."""

    precision: Tensor
    weighted: Tensor
    constant: Tensor

    @classmethod
    def of(cls, mean: Tensor, log_var: Tensor) -> _Densities:
        """Prepare the posteriors of some images, `[N, D]` each."""
        mean, log_var = mean.double(), log_var.double()
        precision = (-log_var).exp_()
        constant = mean.square().mul_(precision).add_(log_var).add_(math.log(2 * math.pi)).sum(1)
        return cls(precision, mean * precision, constant)

    def __call__(self, z: Tensor) -> Tensor:
        """Map codes `[M, D]` to `[M, N]`."""
        form = z.square() @ self.precision.T  # in place from here on: it has a number for every pair
        return form.sub_(2 * z @ self.weighted.T).add_(self.constant).mul_(-0.5)
