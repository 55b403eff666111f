"""Returns memory that was freed to the system.

The C library keeps what a batch freed for the next one. But the small results of a batch, which are kept, lie
in the space that its large tensors left, so that those of the next batch do not fit there: the process grew
by 200 kB for each image of 128 px, although nothing of that size was kept.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from torch import Tensor

LARGE_IMAGE = 10_000
"""The least number of values of an image whose batches are so many that their space adds up."""
EVERY = 4
"""The number of batches after which memory is returned; the next batch has to request it again."""


def tidied(batches: Iterable[Tensor], image_shape: Sequence[int]) -> Iterator[Tensor]:
    """Yield batches; if images are large, return freed memory after every few of them and after the last."""
    large = math.prod(image_shape) >= LARGE_IMAGE
    for number, batch in enumerate(batches, 1):
        yield batch
        if large and number % EVERY == 0:
            return_freed_memory()
    if large:
        return_freed_memory()


def return_freed_memory() -> None:
    """Return freed memory to the system, where the C library can do that; it does nothing elsewhere."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    """Return glibc's `malloc_trim`, or None with another C library."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
