"""The β-TCVAE splits the KL term in three parts and weights the total correlation."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from latentbench.models.families.variational.vae import GaussianCodeAutoencoder, GaussianCodeSpec
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import TrainingStep
from latentbench.models.training.objectives import kl_standard_normal

LOG_TWO_PI = math.log(2 * math.pi)

Weight = Annotated[float, Field(ge=0)]


class BetaTCSpec(GaussianCodeSpec):
    """Settings of a β-TCVAE; at α = β = γ = 1 its objective is the VAE's, with a sampled KL term."""

    alpha: Weight = 1.0
    """Weight of the mutual information between image and code."""
    beta: Weight = 6.0
    """Weight of the total correlation of the code; the default is that of the authors' code."""
    gamma: Weight = 1.0
    """Weight of the KL of each dimension's aggregate posterior to N(0, 1), summed over dimensions."""


@FAMILIES.register("betatc")
class BetaTCVAE(GaussianCodeAutoencoder[BetaTCSpec]):
    """β-TCVAE: −ln p(x | z) + α I(x; z) + β TC(z) + γ Σ_d KL(q(z_d) ‖ N(0, 1)), nats per image.

    TC(z) = KL(q(z) ‖ Π_d q(z_d)), with q(z) the aggregate posterior; section 3 of the paper. The three parts
    are estimated from a batch by minibatch-weighted sampling, up to the constants stated in `kl_parts`.
    """

    Spec: ClassVar[type[ModelSpec]] = BetaTCSpec
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim", "alpha", "beta", "gamma")
    paper: ClassVar[str] = "Chen et al. 2018, arXiv:1802.04942"
    display: ClassVar[Display] = Display(70, "#e69f00", "X")

    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    @override
    @classmethod
    def values_of_a_step(cls, spec: BetaTCSpec, batch_size: int, image_shape: ImageShape) -> int:
        """Add each code's density under each posterior of the batch, four times."""
        pairs = 4 * batch_size**2 * spec.latent_dim
        return pairs + super().values_of_a_step(spec, batch_size, image_shape)

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the weighted sum and its parts before weighting; `kl` is the closed form, as in a VAE."""
        x = self.observed(x, step)
        posterior = self.encode(x)
        assert posterior.log_var is not None
        z = posterior.at(step.draws["code"])
        reconstruction = -self.log_likelihood(x, z).mean()
        information, correlation, dimensions = kl_parts(
            z, posterior.mean, posterior.log_var, examples=step.examples, in_use=self.in_use
        )
        kl = kl_standard_normal(posterior.mean, posterior.log_var).mean(0)
        penalty = self.alpha * information + self.beta * correlation + self.gamma * dimensions
        return {
            "loss": reconstruction + penalty,
            "reconstruction": reconstruction,
            "mutual_information": information,
            "total_correlation": correlation,
            "dimension_kl": dimensions,
            "kl": kl.sum(),
            "kl_per_dim": kl,
        }


def kl_parts(
    z: Tensor, mean: Tensor, log_var: Tensor, *, examples: int, in_use: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mutual information, total correlation and dimension-wise KL of a batch, nats, scalars.

    `z` holds one draw from each N(mean, diag exp(log_var)); all are `[B, D]`; `examples` is the size N of
    the data. With minibatch-weighted sampling, ln q(z) ≈ ln (1 / NB) Σⱼ q(z | xⱼ), likewise in each
    dimension (the paper's appendix C.1). This is the batch's own mixture of posteriors up to constants: N
    adds ln N, (D − 1) ln N and −D ln N to the three parts and changes no gradient. For any N they sum to the
    batch mean of ln q(z | x) − ln p(z). Dimensions where `in_use` `[D]` is 0 are left out.
    """
    difference = z.unsqueeze(1) - mean
    log_q = -0.5 * (difference.square() * (-log_var).exp() + log_var + LOG_TWO_PI) * in_use  # [B, B, D]
    log_q_z_given_x = log_q.diagonal().sum(0)
    log_p = (-0.5 * (z.square() + LOG_TWO_PI) * in_use).sum(1)
    log_drawn_from = math.log(examples * len(z))
    log_q_z = torch.logsumexp(log_q.sum(2), 1) - log_drawn_from
    log_product = ((torch.logsumexp(log_q, 1) - log_drawn_from) * in_use).sum(1)
    return (
        (log_q_z_given_x - log_q_z).mean(),
        (log_q_z - log_product).mean(),
        (log_product - log_p).mean(),
    )
