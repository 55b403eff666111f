"""Seeds from hashes: a draw is named by what it is for, so adding one moves no other."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator


def derive(seed: int, *purpose: str) -> int:
    """A 63-bit seed from a run's seed and the names of what it is for.

    >>> derive(0, "order") == derive(0, "order"), derive(0, "order") == derive(0, "noise")
    (True, False)
    """
    digest = hashlib.sha256("\0".join([str(seed), *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str, device: torch.device | str = "cpu") -> Generator:
    """A torch generator on `device`, seeded by `derive`."""
    return Generator(device).manual_seed(derive(seed, *purpose))
