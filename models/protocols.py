"""The small protocols that a model must meet to be measured, whether it is from the zoo or a user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from latentbench.data.reading.transform import ImageTransform
from latentbench.models.training.objectives import kl_standard_normal


@dataclass(frozen=True, eq=False)
class Posterior:
    """q(z | x) for a batch: a diagonal Gaussian, or a point where `log_var` is None.

    `mean` and `log_var` are `[B, *shape]`: vectors `[B, D]`, grids `[B, C, h, w]` or tokens `[B, T, C]`.
    """

    mean: Tensor
    log_var: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Posterior:
        """Apply a function that selects or rearranges values to both tensors."""
        return Posterior(function(self.mean), None if self.log_var is None else function(self.log_var))

    def part(self, rows: slice) -> Posterior:
        """Return q(z | x) of some images."""
        return self.map(lambda values: values[rows])

    def rsample(self, *, generator: Generator | None = None) -> Tensor:
        """Draw z `[B, *shape]` by the reparametrisation trick (Kingma & Welling 2014, arXiv:1312.6114).

        A point posterior returns its mean.
        """
        if self.log_var is None:
            return self.mean
        noise = torch.randn(
            self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype
        )
        return self.at(noise)

    def at(self, noise: Tensor) -> Tensor:
        """Return mean + σ · noise, for standard normal `noise` `[..., B, *shape]`; the mean of a point."""
        return self.mean if self.log_var is None else self.mean + noise * (0.5 * self.log_var).exp()

    def kl(self) -> Tensor | None:
        """Compute KL(q(z | x) ‖ N(0, I)) per value, nats, `[B, *shape]`; None for a point posterior."""
        if self.log_var is None:
            return None
        return kl_standard_normal(self.mean, self.log_var)


@runtime_checkable
class Encoder(Protocol):
    """A model from images in [0, 1] `[B, C, H, W]` to codes."""

    def encode(self, x: Tensor) -> Posterior:
        """Return q(z | x), each tensor `[B, *shape]`."""


@runtime_checkable
class Autoencoder(Encoder, Protocol):
    """A model from images in [0, 1] `[B, C, H, W]` to codes and back."""

    def decode(self, z: Tensor) -> Tensor:
        """Map codes `[B, *shape]` to images in [0, 1] `[B, C, H, W]`."""


@runtime_checkable
class DiscreteAutoencoder(Autoencoder, Protocol):
    """An autoencoder whose code consists of one of finitely many values at each of P positions.

    `codes` and `indices` are inverse to each other: on valid codes, and on indices of distinct codes.
    """

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """The number of values that each position may take."""

    def indices(self, z: Tensor) -> Tensor:
        """Return the value of codes `[B, D]` at each position, from 0: int64 `[B, P]`."""

    def codes(self, indices: Tensor) -> Tensor:
        """Return the codes `[B, D]` of indices `[B, P]`."""


@runtime_checkable
class ImageCodec(Protocol):
    """A compressor of images to files, such as JPEG. It has no code vector."""

    def compress(self, x: Tensor) -> list[bytes]:
        """Map images in [0, 1] `[B, C, H, W]` to one file each."""

    def decompress(self, files: Sequence[bytes]) -> Tensor:
        """Map files to images in [0, 1] `[B, C, H, W]`, on the CPU."""


@runtime_checkable
class ImageTextModel(Protocol):
    """A model of images and captions in one space; both outputs are L2-normalised `[B, D]`."""

    def encode_image(self, x: Tensor) -> Tensor:
        """Map images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`."""

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Map captions to unit vectors `[B, D]`."""


@runtime_checkable
class OwnTransform(ImageTextModel, Protocol):
    """An image–text model that scales images by itself, from their original size."""

    @property
    def transform(self) -> ImageTransform:
        """The transform from an image of any mode to RGB in the height and width that the model takes."""


@runtime_checkable
class KnownContent(ImageTextModel, Protocol):
    """An image–text model whose vectors follow from its content and the tokens of a text."""

    @property
    def content(self) -> str:
        """A hash of the weights and of every setting that changes a vector."""

    def tokens(self, captions: list[str]) -> Tensor:
        """Return token ids `[N, context]`."""


Model = Encoder | ImageCodec | ImageTextModel
"""Everything that can be measured."""


@runtime_checkable
class LikelihoodModel(Autoencoder, Protocol):
    """An autoencoder with a stochastic encoder and a likelihood, which bounds ln p(x)."""

    likelihood: str
    """`gaussian`, for grey images, or `bernoulli`, for images drawn black and white from the grey ones."""

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Compute ln p(x | z), nats, `[B]`, of images `[B, C, H, W]` under their codes `[B, D]`."""
