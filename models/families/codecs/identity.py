"""The image as its own code: nothing is compressed and nothing is lost."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from latentbench.data.images import ImageData
from latentbench.models.families.codecs.weight_free import WeightFree, WeightFreeSpec, with_grid
from latentbench.models.family import FAMILIES
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.spec import Display, ModelSpec


@FAMILIES.register("identity")
class Identity(WeightFree[WeightFreeSpec]):
    """The code is the image, a grid of its pixels: the upper limit of every measure of quality."""

    Spec: ClassVar[type[ModelSpec]] = WeightFreeSpec
    display: ClassVar[Display] = Display(1, "#9aa0a6", "o")

    @override
    @classmethod
    def resolve(cls, spec: WeightFreeSpec, data: ImageData, resolver: Resolver) -> WeightFreeSpec:
        return with_grid(spec, data.image_shape)

    def encode(self, x: Tensor) -> Posterior:
        """Return the images `[B, C, H, W]`."""
        return Posterior(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return the images `[B, C, H, W]`, clipped to [0, 1]."""
        return z.clamp(0, 1)
