"""The processor cores that this process may use, and its number of computing threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import torch
from threadpoolctl import threadpool_limits

from latentbench.analysis.core.freed_memory import reuse_freed_memory


def usable_cores() -> int:
    """Return the number of cores that this process may use: at least 1.

    A process may have fewer than the machine: by its affinity (`taskset`, a scheduler's cpuset), by a
    container's quota of processor time (cgroup version 1 or 2), or by LOKY_MAX_CPU_COUNT.
    """
    return int(joblib.cpu_count())


def prepare_to_compute(count: int) -> None:
    """Let this process compute with `count` threads, and reuse freed memory from the first call on."""
    torch.set_num_threads(count)
    reuse_freed_memory()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch and the BLAS of numpy compute with `count` threads inside the block."""
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
