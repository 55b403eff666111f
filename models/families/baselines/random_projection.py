"""A random linear map of the pixels: the value of a code metric for a linear code that learned nothing."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from latentbench.data.images import ImageData
from latentbench.models.family import FAMILIES, FittedFamily
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.seeds import generator
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe


@FAMILIES.register("random_projection")
class RandomProjection(FittedFamily[ModelSpec]):
    """Products of the pixels with independent normal weights, drawn from the seed; there is no decoder."""

    paper: ClassVar[str] = "Johnson & Lindenstrauss 1984, doi:10.1090/conm/026/737400"
    display: ClassVar[Display] = Display(2, "#9aa0a6", "P")
    takes_seed: ClassVar[bool] = True

    weights: Tensor

    def __init__(self, spec: ModelSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.register_buffer("weights", torch.zeros(math.prod(image_shape), spec.latent_dim))

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Draw the weights, with variance 1/D so that distances are kept on average."""
        drawn = torch.randn(self.weights.shape, generator=generator(seed, "projection"))
        self.weights.copy_(drawn / math.sqrt(self.spec.latent_dim))
        return History()

    def encode(self, x: Tensor) -> Posterior:
        """Map images `[B, C, H, W]` to codes `[B, D]`."""
        return Posterior(x.flatten(1) @ self.weights)
