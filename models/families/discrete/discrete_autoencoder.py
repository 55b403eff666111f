"""The base class of autoencoders with discrete codes: a code is a row of choices from finite sets."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from typing_extensions import override

from latentbench.models.families.autoencoders.gradient_autoencoder import (
    AutoencoderSpecT,
    GradientAutoencoder,
)
from latentbench.models.protocols import Posterior


class DiscreteCodeAutoencoder(GradientAutoencoder[AutoencoderSpecT]):
    """An autoencoder that quantises every input of its decoder to a valid code.

    The encoder's output is replaced by the nearest code, and the gradient passes straight through
    (Bengio et al. 2013, arXiv:1308.3432). A family defines the codes.
    """

    @property
    @abstractmethod
    def code_sizes(self) -> tuple[int, ...]:
        """The number of values that each position can take."""

    @abstractmethod
    def indices(self, z: Tensor) -> Tensor:
        """Return the nearest code of points `[B, D]` as its value at each position, int64 `[B, P]`."""

    @abstractmethod
    def codes(self, indices: Tensor) -> Tensor:
        """Return the codes `[B, D]` of values `[B, P]`."""

    def continuous(self, x: Tensor) -> Tensor:
        """Map images in [0, 1] `[B, C, H, W]` to the numbers to be quantised, float32 `[B, D]`."""
        numbers: Tensor = self.to_code(self.encoder(x)).float()
        return numbers

    def quantised(self, z: Tensor) -> Tensor:
        """Return the exact nearest code of points `[B, D]`, with the gradient of the points."""
        return straight_through(self.codes(self.indices(z)), z)

    @override
    def encode(self, x: Tensor) -> Posterior:
        return Posterior(self.quantised(self.continuous(x)))

    @override
    def decode(self, z: Tensor) -> Tensor:
        """Map the nearest codes of points `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        return super().decode(self.quantised(z))


def straight_through(value: Tensor, gradient_of: Tensor) -> Tensor:
    """Return `value`, to the last bit, with the gradient of `gradient_of`; both have one shape."""
    return value.detach() + (gradient_of - gradient_of.detach())
