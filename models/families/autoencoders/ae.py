"""The plain autoencoder: a deterministic bottleneck, trained on squared error."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from latentbench.models.families.autoencoders.gradient_autoencoder import (
    GradientAutoencoder,
    SpatialSpec,
    squared_error,
)
from latentbench.models.family import FAMILIES
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import TrainingStep


@FAMILIES.register("ae")
class AE(GradientAutoencoder[SpatialSpec]):
    """Autoencoder on the squared error summed over pixels."""

    Spec: ClassVar[type[ModelSpec]] = SpatialSpec
    paper: ClassVar[str] = "Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647"
    display: ClassVar[Display] = Display(20, "#d55e00", "o")

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        error = squared_error(x, self.decode(self.encode(x).mean))
        return {"loss": error, "reconstruction": error}
