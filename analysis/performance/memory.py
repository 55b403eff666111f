"""Memory: how much a device has free, how much a call takes, and the errors of a device without enough."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Measure the peak bytes that `call` needs on a CUDA device, beyond what was allocated before it."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def is_out_of_memory(error: Exception) -> bool:
    """Return True for an out-of-memory error, which torch's CPU allocator only shows by its message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
