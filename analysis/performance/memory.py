"""What memory a device has left, what a call takes of it, and what it looks like when there is too little."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch


def free_memory(device: torch.device) -> int:
    """Bytes that a device has to give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that `call` needed on a CUDA device at its peak, beyond what was allocated before it."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def is_out_of_memory(error: Exception) -> bool:
    """CUDA has an exception of its own; torch's CPU allocator only a message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
