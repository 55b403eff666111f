"""An encoder with its initial weights: the value of a code metric for a network that learned nothing."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.images import ImageData
from latentbench.models.families.autoencoders.gradient_autoencoder import AutoencoderSpec
from latentbench.models.family import FAMILIES, FittedFamily
from latentbench.models.networks.backbones import BACKBONES, ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe


@FAMILIES.register("untrained")
class Untrained(FittedFamily[AutoencoderSpec]):
    """The encoder of `ae` as it is initialised from the seed; there is no decoder."""

    Spec: ClassVar[type[ModelSpec]] = AutoencoderSpec
    display: ClassVar[Display] = Display(3, "#9aa0a6", "*")
    takes_seed: ClassVar[bool] = True

    def __init__(self, spec: AutoencoderSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.encoder, features = BACKBONES[spec.backbone].encoder(image_shape, **spec.backbone_settings())
        self.to_code = nn.Linear(features, spec.latent_dim)

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        return History()

    def encode(self, x: Tensor) -> Posterior:
        """Map images `[B, C, H, W]` to codes `[B, D]`."""
        return Posterior(self.to_code(self.encoder(x)))
