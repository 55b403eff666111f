"""Families whose models are not trained here: their weights come from elsewhere and are kept by content."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.external import state_dicts
from latentbench.models.family import Family
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe


class LoadedFamily(Family):
    """A model that is measured as it is; `resolve` finds its weights, `fit` loads them."""

    spec: Any

    @property
    @abstractmethod
    def holder(self) -> nn.Module:
        """The module that the weights are of."""

    @property
    @abstractmethod
    def where(self) -> str:
        """What errors call the model."""

    @classmethod
    def values_to_train(cls, spec: Any, image_shape: ImageShape) -> int:
        """None: it is not trained."""
        del spec, image_shape
        return 0

    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Load the weights that `resolve` found; nothing is trained."""
        del data, recipe, seed, device
        if self.spec.checkpoint_sha256 is None:
            raise LatentbenchError(f"{self.where}: its weights are not known yet; zoo.resolve the spec")
        state_dicts.apply(self.holder, state_dicts.load_kept(self.spec.checkpoint_sha256), self.where)
        progress(1, 1)
        return History()


def stated(spec: Any, where: str, *, width: int, sha256: str | None) -> ModelSpec:
    """The spec with what was found. LatentbenchError where the suite says that it is something else."""
    found = {"latent_dim": width, "checkpoint_sha256": sha256}
    for name, truth in found.items():
        given = getattr(spec, name)
        if given and given != truth:
            raise LatentbenchError(f"{where}: {name} is {truth}, not {given} as the suite says")
    resolved: ModelSpec = spec.model_copy(update=found)
    return resolved
