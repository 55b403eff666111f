"""Opens the engines, Ray and submitit; what they cannot do is one line."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentbench.bench.executors.settings import CLIENT, MEMORY_GB, ExecutorSettings
from latentbench.data.errors import LatentbenchError, optional_package

ANSWER_SECONDS = 10.0
HOST_AND_PORT = re.compile(rf"(?:{CLIENT})?([^/\s:]+):(\d{{1,5}})")


def ray_cluster(address: str | None) -> Any:
    """Return the module ray, connected to `address`, the cluster of $RAY_ADDRESS, or one of this machine.

    Raises LatentbenchError if Ray is not installed, or if no cluster answers.
    """
    ray = _imported("ray", "ray")
    asked = address or os.environ.get("RAY_ADDRESS", "")
    where = f"--executor {address}" if address else f"RAY_ADDRESS={asked}" if asked else "--executor ray"
    _refuse_silent(asked, where)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is in the error
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise LatentbenchError(f"{where}: cannot connect to a Ray cluster: {brief(error)}") from None
    finally:
        # Ray's own handler would end this process before the run says how to resume it.
        if signal.getsignal(signal.SIGTERM) is not on_sigterm:
            signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)
    return ray


def submitit_executor(settings: ExecutorSettings, folder: Path, watcher: object, *, exclusive: bool) -> Any:
    """Return submitit's executor of jobs that share a node, or have one to themselves.

    `watcher` tells it the states of Slurm's jobs.

    Raises LatentbenchError if submitit or Slurm is not installed.
    """
    submitit = _imported("slurm", "submitit")
    if settings.cluster == "slurm" and shutil.which("srun") is None:
        raise LatentbenchError(
            "--executor slurm: this machine has no command srun; start it on a login node of the cluster"
        )
    submitit.SlurmJob.watcher = watcher
    executor = submitit.AutoExecutor(folder=folder, cluster=settings.cluster)
    executor.update_parameters(
        cpus_per_task=settings.cpus,
        gpus_per_node=int(settings.gpus),
        mem_gb=settings.memory_gb or MEMORY_GB,
        slurm_partition=settings.partition,
        slurm_exclusive=True if exclusive else None,
        slurm_constraint=settings.timing_on if exclusive else None,
    )
    return executor


@contextmanager
def room_in_object_store() -> Iterator[None]:
    """Raise LatentbenchError if the object store is full, here or where a worker left its result."""
    from ray import exceptions

    try:
        yield
    except (exceptions.ObjectStoreFullError, exceptions.OutOfDiskError) as error:
        cause = brief(getattr(error, "cause", None) or error)
        raise LatentbenchError(f"Ray's object store is full: {cause}") from None


def brief(error: Exception) -> str:
    """Return the first sentence of an engine's long messages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("\x1b[33m(raylet)\x1b[0m ")[:200]


def _imported(name: str, package: str) -> Any:
    """Import the package of an executor. Raises LatentbenchError if it is not installed."""
    return optional_package(package, f"--executor {name}", package, name)


def _refuse_silent(address: str, where: str) -> None:
    """Raise LatentbenchError if nothing listens at an address: Ray itself would try for many minutes."""
    found = HOST_AND_PORT.fullmatch(address)
    if found is None:
        return
    start = "ray start --head" + (" --ray-client-server-port=PORT" if address.startswith(CLIENT) else "")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise LatentbenchError(
            f"{where}: no Ray cluster answers there ({error}); start one with: {start}"
        ) from None
