"""Finite scalar quantisation: every dimension of the code is rounded to one of a few levels.

The paper bounds the encoder's output directly. Until the decoder has learned the mean image, that output
drifts to where tanh is flat, and every image gets the same code: with 8 dimensions of 5 levels, 16 channels
of backbone `conv`, 10,000 MNIST digits and 5 epochs, the error stayed at that of the mean image, 53.0. So the
output is standardised first, over the batch in training (35.2; an autoencoder 33.8) and over the train images
afterwards. It matters little with a decoder that starts at the mean image (backbone `mlp`, 128 units: 26.6
without, 26.0 with). One seed each.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from latentbench.data.images import ImageData
from latentbench.models.families.autoencoders.gradient_autoencoder import AutoencoderSpec, squared_error
from latentbench.models.families.discrete.discrete_autoencoder import DiscreteCodeAutoencoder
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import TrainingStep

MARGIN = 1e-3
"""The fraction by which the bound stays inside the outermost levels, so that rounding cannot leave them."""
SMALLEST_VARIANCE = 1e-5
FINISHING_BATCH = 1000


class FSQSpec(AutoencoderSpec):
    """Settings of an autoencoder with finite scalar quantisation."""

    levels: Annotated[int, Field(ge=2, le=1000, strict=True)] = 5
    """Values that each dimension can take; above 1000 the margin would hide the outermost."""


def bound(z: Tensor, levels: int) -> Tensor:
    """Map numbers to the open range that rounds to `levels` integers, elementwise.

    An odd number of levels is symmetric about 0; an even one covers −levels/2 … levels/2 − 1. The formula is
    that of the paper's appendix A.1, including its tan (artanh would keep 0 at 0).
    """
    half = (levels - 1) * (1 - MARGIN) / 2
    offset = 0.0 if levels % 2 else 0.5
    return torch.tanh(z + math.tan(offset / half)) * half - offset


@FAMILIES.register("fsq")
class FSQ(DiscreteCodeAutoencoder[FSQSpec]):
    """Autoencoder on the squared error, each dimension of its code rounded to one of `levels` values.

    The codes lie in [−1, 1]: the integers divided by ⌊levels / 2⌋. There is no codebook, and the only loss is
    that of the reconstruction. The family is not stacked: rounding errors can move a number across the border
    of two levels, and the member would then learn something different from a separate training.
    """

    Spec: ClassVar[type[ModelSpec]] = FSQSpec
    stacked_over: ClassVar[tuple[str, ...] | None] = None
    paper: ClassVar[str] = "Mentzer et al. 2023, arXiv:2309.15505"
    display: ClassVar[Display] = Display(100, "#b2182b", "*")

    centre: Tensor
    variance: Tensor

    def __init__(self, spec: FSQSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        # Standardising would remove a bias, which could only drift.
        self.to_code.register_parameter("bias", None)
        self.levels = spec.levels
        self.lowest = -(spec.levels // 2)
        """The smallest of the integers that represent the levels."""
        self.register_buffer("centre", torch.zeros(spec.latent_dim))
        self.register_buffer("variance", torch.ones(spec.latent_dim))

    @override
    @property
    def code_sizes(self) -> tuple[int, ...]:
        return self.width * (self.levels,)

    @override
    def continuous(self, x: Tensor) -> Tensor:
        """Map images to the bounded numbers that are rounded, on the codes' scale, `[B, D]`."""
        return self._bounded(super().continuous(x), self.centre, self.variance)

    def _bounded(self, z: Tensor, centre: Tensor, variance: Tensor) -> Tensor:
        standardised = (z - centre) * (variance + SMALLEST_VARIANCE).rsqrt()
        return bound(standardised, self.levels) / -self.lowest

    @override
    def indices(self, z: Tensor) -> Tensor:
        integers = (z.detach().float() * -self.lowest).round().long()
        return (integers - self.lowest).clamp(0, self.levels - 1)

    @override
    def codes(self, indices: Tensor) -> Tensor:
        return (indices + self.lowest).float() / -self.lowest

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the squared error; the batch standardises its own codes."""
        z = super().continuous(x)
        variance, centre = torch.var_mean(z, dim=0, correction=0)
        error = squared_error(x, self.decode(self._bounded(z, centre, variance)))
        return {"loss": error, "reconstruction": error}

    @override
    @torch.no_grad()
    def finish(self, data: ImageData) -> None:
        """Compute mean and variance of the encoder's output over the train images."""
        batches = data.train.images.split(FINISHING_BATCH)
        numbers = [super(FSQ, self).continuous(x.to(self.centre.device).float() / 255) for x in batches]
        variance, centre = torch.var_mean(torch.cat(numbers).double(), dim=0, correction=0)
        self.centre.copy_(centre)
        self.variance.copy_(variance)
