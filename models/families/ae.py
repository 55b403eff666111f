"""The plain autoencoder: a deterministic bottleneck, trained on squared error."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from latentbench.data.images import ImageData
from latentbench.models.backbones import BACKBONES, ImageShape
from latentbench.models.family import FAMILIES, GradientFamily
from latentbench.models.protocols import Posterior
from latentbench.models.spec import ModelSpec


class GradientAutoencoder(GradientFamily):
    """Encoder, bottleneck, decoder, and training by the engine; a family adds its `loss`."""

    codes_per_dim: ClassVar[int] = 1

    def __init__(self, spec: ModelSpec, image_shape: ImageShape) -> None:
        super().__init__()
        backbone = BACKBONES[str(spec.backbone)]
        hidden = spec.hidden or backbone.hidden
        self.spec = spec
        self.encoder, features = backbone.encoder(image_shape, hidden)
        self.to_code = nn.Linear(features, self.codes_per_dim * spec.latent_dim)
        self.decoder = backbone.decoder(image_shape, hidden, spec.latent_dim)

    @classmethod
    def build(cls, spec: ModelSpec, image_shape: ImageShape) -> Self:
        """An untrained model of a completed spec."""
        return cls(spec, image_shape)

    def encode(self, x: Tensor) -> Posterior:
        """Images in [0, 1] `[B, C, H, W]` to codes `[B, D]`."""
        return Posterior(self.to_code(self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Codes `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        return torch.sigmoid(self.decoder(z))

    @abstractmethod
    def loss(self, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        """The terms of the objective for a batch of float images, each a scalar."""

    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """The train images."""
        return (data.train.images,)

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images alone."""
        return (images,)

    def objective(self, batch: tuple[Tensor, ...], noise: Generator) -> dict[str, Tensor]:
        """`loss` on a batch of uint8 images."""
        return self.loss(batch[0].float() / 255, noise)


@FAMILIES.register("ae")
class AE(GradientAutoencoder):
    """Autoencoder on the squared error summed over pixels."""

    settings: ClassVar[dict[str, object]] = {"backbone": "mlp", "hidden": None}
    paper: ClassVar[str] = "Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647"

    def loss(self, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        """Squared error, summed over pixels, averaged over the batch."""
        del noise  # deterministic
        reconstruction = self.decode(self.encode(x).mean).float()
        error = (x - reconstruction).square().flatten(1).sum(1).mean()
        return {"loss": error, "reconstruction": error}
