"""Families of models that are not trained here: their weights are loaded and stored by content."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch import nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.codes import Shape, channels
from latentbench.models.external import state_dicts
from latentbench.models.family import Family
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class LoadedSpec(ModelSpec):
    """Settings of a model whose weights are loaded; `resolve` fills in what a suite leaves out."""

    latent_dim: Annotated[int, Field(ge=0, strict=True)] = 0
    """Width of the code, or channels of a grid; 0 until the model is built. A given width is checked."""
    checkpoint_sha256: Digest | None = None
    """sha256 of the checkpoint file, or else of the weights; a given one is checked."""


LoadedSpecT = TypeVar("LoadedSpecT", bound=LoadedSpec)


class LoadedFamily(Family[LoadedSpecT]):
    """A model that is measured unchanged: `resolve` finds its weights, `fit` loads them."""

    @property
    @abstractmethod
    def holder(self) -> nn.Module:
        """The module that the weights belong to."""

    @property
    def where(self) -> str:
        """The name of the model in errors."""
        return self.spec.label

    @override
    @classmethod
    def values_to_train(cls, spec: LoadedSpecT, image_shape: ImageShape) -> int:
        return 0

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Load the weights that `resolve` found."""
        if self.spec.checkpoint_sha256 is None:
            raise LatentbenchError(f"{self.where}: weights unknown; call zoo.resolve on the spec first")
        state_dicts.apply(self.holder, state_dicts.load_kept(self.spec.checkpoint_sha256), self.where)
        progress(1, 1)
        return History()


def stated(spec: LoadedSpecT, where: str, *, shape: Shape, sha256: str) -> LoadedSpecT:
    """Return the spec with what was found. Raises LatentbenchError if the suite states something else."""
    found: dict[str, object] = {"latent_dim": channels(shape), "checkpoint_sha256": sha256}
    for name, truth in found.items():
        given = getattr(spec, name)
        if given and given != truth:
            raise LatentbenchError(f"{where}: {name} is {truth}, not {given} as the suite says")
    return spec.model_copy(update={**found, "code_shape": shape if len(shape) > 1 else None})


def mean_and_log_var(given: Any) -> tuple[object, object]:
    """Return mean and log-variance from what an `encode` returned; None for no log-variance.

    A diffusers model returns an object with `latent_dist` (AutoencoderKL), `latents` (AutoencoderTiny,
    VQModel) or `latent` (AutoencoderDC).
    """
    if isinstance(given, Posterior):
        return given.mean, given.log_var
    distribution = getattr(given, "latent_dist", given)
    if hasattr(distribution, "logvar"):
        exact = getattr(distribution, "deterministic", False)
        return distribution.mean, None if exact else distribution.logvar
    for name in ("latents", "latent"):
        if hasattr(given, name):
            return getattr(given, name), None
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1]
    return given, None
