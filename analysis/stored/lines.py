"""Texts as arrays, so that they are stored with the numbers that they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def as_lines(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Encode texts as the bytes of lines, so that they can be stored as an array.

    >>> from_lines(as_lines(["a {digit}", "größer"]))
    ['a {digit}', 'größer']
    """
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8).copy()


def from_lines(lines: NDArray[np.generic]) -> list[str]:
    """Decode the texts that `as_lines` encoded."""
    return bytes(lines.astype(np.uint8)).decode().split("\n")
