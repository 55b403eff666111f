"""Opens the engines Ray and submitit, and turns their failures into errors of one line."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentbench.bench.executors.protocol import Died
from latentbench.bench.executors.settings import CLIENT, MEMORY_GB, ExecutorSettings
from latentbench.data.errors import LatentbenchError, optional_package

ANSWER_SECONDS = 10.0
PENDING, PREEMPTED = "PENDING", "PREEMPTED"
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED"),
    *("TIMEOUT", "FORGOTTEN"),
}
"""The states of a job that has ended; Slurm forgets one some minutes after its end."""
LOST_SECONDS = 600.0
"""A job that stays pre-empted for so long has ended: some clusters do not queue it again."""
STATE_SECONDS = 10.0
"""Slurm is asked for the states of jobs at most this often."""
JOB_AND_STATE = re.compile(r"^ *(\d+) +([A-Z_]+) *$", re.MULTILINE)
"""A line of squeue's answer; sites wrap the command, and print others."""
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
            warnings.simplefilter("ignore")  # their messages are in the error
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise LatentbenchError(f"{where}: cannot connect to a Ray cluster: {brief(error)}") from None
    finally:
        # Ray's own handler would end this process before the run says how to resume it.
        if signal.getsignal(signal.SIGTERM) is not on_sigterm:
            signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)
    return ray


class SlurmQueue:
    """Tells submitit the states of jobs as squeue has them.

    submitit's own watcher asks sacct, which needs Slurm's accounting and tells a state late.
    """

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._preempted: dict[str, float] = {}
        """Since when a job has been pre-empted."""
        self._asked = -math.inf
        self.failure = ""
        """The reason if squeue did not answer the last time; the states are then those of its last answer."""

    def register_job(self, job_id: str) -> None:
        """Take a job as waiting until squeue is asked again."""
        self._states[job_id] = PENDING

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return the state of a job. `mode` is submitit's; squeue is asked if the last answer is old."""
        if job_id not in self._states:  # another run of this process has submitted it
            self.register_job(job_id)
        if mode != "cache" and time.monotonic() - self._asked >= STATE_SECONDS:
            self._ask()
        return self._states[job_id]

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Return whether a job has ended, or has been pre-empted for too long to be queued again."""
        ended = self.get_state(job_id, mode) in ENDED
        return ended or time.monotonic() - self._preempted.get(job_id, math.inf) >= LOST_SECONDS

    def answers(self) -> bool:
        """Ask squeue now, and return whether it answered."""
        self._ask()
        return not self.failure

    def _ask(self) -> None:
        # The user's settings, such as SQUEUE_PARTITION, would hide jobs; so would hidden partitions.
        command = ["squeue", "--me", "--all", "--states=all", "--noheader", "--format=%i %T"]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=60, env=plain
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.failure = (getattr(error, "stderr", None) or str(error)).strip()
        else:
            listed = dict(JOB_AND_STATE.findall(answer.stdout))
            self._states = {job: listed.get(job, "FORGOTTEN") for job in self._states}
            preempted = (job for job, state in self._states.items() if state == PREEMPTED)
            self._preempted = {job: self._preempted.get(job, time.monotonic()) for job in preempted}
            self.failure = ""
        self._asked = time.monotonic()


def submitit_executor(settings: ExecutorSettings, folder: Path, queue: SlurmQueue, *, exclusive: bool) -> Any:
    """Return submitit's executor of jobs that share a node, or have one to themselves.

    `queue` tells it the states of Slurm's jobs.

    Raises LatentbenchError if submitit or Slurm is not installed.
    """
    submitit = _imported("slurm", "submitit")
    if settings.cluster == "slurm" and shutil.which("srun") is None:
        raise LatentbenchError(
            "--executor slurm: this machine has no command srun; start it on a login node of the cluster"
        )
    submitit.SlurmJob.watcher = queue
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


def death_of(job: Any) -> Died:
    """Return the end of one of submitit's jobs, with the last line that it wrote to stderr."""
    state = str(job.state)
    said = (job.stderr() or "").strip().splitlines()
    last = f": {said[-1][:200]}" if said else ""
    return Died(f"job {job.job_id} ended as {state}{last}", state == "OUT_OF_MEMORY", True)


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
    """Return one line of an engine's long message: the first, with the last where the first announces it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = lines[0].removeprefix("\x1b[33m(raylet)\x1b[0m ")
    return (f"{said} {lines[-1].strip()}" if said.endswith(":") and lines[1:] else said)[:200]


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
