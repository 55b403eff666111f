"""The plain autoencoder: a deterministic bottleneck, trained on squared error."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from latentbench.models.families.autoencoders.gradient_autoencoder import GradientAutoencoder, squared_error
from latentbench.models.family import FAMILIES
from latentbench.models.training.engine import Step


@FAMILIES.register("ae")
class AE(GradientAutoencoder):
    """Autoencoder on the squared error summed over pixels."""

    paper: ClassVar[str] = "Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647"

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """Squared error, summed over pixels, averaged over the batch."""
        del step  # deterministic
        error = squared_error(x, self.decode(self.encode(x).mean))
        return {"loss": error, "reconstruction": error}
