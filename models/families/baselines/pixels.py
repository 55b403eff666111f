"""The pixels themselves as the code: it shows the value of a code metric without any compression."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.family import FAMILIES, FittedFamily
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe


class PixelsSpec(ModelSpec):
    """The width is the number of pixels, and need not be given."""

    latent_dim: Annotated[int, Field(ge=0, strict=True)] = 0


@FAMILIES.register("pixels")
class Pixels(FittedFamily[PixelsSpec]):
    """Every pixel and channel is one number of the code; there is no decoder."""

    Spec: ClassVar[type[ModelSpec]] = PixelsSpec
    display: ClassVar[Display] = Display(1, "#9aa0a6", "X")

    @override
    @classmethod
    def resolve(cls, spec: PixelsSpec, data: ImageData, resolver: Resolver) -> PixelsSpec:
        width = math.prod(data.image_shape)
        if spec.latent_dim not in (0, width):
            raise LatentbenchError(
                f"pixels: latent_dim must be {width}, the number of pixels of {data.name}, or left out; "
                f"got {spec.latent_dim}"
            )
        return spec.model_copy(update={"latent_dim": width})

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        return History()

    def encode(self, x: Tensor) -> Posterior:
        """Map images `[B, C, H, W]` to their values `[B, C·H·W]`."""
        return Posterior(x.flatten(1))
