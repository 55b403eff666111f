"""Seeds from hashes: a draw is named by its purpose, so adding one changes no other."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator


def derive(seed: int, *purpose: str) -> int:
    """Derive a 63-bit seed from a run's seed and names that state its purpose.

    >>> derive(0, "order") == derive(0, "order"), derive(0, "order") == derive(0, "noise")
    (True, False)
    """
    digest = hashlib.sha256("\0".join([str(seed), *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_seed(seed: int) -> int:
    """Bring a seed into the 32 bits that numpy, and so scikit-learn and umap-learn, take."""
    return seed % 2**32


def generator(seed: int, *purpose: str, device: torch.device | str = "cpu") -> Generator:
    """Return a torch generator on `device`, seeded by `derive`."""
    return Generator(device).manual_seed(derive(seed, *purpose))
