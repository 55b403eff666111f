"""Finite scalar quantisation: every dimension of the code is rounded to one of a few levels.

The paper bounds the encoder's numbers as they are. While the decoder has yet to learn the mean image they
then drift together to where tanh is flat, and every image gets one code: 8 dimensions of 5 levels behind
16 channels of backbone `conv`, 10,000 MNIST digits, 5 epochs, ended at the error of the mean image, 53.0. So
the numbers are standardised over the batch first (35.2; an autoencoder 33.8), and over the train images
once training is done. With a decoder that starts at the mean image it hardly matters (backbone `mlp`, 128
units: 26.6 without, 26.0 with). One seed each.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from latentbench.data.images import ImageData
from latentbench.models.families.autoencoders.gradient_autoencoder import AutoencoderSpec, squared_error
from latentbench.models.families.discrete.discrete_autoencoder import DiscreteCodeAutoencoder
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Step

MARGIN = 1e-3
"""Share by which the bound stops short of the outermost levels, so that rounding never leaves them."""
SMALLEST_VARIANCE = 1e-5
FINISHING_BATCH = 1000


class FSQSpec(AutoencoderSpec):
    """Settings of an autoencoder with finite scalar quantisation."""

    levels: Annotated[int, Field(ge=2, le=1000, strict=True)] = 5
    """Values that each dimension may take; of more than 1000 the margin would hide the outermost."""


def bound(z: Tensor, levels: int) -> Tensor:
    """Any numbers to the open range that rounds to `levels` integers, the shape of `z`.

    An odd number of levels is symmetric about 0; an even one is −levels/2 … levels/2 − 1. As in the
    paper's appendix A.1, down to its tan where artanh would keep 0 at 0.
    """
    half = (levels - 1) * (1 - MARGIN) / 2
    offset = 0.0 if levels % 2 else 0.5
    return torch.tanh(z + math.tan(offset / half)) * half - offset


@FAMILIES.register("fsq")
class FSQ(DiscreteCodeAutoencoder):
    """Autoencoder on the squared error, each dimension of its code rounded to one of `levels` values.

    The codes lie in [−1, 1]: the integers over ⌊levels / 2⌋. There is no codebook to learn, and no loss
    but the reconstruction's. It is not stacked: a number on the edge of two levels may fall to the other
    side by rounding alone, and a member would then part from what it learns by itself.
    """

    Spec: ClassVar[type[ModelSpec]] = FSQSpec
    stacked_over: ClassVar[tuple[str, ...] | None] = None
    paper: ClassVar[str] = "Mentzer et al. 2023, arXiv:2309.15505"

    centre: Tensor
    variance: Tensor

    def __init__(self, spec: FSQSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        # Standardising takes it away again: all it would do is drift.
        self.to_code.register_parameter("bias", None)
        self.levels = spec.levels
        self.lowest = -(spec.levels // 2)
        """The least of the integers that stand for the levels."""
        self.register_buffer("centre", torch.zeros(spec.latent_dim))
        self.register_buffer("variance", torch.ones(spec.latent_dim))

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """The levels, as many in every dimension."""
        return self.width * (self.levels,)

    def continuous(self, x: Tensor) -> Tensor:
        """Images to the bounded numbers that are rounded, on the codes' scale, `[B, D]`."""
        return self._bounded(super().continuous(x), self.centre, self.variance)

    def _bounded(self, z: Tensor, centre: Tensor, variance: Tensor) -> Tensor:
        standardised = (z - centre) * (variance + SMALLEST_VARIANCE).rsqrt()
        return bound(standardised, self.levels) / -self.lowest

    def indices(self, z: Tensor) -> Tensor:
        """The nearest level of each dimension, 0 for the lowest, int64 `[B, D]`."""
        integers = (z.detach().float() * -self.lowest).round().long()
        return (integers - self.lowest).clamp(0, self.levels - 1)

    def codes(self, indices: Tensor) -> Tensor:
        """Levels `[B, D]` to codes in [−1, 1], float32 `[B, D]`."""
        return (indices + self.lowest).float() / -self.lowest

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """Squared error, summed over pixels, averaged over the batch, which standardises its own codes."""
        del step  # deterministic
        z = super().continuous(x)
        variance, centre = torch.var_mean(z, dim=0, correction=0)
        error = squared_error(x, self.decode(self._bounded(z, centre, variance)))
        return {"loss": error, "reconstruction": error}

    @torch.no_grad()
    def finish(self, data: ImageData) -> None:
        """Settle mean and variance of the encoder's numbers on the train images."""
        batches = data.train.images.split(FINISHING_BATCH)
        numbers = [super(FSQ, self).continuous(x.to(self.centre.device).float() / 255) for x in batches]
        variance, centre = torch.var_mean(torch.cat(numbers).double(), dim=0, correction=0)
        self.centre.copy_(centre)
        self.variance.copy_(variance)
