"""The importance-weighted autoencoder: a VAE with a tighter bound from several codes per image."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from latentbench.models.families.autoencoders.gradient_autoencoder import Count
from latentbench.models.families.variational.vae import GaussianCodeAutoencoder, GaussianCodeSpec
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep
from latentbench.models.training.objectives import kl_standard_normal


class IWAESpec(GaussianCodeSpec):
    """Settings of an importance-weighted autoencoder."""

    always_labelled: ClassVar[tuple[str, ...]] = ("k",)

    k: Count = 5
    """The number of codes drawn per image; 1 is a VAE with a sampled KL term."""


@FAMILIES.register("iwae")
class IWAE(GaussianCodeAutoencoder[IWAESpec]):
    """Importance-weighted autoencoder: −ln (1/k) Σᵢ wᵢ, wᵢ = p(x | zᵢ) p(zᵢ) / q(zᵢ | x), nats per image.

    zᵢ ~ q(z | x) independently, equation 8 of the paper. The expectation is an upper bound on −ln p(x) that
    falls as k rises; with k = 1 it is the negative ELBO. A step costs about k passes through the decoder.
    """

    Spec: ClassVar[type[ModelSpec]] = IWAESpec
    paper: ClassVar[str] = "Burda et al. 2016, arXiv:1509.00519"
    display: ClassVar[Display] = Display(60, "#56b4e9", "d")

    def __init__(self, spec: IWAESpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.k = spec.k

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Draw what a VAE draws, with noise for k codes: `[k, B, D]`."""
        return {**super().draws(batch_size), "code": Draw("normal", (self.k, batch_size, self.width))}

    def log_weights(self, x: Tensor, mean: Tensor, log_var: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln w and ln p(x | z), nats, `[k, B]` each, for codes mean + exp(½ log_var) · noise.

        ln p(z) − ln q(z | x) = ½ Σ_d (ε_d² + ln σ_d² − z_d²). A padded dimension is left out: its variance
        would be rewarded, and no noise would ever penalise it.
        """
        z = mean + noise * (0.5 * log_var).exp()
        images = x.unsqueeze(0).expand(len(z), *x.shape).flatten(0, 1)
        log_likelihood = self.log_likelihood(images, z.flatten(0, 1)).unflatten(0, z.shape[:2])
        log_ratio = 0.5 * ((noise.square() + log_var - z.square()) * self.in_use).sum(2)
        return log_likelihood + log_ratio, log_likelihood

    @override
    @classmethod
    def values_of_a_step(cls, spec: IWAESpec, batch_size: int, image_shape: ImageShape) -> int:
        return spec.k * super().values_of_a_step(spec, batch_size, image_shape)

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the negative bound, mean −ln p(x | z) over the codes and the KL term, nats per image."""
        x = self.observed(x, step)
        posterior = self.encode(x)
        assert posterior.log_var is not None
        log_w, log_likelihood = self.log_weights(x, posterior.mean, posterior.log_var, step.draws["code"])
        bound = torch.logsumexp(log_w, 0) - math.log(self.k)
        kl = kl_standard_normal(posterior.mean, posterior.log_var).mean(0)
        return {
            "loss": -bound.mean(),
            "reconstruction": -log_likelihood.mean(),
            "kl": kl.sum(),
            "kl_per_dim": kl,
        }
