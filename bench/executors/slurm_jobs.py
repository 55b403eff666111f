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

from latentbench.bench.executors.engines import PENDING, SlurmQueue, brief, death_of, submitit_executor
from latentbench.bench.executors.protocol import Unit
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.worker import JobBatch, Setup, result_of
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import cache_root

POLL_SECONDS = 1.0
START_MINUTES = 5.0
"""The part of a job's wall time for imports and for opening the data."""
ANY_NUMBER = 1_000_000
RETRY_SECONDS = 10.0
"""After so long a job that Slurm has refused is submitted again."""
PATIENCE_SECONDS = 60.0
"""After so long without a result the user learns how many jobs wait in the queue, or that Slurm is silent."""


@dataclass
class _SlurmJob:
    """A job that was submitted, with those of its units that have no result yet."""

    handle: Any
    batch: JobBatch
    left: dict[int, Unit] = field(default_factory=dict)


class SlurmJobs:
    """An executor that submits jobs when it is asked for results, so that waiting units can share them."""

    at_once = exclusive_at_once = ANY_NUMBER

    def __init__(self, settings: ExecutorSettings, setup: Setup, note: Callable[[str], None]) -> None:
        self._settings, self._setup, self.workers = settings, setup, settings.jobs
        self._note, self._tell_at = note, time.monotonic() + PATIENCE_SECONDS
        self._folder = cache_root() / "jobs" / setup.id
        self._queue = SlurmQueue()
        self._executors = {
            exclusive: submitit_executor(settings, self._folder / "logs", self._queue, exclusive=exclusive)
            for exclusive in (True, False)
        }
        self._waiting: list[Unit] = []
        self._submit_at, self._refusal, self._count = -math.inf, "", 0
        self._jobs: list[_SlurmJob] = []
        self._taken: set[bool] = set()
        """The kinds of job, exclusive or not, that Slurm has accepted: no node may suit a kind."""

    def submit(self, unit: Unit) -> None:
        """Let a unit wait for a job."""
        self._waiting.append(unit)

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Submit jobs for waiting units, and return new results."""
        if time.monotonic() >= self._submit_at:
            waiting, self._waiting = self._waiting, []
            for exclusive in (True, False):
                self._submit_jobs([unit for unit in waiting if unit.exclusive == exclusive], exclusive)
        results = [result for job in self._jobs for result in self._results(job)]
        self._jobs = [job for job in self._jobs if job.left]
        if results:
            self._tell_at = max(self._tell_at, time.monotonic() + PATIENCE_SECONDS)
        else:
            self._tell_of_queue()
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
        for start in range(0, len(units), max(1, size)):
            group = units[start : start + size]
            cases = sum(unit.cases for unit in group)
            minutes = START_MINUTES + cases * self._settings.minutes_per_case
            executor.update_parameters(timeout_min=math.ceil(minutes))
            folder = self._folder / f"job{self._count + 1}"
            batch = JobBatch(self._setup, tuple(map(pickle.dumps, group)), folder)
            try:
                handle = executor.submit(batch)
            except Exception as error:
                self._submit_later(units[start:], brief(error))
                return
            self._count, self._refusal = self._count + 1, ""
            self._taken.add(exclusive)
            self._jobs.append(_SlurmJob(handle, batch, dict(enumerate(group))))

    def _submit_later(self, units: list[Unit], refusal: str) -> None:
        """Let units wait again: Slurm is down, or allows no more jobs at a time.

        Raises LatentbenchError for the first job of a run, and where Slurm answers, has taken no job of this
        kind, and has none of this run that could be in the way.
        """
        new = units[0].exclusive not in self._taken and not self._jobs
        if new and (not self._taken or self._queue.answers()):
            raise LatentbenchError(f"--executor slurm: cannot submit a job: {refusal}") from None
        self._waiting += units
        self._refusal, self._submit_at = refusal, time.monotonic() + RETRY_SECONDS

    def _tell_of_queue(self) -> None:
        """Say once how many jobs wait for Slurm to start them, or that it does not answer or takes no job."""
        if time.monotonic() < self._tell_at:
            return
        waiting = sum(str(job.handle.state) == PENDING for job in self._jobs)
        if failure := self._refusal or self._queue.failure:
            self._note(f"the run waits for Slurm, which says: {failure}")
        elif waiting:
            self._note(f"{waiting} of {len(self._jobs)} Slurm jobs wait in the queue")
        else:
            return
        self._tell_at = math.inf

    def _results(self, job: _SlurmJob) -> list[tuple[str, Any]]:
        """Return a job's new results; if it has ended without all of them, the unit in progress died."""
        ended = job.handle.done()  # asked first, so that everything an ended job wrote is found below
        found = []
        for number in list(job.left):
            path = job.batch.result(number)
            if path.exists():
                result = result_of(pickle.loads(path.read_bytes()))
                path.write_bytes(b"")  # an empty file still tells a job that is queued again to skip the unit
                found.append((job.left.pop(number).key, result))
        if ended and job.left:
            job.handle.cancel(check=False)  # in case Slurm has only lost sight of it
            in_hand = job.left.pop(min(job.left))
            self._waiting.extend(job.left.values())
            job.left.clear()
            found.append((in_hand.key, death_of(job.handle)))
        return found
