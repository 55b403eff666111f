"""Codes of any shape as sets of points: whole, position by position, or averaged over positions.

A code is a vector `(D,)`, a grid `(C, h, w)` or a row of tokens `(T, C)`. A grid has h · w positions and
tokens have T, each a vector of C channels; a vector is one position of D channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

Shape = tuple[int, ...]

if TYPE_CHECKING:  # specs are shown by commands that should not wait for torch
    from torch import Generator, Tensor


def channels(shape: Sequence[int]) -> int:
    """Return the length of the vector at one position of a code.

    >>> channels((16,)), channels((4, 8, 8)), channels((32, 64))
    (16, 4, 64)
    """
    return shape[1] if len(shape) == 2 else shape[0]


def positions(shape: Sequence[int]) -> int:
    """Count the positions of a code; 1 for a vector.

    >>> positions((16,)), positions((4, 8, 8)), positions((32, 64))
    (1, 64, 32)
    """
    return math.prod(shape) // channels(shape)


def by_position(codes: Tensor) -> Tensor:
    """Return codes `[N, *shape]` as `[N, P, C]`, the vectors at their P positions.

    >>> import torch
    >>> by_position(torch.zeros(5, 4, 8, 8)).shape, by_position(torch.zeros(5, 16)).shape
    (torch.Size([5, 64, 4]), torch.Size([5, 1, 16]))
    """
    if codes.ndim == 2:
        return codes.unsqueeze(1)
    return codes if codes.ndim == 3 else codes.flatten(2).transpose(1, 2)


def from_positions(vectors: Tensor, shape: Sequence[int]) -> Tensor:
    """Return vectors `[N, P, C]` as codes `[N, *shape]`: the inverse of `by_position`."""
    if len(shape) == 3:
        vectors = vectors.transpose(1, 2)
    return vectors.reshape(len(vectors), *shape)


def one_position(codes: Tensor, generator: Generator) -> Tensor:
    """Return one position of each code `[N, *shape]`, chosen evenly: `[N, C]`; vectors `[N, D]` as they are.

    Points of different images are independent of each other, which positions of one image are not.
    """
    if codes.ndim == 2:
        return codes
    import torch

    vectors = by_position(codes)
    chosen = torch.randint(vectors.shape[1], (len(vectors),), generator=generator)
    return vectors[torch.arange(len(vectors)), chosen]


def pooled(codes: Tensor) -> Tensor:
    """Return the mean over positions of codes `[N, *shape]`: `[N, C]`; vectors `[N, D]` as they are."""
    return codes if codes.ndim == 2 else by_position(codes).mean(1)


def shape_text(shape: Sequence[int]) -> str:
    """Return a code's shape as it is shown.

    >>> shape_text((16,)), shape_text((4, 8, 8))
    ('16', '4×8×8')
    """
    return "×".join(map(str, shape))
