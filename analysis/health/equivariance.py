"""Equivariance: does the code of a moved image equal the moved code?

The error of a transform T is ‖E(Tx) − T E(x)‖² / ‖E(x) − mean‖², as a ratio of means over images and the
positions that both codes have: 0 for an encoder that commutes with T, 1 where the two differ as much as a
code differs from the mean code, and 2 where they are unrelated. Half-size images are averaged over 2 × 2
pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.latent.dead_zones import MassEstimate
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.data.registry import Registry

Move = Callable[[Tensor, int], Tensor]
"""Takes images or grids `[N, C, h, w]` and the number of pixels of a step."""


@dataclass(frozen=True)
class Symmetry:
    """A transform of images and of grids; `shared` selects the positions that a moved grid still has."""

    title: str
    move: Move
    shared: Callable[[Tensor], Tensor] = lambda grid: grid
    halves: bool = False
    """True if it halves the side, which must be even."""


def _shifted(images: Tensor, step: int) -> Tensor:
    """Shift to the right; the left edge is repeated."""
    return F.pad(images[..., :-step], (step, 0, 0, 0), mode="replicate")


def _without_left(grid: Tensor) -> Tensor:
    return grid[..., 1:]


TRANSFORMS: Registry[Symmetry] = Registry("transform")
TRANSFORMS.register("flip")(Symmetry("a horizontal flip", lambda z, _: z.flip(-1)))
TRANSFORMS.register("rotation")(Symmetry("a rotation by 90°", lambda z, _: torch.rot90(z, dims=(-2, -1))))
TRANSFORMS.register("shift")(Symmetry("a shift by one position", _shifted, _without_left))
TRANSFORMS.register("scale")(Symmetry("half the size", lambda z, _: F.avg_pool2d(z, 2), halves=True))


def refusal(shape: tuple[int, ...], side: int, transform: Symmetry) -> str | None:
    """Return why a transform has no counterpart for codes of a shape and images of a side; None if it has."""
    if len(shape) == 1:
        return "the code is a vector: it has no positions to move"
    if len(shape) == 2:
        return "the code is a row of tokens: their places in the image are not known"
    if shape[1] != shape[2] or side % shape[1] or shape[1] < 2:
        return f"a grid of {shape[1]}×{shape[2]} does not divide images of {side} px into positions"
    if transform.halves and shape[1] % 2:
        return f"a grid of {shape[1]}×{shape[2]} cannot be halved"
    return None


def errors(
    encode: Callable[[Tensor], Tensor], images: Tensor, means: Tensor, transform: Symmetry
) -> tuple[Tensor, Tensor]:
    """Compute the numerator and the denominator of the error of each of images `[N, C, H, W]`, float64 `[N]`.

    `encode` gives grids `[N, C, h, w]`; `means` `[C]` are those of the channels. Both are means over
    channels and positions. Raises Unmeasurable if the encoder takes no images of the new size, or gives a
    grid of another size for them.
    """
    grids = encode(images)
    step = images.shape[-1] // grids.shape[-1]
    moved, expected = _encoded(encode, transform.move(images, step)), transform.move(grids, 1)
    if moved.shape != expected.shape:
        raise Unmeasurable(
            f"the encoder gives {_size(moved)} positions for images of {images.shape[-1] // 2} px, "
            f"not {_size(expected)}"
        )
    difference = transform.shared(moved).double() - transform.shared(expected).double()
    spread = grids.double() - means[:, None, None]
    return difference.square().mean((1, 2, 3)), spread.square().mean((1, 2, 3))


def _encoded(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    try:
        return encode(images)
    except Exception as error:  # a user's encoder may raise anything for a size it was not made for
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise Unmeasurable(f"the encoder takes no images of {images.shape[-1]} px: {said}") from None


def _size(grid: Tensor) -> str:
    return "×".join(map(str, grid.shape[2:]))


def ratio(numerator: Tensor, denominator: Tensor) -> MassEstimate:
    """Divide two means over images, `[N]` each, with the error of a ratio (Cochran 1977, section 2.11)."""
    mean = float(denominator.mean())
    value = float(numerator.mean()) / mean
    return MassEstimate(value, (standard_error(numerator - value * denominator) or 0.0) / mean)
