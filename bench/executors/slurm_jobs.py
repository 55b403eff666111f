"""Runs units in Slurm jobs through submitit; short units share a job with a wall time that fits.

A job writes each result to the shared folder as soon as it exists. So a job that is pre-empted and queued
again continues where it was, and one that dies loses only the unit in progress.
"""

from __future__ import annotations

import math
import pickle
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from latentbench.bench.executors.engines import brief, submitit_executor
from latentbench.bench.executors.protocol import Died, Unit
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.worker import JobBatch, Setup, result_of
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import cache_root

POLL_SECONDS = 1.0
START_MINUTES = 5.0
"""The part of a job's wall time for imports and for opening the data."""
ANY_NUMBER = 1_000_000
OUT_OF_MEMORY, PREEMPTED = "OUT_OF_MEMORY", "PREEMPTED"
PREEMPTED_SECONDS = 600.0
"""A job that stays pre-empted for so long has ended: some clusters do not queue it again."""


@dataclass
class _SlurmJob:
    """A job that was submitted, with those of its units that have no result yet."""

    handle: Any
    batch: JobBatch
    left: dict[int, Unit] = field(default_factory=dict)
    preempted: float | None = None
    """When it was first seen pre-empted, unless it was queued again since; for submitit it has not ended."""

    def has_ended(self) -> bool:
        """Ask whether the job has ended; one that stays pre-empted is cancelled."""
        if self.handle.done():
            return True
        if str(self.handle.state) != PREEMPTED:
            self.preempted = None
            return False
        self.preempted = self.preempted or time.monotonic()
        if time.monotonic() - self.preempted < PREEMPTED_SECONDS:
            return False
        self.handle.cancel(check=False)
        return True


class SlurmJobs:
    """An executor that submits jobs when it is asked for results, so that waiting units can share them."""

    at_once = exclusive_at_once = ANY_NUMBER

    def __init__(self, settings: ExecutorSettings, setup: Setup, note: Callable[[str], None]) -> None:
        del note
        self._settings, self._setup, self.workers = settings, setup, settings.jobs
        self._folder = cache_root() / "jobs" / setup.id
        self._executors = {
            exclusive: submitit_executor(settings, self._folder / "logs", exclusive=exclusive)
            for exclusive in (True, False)
        }
        self._waiting: list[Unit] = []
        self._jobs: list[_SlurmJob] = []
        self._count = 0

    def submit(self, unit: Unit) -> None:
        """Let a unit wait for a job."""
        self._waiting.append(unit)

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Submit jobs for waiting units, and return new results."""
        for exclusive in (True, False):
            self._submit_jobs([unit for unit in self._waiting if unit.exclusive == exclusive], exclusive)
        self._waiting.clear()
        results = [result for job in self._jobs for result in self._results(job)]
        self._jobs = [job for job in self._jobs if job.left]
        if not results:
            time.sleep(POLL_SECONDS)
        return results

    def stop(self, *, now: bool) -> None:
        """Cancel the jobs that are running or waiting, and remove their files unless a job failed."""
        for job in self._jobs:
            job.handle.cancel(check=False)
        if not now:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _submit_jobs(self, units: list[Unit], exclusive: bool) -> None:
        size = math.ceil(len(units) / self._settings.jobs)
        executor = self._executors[exclusive]
        executor.update_parameters(
            timeout_min=math.ceil(START_MINUTES + size * self._settings.minutes_per_case)
        )
        for start in range(0, len(units), max(1, size)):
            group = units[start : start + size]
            self._count += 1
            batch = JobBatch(self._setup, tuple(map(pickle.dumps, group)), self._folder / f"job{self._count}")
            try:
                handle = executor.submit(batch)
            except Exception as error:
                raise LatentbenchError(f"--executor slurm: cannot submit a job: {brief(error)}") from None
            self._jobs.append(_SlurmJob(handle, batch, dict(enumerate(group))))

    def _results(self, job: _SlurmJob) -> list[tuple[str, Any]]:
        """Return a job's new results; if it has ended without all of them, the unit in progress died."""
        ended = job.has_ended()  # asked first: what it wrote before is then seen
        found = []
        for number in list(job.left):
            path = job.batch.result(number)
            if path.exists():
                result = result_of(pickle.loads(path.read_bytes()))
                path.write_bytes(b"")  # an empty file still tells a job that is queued again to skip the unit
                found.append((job.left.pop(number).key, result))
        if ended and job.left:
            in_hand = job.left.pop(min(job.left))
            self._waiting.extend(job.left.values())
            job.left.clear()
            found.append((in_hand.key, _death(job.handle)))
        return found


def _death(handle: Any) -> Died:
    state = str(handle.state)
    said = (handle.stderr() or "").strip().splitlines()
    last = f": {said[-1][:200]}" if said else ""
    return Died(f"job {handle.job_id} ended as {state}{last}", state == OUT_OF_MEMORY, True)
