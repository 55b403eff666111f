"""What the autoencoders with discrete codes have in common: a code is a row of choices from finite sets."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from latentbench.models.families.autoencoders.gradient_autoencoder import GradientAutoencoder
from latentbench.models.protocols import Posterior


class DiscreteCodeAutoencoder(GradientAutoencoder):
    """An autoencoder that decodes nothing but valid codes, whatever it is given.

    The encoder's numbers are replaced by the nearest code, past which the gradient goes straight through
    (Bengio et al. 2013, arXiv:1308.3432). A family says what the codes are.
    """

    @property
    @abstractmethod
    def code_sizes(self) -> tuple[int, ...]:
        """How many values each position may take."""

    @abstractmethod
    def indices(self, z: Tensor) -> Tensor:
        """The nearest code of any points `[B, D]`: its value at each position, int64 `[B, P]`."""

    @abstractmethod
    def codes(self, indices: Tensor) -> Tensor:
        """The codes `[B, D]` of values `[B, P]`."""

    def continuous(self, x: Tensor) -> Tensor:
        """Images in [0, 1] `[B, C, H, W]` to what is quantised, float32 `[B, D]`."""
        numbers: Tensor = self.to_code(self.encoder(x)).float()
        return numbers

    def quantised(self, z: Tensor) -> Tensor:
        """The nearest code of points `[B, D]`, exactly; its gradient is that of the points."""
        return straight_through(self.codes(self.indices(z)), z)

    def encode(self, x: Tensor) -> Posterior:
        """Images in [0, 1] `[B, C, H, W]` to codes `[B, D]`."""
        return Posterior(self.quantised(self.continuous(x)))

    def decode(self, z: Tensor) -> Tensor:
        """The nearest codes of points `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        return super().decode(self.quantised(z))


def straight_through(value: Tensor, gradient_of: Tensor) -> Tensor:
    """`value`, to the last bit, with the gradient of `gradient_of`; both of one shape."""
    return value.detach() + (gradient_of - gradient_of.detach())
