"""Memory: how much a device has free, how much a call takes, and the errors of a device without enough.

Containers and Slurm jobs limit memory by control groups. Source: Linux kernel,
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes; of a CPU, what the limit of a container or job leaves."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available, limited = psutil.virtual_memory().available, free_in_container()
    return available if limited is None else min(available, limited)


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


@dataclass(frozen=True)
class _Files:
    """The names of the files of a version of control groups."""

    limit: str
    used: str
    reclaimed: str
    """The entry of `memory.stat` with the bytes of cached files, which are given up when memory is needed."""


V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = _Files("memory.max", "memory.current", "inactive_file")


def free_in_container(root: Path = Path("/")) -> int | None:
    """Return the bytes until the nearest limit, at least 0; None where there is no limit.

    `root` is the root of the file system.
    """
    left = [
        free
        for folder, files in _groups(root)
        for group in (folder, *folder.parents)
        if (free := _left(group, files)) is not None
    ]
    return max(0, min(left)) if left else None


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """Yield the folder of this process in each hierarchy that limits memory."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield mounted / path.lstrip("/"), V2
        elif "memory" in controllers.split(","):
            yield mounted / "memory" / path.lstrip("/"), V1


def _left(group: Path, files: _Files) -> int | None:
    """Return the limit less what is used and cannot be given up; None for a group without a limit."""
    try:
        limit, used = (int((group / name).read_text(encoding="utf-8")) for name in (files.limit, files.used))
        statistics = (group / "memory.stat").read_text(encoding="utf-8")
    except (OSError, ValueError):  # no such file, or the word `max`
        return None
    cached = re.search(rf"^{files.reclaimed} (\d+)$", statistics, re.MULTILINE)
    return limit - used + (int(cached[1]) if cached else 0)
