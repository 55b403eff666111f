"""The processor cores that this process may use, and the workers and threads that fill them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import psutil
import torch
from threadpoolctl import threadpool_limits

from latentbench.analysis.core.freed_memory import reuse_freed_memory

BYTES_PER_WORKER = 3e9
GPU_BYTES_PER_WORKER = 8e9
CORES_PER_GPU_WORKER = 2
"""Much of what is measured of a model runs on the processor, so several workers share a GPU."""


def usable_cores() -> int:
    """Return the number of cores that this process may use: at least 1.

    A process may have fewer than the machine: by its affinity (`taskset`, a scheduler's cpuset), by a
    container's quota of processor time (cgroup version 1 or 2), or by LOKY_MAX_CPU_COUNT.
    """
    return int(joblib.cpu_count())


def default_jobs(device: torch.device) -> int:
    """Return the number of workers: one per core, or per two cores for a GPU, as far as memory allows."""
    limits = [usable_cores(), int(psutil.virtual_memory().total / BYTES_PER_WORKER)]
    if device.type == "cuda":
        limits[0] //= CORES_PER_GPU_WORKER
        limits.append(int(torch.cuda.get_device_properties(device).total_memory / GPU_BYTES_PER_WORKER))
    return max(1, min(limits))


def threads_of(jobs: int) -> int:
    """Return the threads of each of `jobs` workers: together they fill the cores.

    They are at most OMP_NUM_THREADS where it is set: on cores that do other work too, threads that wait for
    each other are several times slower than one.
    """
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    fill = max(1, usable_cores() // jobs)
    return min(fill, int(allowed)) if allowed.isdecimal() and int(allowed) else fill


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
