"""The Wasserstein autoencoder: deterministic codes whose distribution is matched to a prior."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.models.families.autoencoders.gradient_autoencoder import (
    AutoencoderSpec,
    GradientAutoencoder,
    squared_error,
)
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Scales of the kernels that are summed, as in the authors' code."""


class WAESpec(AutoencoderSpec):
    """Settings of a Wasserstein autoencoder."""

    mmd_weight: Annotated[float, Field(ge=0)] = 200.0
    """Weight of MMD² relative to the summed squared error; the authors' code weights them 10 and 0.05."""


@FAMILIES.register("wae")
class WAE(GradientAutoencoder[WAESpec]):
    """Wasserstein autoencoder, WAE-MMD: ‖x − x̂‖² + mmd_weight · MMD²(codes, N(0, I)).

    The error is summed over pixels and averaged over the batch; MMD² compares the batch's codes with as many
    new draws from the prior (algorithm 2 of the paper).
    """

    Spec: ClassVar[type[ModelSpec]] = WAESpec
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim", "mmd_weight")
    paper: ClassVar[str] = "Tolstikhin et al. 2018, arXiv:1711.01558"
    display: ClassVar[Display] = Display(80, "#332288", "<")
    normal_prior: ClassVar[bool] = True
    """The codes of all images together should follow N(0, I), although each is a point."""

    mmd_weight: Tensor
    dims: Tensor

    def __init__(self, spec: WAESpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        # The model's own width, which a stack's padding does not change.
        self.register_buffer("dims", torch.tensor(float(spec.latent_dim)), persistent=False)

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Draw one code from the prior per image. Raises LatentbenchError for a single image."""
        if batch_size < 2:
            raise LatentbenchError(
                f"family 'wae' compares codes in pairs: batch_size must be ≥ 2, got {batch_size}"
            )
        return {"prior": Draw("normal", (batch_size, self.width))}

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the penalised error, the error, and MMD² before weighting."""
        z = self.encode(x).mean.float()
        error = squared_error(x, self.decode(z))
        mmd = squared_mmd(z, step.draws["prior"], dims=self.dims)
        return {"loss": error + self.mmd_weight * mmd, "reconstruction": error, "mmd": mmd}


def squared_mmd(a: Tensor, b: Tensor, *, dims: Tensor) -> Tensor:
    """Return the unbiased squared maximum mean discrepancy of samples `a` and `b`, `[B, D]` each, a scalar.

    It is the U-statistic: the mean of k over pairs within `a` and within `b`, less twice the mean over pairs
    across, so it may be negative. k(x, y) = Σ_s C_s / (C_s + ‖x − y‖²), C_s = 2 · `dims` · s over SCALES, an
    inverse multiquadratic for N(0, I) in `dims` dimensions; k ≤ 7 bounds the result by 14.
    """
    count = len(a)
    within = [
        (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
        for kernel in (_kernel(a, a, dims), _kernel(b, b, dims))
    ]
    return within[0] + within[1] - 2 * _kernel(a, b, dims).mean()


def _kernel(a: Tensor, b: Tensor, dims: Tensor) -> Tensor:
    # Inner products avoid a [B, B, D] tensor; half precision would be too coarse for them.
    with torch.autocast(a.device.type, enabled=False):
        products = a @ b.T
    distance = (a.square().sum(1).unsqueeze(1) + b.square().sum(1) - 2 * products).clamp_min(0)
    scales = [2 * scale * dims for scale in SCALES]
    return torch.stack([c / (c + distance) for c in scales]).sum(0)
