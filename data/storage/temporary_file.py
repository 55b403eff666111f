"""Tensors whose values lie in a temporary file, so that codes of many images take no main memory.

The system keeps the values in memory while there is room, and writes them out where there is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from latentbench.data.storage.cache import cache_root
from latentbench.data.storage.files import reserved_file

FOLDER = "scratch"


def values_in_file(shape: Sequence[int]) -> Tensor:
    """Return a float32 tensor of zeros in a file of the cache, which is gone when the tensor is.

    Where the system or the disk has no room for such a file, it is a tensor in memory.
    """
    with suppress(OSError):
        folder = cache_root() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with reserved_file(math.prod(shape) * np.dtype(np.float32).itemsize, folder) as file:
            if file is not None:
                return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=tuple(shape)))
    return torch.zeros(*shape)


def room_for_codes(count: int, shape: Sequence[int]) -> Tensor:
    """Return a float32 tensor `[count, *shape]` for codes: in a file if they are grids or tokens.

    >>> room_for_codes(3, (16,)).shape
    torch.Size([3, 16])
    """
    return torch.zeros(count, *shape) if len(shape) == 1 else values_in_file((count, *shape))
