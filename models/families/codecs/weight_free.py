"""The base of families without weights: nothing is trained, so any data will do."""

from __future__ import annotations

from typing import Annotated, TypeVar

import torch
from pydantic import Field
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.family import Family
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.resolver import Resolver
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe


class WeightFreeSpec(ModelSpec):
    """Settings of a compressor without weights, whose width follows from the others."""

    latent_dim: Annotated[int, Field(ge=0, strict=True)] = 0
    """Channels of the grid, filled in by `resolve`; 0 for a codec, which has no code vector."""


WeightFreeSpecT = TypeVar("WeightFreeSpecT", bound=WeightFreeSpec)


class WeightFree(Family[WeightFreeSpecT]):
    """A compressor that is complete when it is built."""

    @override
    @classmethod
    def resolve(cls, spec: WeightFreeSpecT, data: ImageData, resolver: Resolver) -> WeightFreeSpecT:
        return spec

    @override
    @classmethod
    def values_to_train(cls, spec: WeightFreeSpecT, image_shape: ImageShape) -> int:
        return 0

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        progress(1, 1)
        return History()


def with_grid(spec: WeightFreeSpecT, shape: tuple[int, int, int]) -> WeightFreeSpecT:
    """Return the spec with the shape `(C, h, w)` of its code; a width that the suite states must fit."""
    if spec.latent_dim not in (0, shape[0]):
        raise LatentbenchError(
            f"{spec.family}: latent_dim follows from the other settings and is {shape[0]}, got "
            f"{spec.latent_dim}; leave it out"
        )
    return spec.model_copy(update={"latent_dim": shape[0], "code_shape": shape})
