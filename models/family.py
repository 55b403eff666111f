"""What a family of compressors is, and where families are registered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.registry import Registry
from latentbench.models import engine
from latentbench.models.backbones import BACKBONES, ImageShape
from latentbench.models.history import History
from latentbench.models.recipe import Recipe
from latentbench.models.spec import ModelSpec

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


class Family(nn.Module):
    """Base of every family. A subclass is one file, registered with `@FAMILIES.register(name)`.

    `settings` names the ModelSpec fields the family uses, with their defaults; `hidden` may stay None,
    meaning the backbone's own. Whatever is not named there is refused when a spec sets it.
    """

    settings: ClassVar[dict[str, object]] = {}
    paper: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def build(cls, spec: ModelSpec, image_shape: ImageShape) -> Self:
        """An untrained model of a completed spec."""

    @abstractmethod
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Train in place on `data.train`; the same arguments give the same weights on one machine."""

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None] | None:
        """One step of training on a batch of uint8 images, for timing; None for a closed form."""
        del recipe
        return None


class GradientFamily(Family):
    """A family that the engine trains: it says what a batch is made of and what is minimised on it."""

    @abstractmethod
    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """What a batch is drawn from: tensors with one row an example, uint8 images first."""

    @abstractmethod
    def objective(self, batch: tuple[Tensor, ...], noise: Generator) -> dict[str, Tensor]:
        """The terms of the loss on rows of `training_tensors`, each a scalar; `loss` is minimised."""

    @abstractmethod
    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """A batch like those of training, made around uint8 `images`."""

    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Train in place by the engine; raises Diverged."""
        tensors = self.training_tensors(data)
        return engine.train(
            self, self.objective, tensors, recipe, seed=seed, device=device, progress=progress
        )

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None]:
        """One step of training, as the engine does it, on a batch of uint8 images."""
        noise = Generator(next(self.parameters()).device).manual_seed(0)
        one_step = engine.stepper(self.objective, engine.make_optimiser(self, recipe), recipe, noise)

        def step(images: Tensor) -> None:
            one_step(self.timing_batch(images))

        return step


FAMILIES: Registry[type[Family]] = Registry("family")


def complete(spec: ModelSpec) -> ModelSpec:
    """The spec with its family's defaults filled in: what a case id is made from.

    Raises LatentbenchError for an unknown family or backbone, or a setting the family would ignore.
    """
    family = FAMILIES[spec.family]
    given = spec.model_dump(exclude={"family", "latent_dim"}, exclude_none=True)
    for key, value in given.items():
        if key not in family.settings:
            allowed = ", ".join(["latent_dim", *family.settings])
            raise LatentbenchError(
                f"family {spec.family!r} has no setting {key!r} (given {value!r}; allowed: {allowed})"
            )
    settings = {**family.settings, **given}
    if "backbone" in settings:
        backbone = BACKBONES[str(settings["backbone"])]
        settings["hidden"] = settings.get("hidden") or backbone.hidden
    if settings.get("likelihood") == "bernoulli":
        if "sigma" in given:
            raise LatentbenchError(
                f"family {spec.family!r}: sigma belongs to the gaussian likelihood, not to bernoulli"
            )
        settings.pop("sigma", None)
    return ModelSpec.model_validate({"family": spec.family, "latent_dim": spec.latent_dim, **settings})
