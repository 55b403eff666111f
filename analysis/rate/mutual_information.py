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

from latentbench.analysis.statistics.moments import columns
from latentbench.models.protocols import Posterior

CHUNK = 500


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

    Memory O(N). Raises ValueError for a point posterior, fewer than two images, and more codes than images.
    """
    mean, log_var = posterior.mean, posterior.log_var
    if log_var is None:
        raise ValueError("a deterministic code has no information in nats")
    if not 1 <= len(codes) <= len(mean) or len(mean) < 2:
        raise ValueError(f"{len(codes)} codes of {len(mean)} images: at least 2 images, and no more codes")
    density = _Densities(mean, log_var)
    count, z = len(mean), codes.double()
    own, inside, outside = (torch.empty(len(z), dtype=torch.float64) for _ in range(3))
    for start in range(0, len(z), CHUNK):
        rows = torch.arange(start, min(start + CHUNK, len(z)))
        logs = density(z[rows])
        own[rows] = logs[rows - start, rows]
        inside[rows] = logs.logsumexp(1) - math.log(count)
        logs[rows - start, rows] = -torch.inf
        outside[rows] = logs.logsumexp(1) - math.log(count - 1)
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    return Information((own - inside, own - outside), (inside - prior, outside - prior))


@dataclass(frozen=True, eq=False)
class _Densities:
    """ln q(z | x_n) of every pair: a quadratic form in z, by two matrix products per block of columns."""

    mean: Tensor
    log_var: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Map codes `[M, D]` to `[M, N]`."""
        form = torch.zeros(len(z), len(self.mean), dtype=torch.float64)
        for block in columns(*self.mean.shape):
            mean, log_var, own = self.mean[:, block].double(), self.log_var[:, block].double(), z[:, block]
            precision = (-log_var).exp_()
            constant = mean.square().mul_(precision).add_(log_var).add_(math.log(2 * math.pi)).sum(1)
            part = own.square() @ precision.T  # in place from here on: it has a number for every pair
            form += part.sub_(2 * own @ (mean * precision).T).add_(constant)
        return form.mul_(-0.5)
