"""The variational autoencoder with a β-weighted KL term and an explicit likelihood."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor

from latentbench.models.backbones import ImageShape
from latentbench.models.families.ae import GradientAutoencoder
from latentbench.models.family import FAMILIES
from latentbench.models.objectives import (
    bernoulli_log_likelihood,
    gaussian_log_likelihood,
    kl_standard_normal,
)
from latentbench.models.protocols import Posterior
from latentbench.models.spec import ModelSpec

SIGMA_OF_SUMMED_SQUARES = 0.5**0.5
"""With σ² = ½ the Gaussian's negative log-likelihood is the summed squared error, up to a constant."""


@FAMILIES.register("vae")
class VAE(GradientAutoencoder):
    """−ln p(x | z) + β KL(q(z | x) ‖ N(0, I)), in nats per image; β = 1 is the negative ELBO.

    The likelihood is a Gaussian of fixed σ around the decoded image, or a Bernoulli over pixels that
    are drawn black or white with the grey value as probability, afresh at every step.
    """

    codes_per_dim: ClassVar[int] = 2
    settings: ClassVar[dict[str, object]] = {
        "backbone": "mlp",
        "hidden": None,
        "beta": 1.0,
        "likelihood": "gaussian",
        "sigma": SIGMA_OF_SUMMED_SQUARES,
    }
    paper: ClassVar[str] = "Kingma & Welling 2014, arXiv:1312.6114; β: Higgins et al. 2017"

    def __init__(self, spec: ModelSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.likelihood = str(spec.likelihood)
        self.beta = float(1.0 if spec.beta is None else spec.beta)
        self.sigma = float(spec.sigma or SIGMA_OF_SUMMED_SQUARES)

    def encode(self, x: Tensor) -> Posterior:
        """Images in [0, 1] `[B, C, H, W]` to q(z | x), mean and log-variance `[B, D]`."""
        return Posterior(*self._moments(x))

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.to_code(self.encoder(x)).float().chunk(2, dim=1)
        return mean, log_var

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """ln p(x | z), nats, `[B]`; for a Bernoulli `x` must be binary."""
        logits = self.decoder(z).float()
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(x, logits)
        return gaussian_log_likelihood(x, torch.sigmoid(logits), self.sigma)

    def loss(self, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        """The β-weighted negative ELBO, its reconstruction term and its KL term, nats per image."""
        if self.likelihood == "bernoulli":
            x = torch.bernoulli(x, generator=noise)
        mean, log_var = self._moments(x)
        z = Posterior(mean, log_var).rsample(generator=noise)
        reconstruction = -self.log_likelihood(x, z).mean()
        kl = kl_standard_normal(mean, log_var).sum(1).mean()
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}
