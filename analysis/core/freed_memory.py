"""Freed memory: reused by the next batch while it lasts, and returned to the system after large images.

By itself glibc requests each large tensor from the system anew, which clears its pages, until it has seen
enough of them freed. So a convolutional network took twice as long for a batch in a fresh process as in one
that had worked for a while.

What it keeps has a price. The small results of a batch, which are kept, lie in the space that its large
tensors left, so that those of the next batch do not fit there: the process grew by 200 kB for each image of
128 px, although nothing of that size was kept.
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
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
REUSED_BELOW = 2**25
"""Blocks below this many bytes are reused: the limit to which glibc raises its own threshold at most."""
KEPT = 2**30
"""Free bytes at the end of the heap that are kept: more than one batch of the zoo's models takes."""


def tidied(batches: Iterable[Tensor], image_shape: Sequence[int]) -> Iterator[Tensor]:
    """Yield batches; if images are large, return freed memory after every few of them and after the last."""
    large = math.prod(image_shape) >= LARGE_IMAGE
    for number, batch in enumerate(batches, 1):
        yield batch
        if large and number % EVERY == 0:
            return_freed_memory()
    if large:
        return_freed_memory()


@cache
def reuse_freed_memory() -> None:
    """Let this process reuse freed memory from the first call on, with glibc; it does nothing elsewhere."""
    set_option = _c_function("mallopt")
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, REUSED_BELOW)
        set_option(M_TRIM_THRESHOLD, KEPT)


def return_freed_memory() -> None:
    """Return freed memory to the system, where the C library can do that; it does nothing elsewhere."""
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _c_function(name: str) -> Any:
    """Return a function of glibc, or None with another C library."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
