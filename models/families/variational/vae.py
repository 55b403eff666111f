"""The variational autoencoder with a β-weighted KL term and an explicit likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.families.autoencoders.gradient_autoencoder import (
    AutoencoderSpec,
    GradientAutoencoder,
    SpatialSpec,
    Weight,
)
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep
from latentbench.models.training.objectives import (
    bernoulli_log_likelihood,
    gaussian_log_likelihood,
    kl_standard_normal,
)

SIGMA_OF_SUMMED_SQUARES = 0.5**0.5
"""With σ² = ½ the Gaussian's negative log-likelihood is the summed squared error, up to a constant."""
SMALLEST_VARIANCE = 1e-6
FINISHING_BATCH, FINISHING_VALUES = 1000, 2_000_000
"""Images that are reconstructed at once: 1,000, or as many as have two million values."""

DARKEST = 0.01
"""The bias of a pixel that is black in all images starts at this grey value, whose logit is finite."""

Share = Annotated[float, Field(ge=0, le=1)]


class GaussianCodeSpec(AutoencoderSpec):
    """Settings of a model with a Gaussian code and an explicit likelihood."""

    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    sigma: Annotated[float, Field(gt=0)] | Literal["learned", "optimal"] | None = None
    """Standard deviation of a Gaussian likelihood, in units of the pixel range [0, 1].

    `learned` is a parameter; `optimal` is the root mean squared error of each batch.
    """

    @model_validator(mode="before")
    @classmethod
    def _fill_in_sigma(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        if given.get("likelihood") == "bernoulli":
            if given.get("sigma") is not None:
                raise LatentbenchError("sigma belongs to the gaussian likelihood, not to bernoulli")
            return given
        return {**given, "sigma": given.get("sigma") or SIGMA_OF_SUMMED_SQUARES}

    @override
    def usual(self) -> Mapping[str, object]:
        return {**super().usual(), "sigma": SIGMA_OF_SUMMED_SQUARES}

    @override
    def loss_from_zero(self, loss: np.ndarray, image_shape: ImageShape) -> np.ndarray:
        """Return losses without the normalising constant of a Gaussian likelihood.

        If σ is not fixed there is no lowest loss: exp(2 loss / values) grows with the mean squared error.
        """
        values = math.prod(image_shape)
        if isinstance(self.sigma, float):
            return loss - values / 2 * math.log(2 * math.pi * self.sigma**2)
        with np.errstate(over="ignore"):  # the first steps of a training that nearly diverged
            return loss if self.sigma is None else np.exp(2 * loss / values)


class VAESpec(GaussianCodeSpec, SpatialSpec):
    """Settings of a VAE."""

    beta: Weight = 1.0
    """Weight of the KL term."""
    kl_warm_up: Share = 0.0
    """The fraction of training over which the weight (or the capacity) rises linearly from 0."""
    free_bits: Weight = 0.0
    """Nats that each dimension may carry without penalty, on average over a batch."""
    capacity: Weight | None = None
    """The target of the KL term, nats: the penalty is β |KL − capacity|."""


GaussianCodeSpecT = TypeVar("GaussianCodeSpecT", bound=GaussianCodeSpec)


class GaussianCodeAutoencoder(GradientAutoencoder[GaussianCodeSpecT]):
    """An autoencoder with q(z | x) = N(mean, diag exp(log_var)), prior N(0, I) and an explicit likelihood.

    The likelihood is a Gaussian of standard deviation σ around the decoded image, or a Bernoulli over
    pixels that are drawn black or white with the grey value as probability, anew at every step.
    """

    codes_per_dim: ClassVar[int] = 2
    sigma: Tensor
    in_use: Tensor

    def __init__(self, spec: GaussianCodeSpecT, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.likelihood = spec.likelihood
        # 1 for every dimension; in a stack, 0 for dimensions that pad a narrower member.
        self.register_buffer("in_use", torch.ones(spec.latent_dim), persistent=False)
        if spec.sigma == "learned":
            self.log_sigma = nn.Parameter(torch.tensor(math.log(SIGMA_OF_SUMMED_SQUARES)))
        elif spec.sigma == "optimal":
            self.register_buffer("sigma", torch.tensor(SIGMA_OF_SUMMED_SQUARES))
        elif spec.sigma is not None:
            self.register_buffer("sigma", torch.tensor(float(spec.sigma)), persistent=False)

    @override
    def encode(self, x: Tensor) -> Posterior:
        """Map images in [0, 1] `[B, C, H, W]` to q(z | x), mean and log-variance `[B, D]`."""
        mean, log_var = self.to_code(self.encoder(x)).float().unflatten(1, (-1, 2)).unbind(2)
        return Posterior(mean, log_var)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return ln p(x | z), nats, `[B]`; for a Bernoulli `x` must be binary."""
        logits = self.decoder(z).float()
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(x, logits)
        image = torch.sigmoid(logits)
        return gaussian_log_likelihood(x, image, self._sigma(x, image))

    def _sigma(self, x: Tensor, image: Tensor) -> Tensor:
        if self.spec.sigma == "learned":
            return self.log_sigma.exp()
        if self.spec.sigma == "optimal" and self.training:
            return (x - image).square().mean().clamp_min(SMALLEST_VARIANCE).sqrt()
        return self.sigma

    @override
    @torch.no_grad()
    def prepare(self, data: ImageData) -> None:
        """Start a Bernoulli decoder that has a bias per pixel at the mean image, as Burda et al. do.

        Otherwise the code first learns the mean image: the KL term spikes, and dimensions collapse. On
        binarised MNIST (2×200 units, 50 dimensions, 100 epochs, one seed) that cost 0.8 nats.
        """
        linear = [layer for layer in self.decoder.modules() if isinstance(layer, nn.Linear)]
        biases = [layer.bias for layer in linear if layer.out_features == math.prod(self.image_shape)]
        if self.likelihood == "bernoulli" and biases:
            biases[-1].copy_(_mean_image(data).clamp(DARKEST, 1 - DARKEST).logit().flatten())

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Draw the noise of the code, and that of the pixels for a Bernoulli."""
        shape = self.spec.grid_of(self.image_shape) or (self.spec.latent_dim,)
        code = {"code": Draw("normal", (batch_size, *shape))}
        if self.likelihood != "bernoulli":
            return code
        return {**code, "pixels": Draw("uniform", (batch_size, *self.image_shape))}

    def observed(self, x: Tensor, step: TrainingStep) -> Tensor:
        """Return the images that the likelihood sees: unchanged, or drawn black and white for a Bernoulli."""
        return (step.draws["pixels"] < x).float() if self.likelihood == "bernoulli" else x

    @override
    def finish(self, data: ImageData) -> None:
        """Set an optimal σ to the root mean squared error over the train images."""
        if self.spec.sigma == "optimal":
            self.sigma.copy_(self._root_mean_squared_error(data.train.images))

    @torch.no_grad()
    def _root_mean_squared_error(self, images: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=self.sigma.device)
        for batch in images.split(max(1, min(FINISHING_BATCH, FINISHING_VALUES // images[0].numel()))):
            x = batch.to(self.sigma.device).float() / 255
            total += (x - self.decode(self.encode(x).mean)).square().sum(dtype=torch.float64)
        return (total / images.numel()).clamp_min(SMALLEST_VARIANCE).sqrt()


def _mean_image(data: ImageData) -> Tensor:
    """Return the mean of the train images, in [0, 1], `[C, H, W]`."""
    sums = [chunk.float().sum(0) for chunk in data.train.images.split(1000)]
    return torch.stack(sums).sum(0) / (255 * len(data.train))


@FAMILIES.register("vae")
class VAE(GaussianCodeAutoencoder[VAESpec]):
    """Variational autoencoder: −ln p(x | z) + β KL(q(z | x) ‖ N(0, I)), nats per image; β = 1: −ELBO.

    Options: KL warm-up (Sønderby et al. 2016, arXiv:1602.02282), free bits (Kingma et al. 2016,
    arXiv:1606.04934), capacity (Burgess et al. 2018, arXiv:1804.03599), learned or optimal σ (Rybkin et
    al. 2021, arXiv:2006.13202).
    """

    Spec: ClassVar[type[ModelSpec]] = VAESpec
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim", "beta")
    paper: ClassVar[str] = "Kingma & Welling 2014, arXiv:1312.6114; β: Higgins et al. 2017"
    display: ClassVar[Display] = Display(50, "#0072b2", "D")

    beta: Tensor

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the penalised negative ELBO, its reconstruction term and its KL term, nats per image."""
        x = self.observed(x, step)
        posterior = self.encode(x)
        assert posterior.log_var is not None
        reconstruction = -self.log_likelihood(x, posterior.at(step.draws["code"])).mean()
        kl = kl_standard_normal(posterior.mean, posterior.log_var).mean(0)
        if kl.ndim > 1:  # a dimension of a grid is a channel with all its positions
            kl = kl.flatten(1).sum(1)
        return {
            "loss": reconstruction + self.kl_penalty(kl, step.progress),
            "reconstruction": reconstruction,
            "kl": kl.sum(),
            "kl_per_dim": kl,
        }

    def kl_penalty(self, kl_per_dim: Tensor, progress: Tensor) -> Tensor:
        """Return the penalty, a scalar, for the KL per dimension, nats `[D]`, at a fraction of training."""
        spec = self.spec
        rise = (progress / spec.kl_warm_up).clamp(max=1) if spec.kl_warm_up else 1.0
        if spec.capacity is not None:
            return self.beta * (kl_per_dim.sum() - rise * spec.capacity).abs()
        charged = (kl_per_dim.clamp_min(spec.free_bits) * self.in_use).sum()
        return rise * self.beta * charged
