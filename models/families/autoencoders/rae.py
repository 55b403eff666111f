"""The regularised autoencoder: a deterministic VAE, with penalties instead of noise."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from latentbench.models.families.autoencoders.gradient_autoencoder import (
    AutoencoderSpec,
    GradientAutoencoder,
    Weight,
    squared_error,
)
from latentbench.models.family import FAMILIES
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import TrainingStep


class RAESpec(AutoencoderSpec):
    """Settings of a regularised autoencoder.

    The defaults are close to those of the authors' code for MNIST (10⁻⁴ on the mean of z² over 16 dimensions,
    10⁻⁷ on the decoder), multiplied by its 32 · 32 pixels: their error is a mean over pixels, ours a sum.
    """

    code_weight: Weight = 0.01
    """Weight of ½‖z‖²; 1 is the weight that a VAE with β = 1 and σ² = ½ gives to its posterior mean."""
    decoder_weight: Weight = 1e-4
    """Weight of the sum of squares of the decoder's weights."""


@FAMILIES.register("rae")
class RAE(GradientAutoencoder[RAESpec]):
    """Regularised autoencoder, RAE-L2: ‖x − x̂‖² + code_weight · ½‖z‖² + decoder_weight · ‖θ‖².

    The first two are summed over pixels and over dimensions and averaged over the batch (equations 6 to 8 of
    the paper); θ are the weights (matrices and kernels; no biases, no scales of a norm) of the decoder, as
    in the authors' code.
    """

    Spec: ClassVar[type[ModelSpec]] = RAESpec
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim", "code_weight", "decoder_weight")
    paper: ClassVar[str] = "Ghosh et al. 2020, arXiv:1903.12436"
    display: ClassVar[Display] = Display(40, "#999933", "p")

    code_weight: Tensor
    decoder_weight: Tensor

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the penalised error, and its three parts before weighting."""
        z = self.encode(x).mean.float()
        error = squared_error(x, self.decode(z))
        code = 0.5 * z.square().sum(1).mean()
        decoder = torch.stack([w.square().sum() for w in self.decoder.parameters() if w.ndim > 1]).sum()
        return {
            "loss": error + self.code_weight * code + self.decoder_weight * decoder,
            "reconstruction": error,
            "code_penalty": code,
            "decoder_penalty": decoder,
        }
