"""Runs units in worker processes of this machine, several at once.

A small model keeps one core busy, so a machine with many cores trains many models at once, each with one
thread or a few. A unit whose process dies, for example because memory runs out, is identified:
the units that were running are repeated one at a time, each in a pool of one process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from functools import cache
from typing import Any

from latentbench.analysis.performance.cores import prepare_to_compute
from latentbench.bench.executors.protocol import Died, Unit


class LocalProcesses:
    """An executor of up to `jobs` worker processes, each of which opens the context once."""

    exclusive_at_once = 1

    def __init__(self, jobs: int, threads: int, open_context: Callable[[], object]) -> None:
        self.at_once, self._prepared = jobs, (threads, open_context)
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[Any], Unit] = {}
        self._alone: deque[Unit] = deque()

    def submit(self, unit: Unit) -> None:
        """Start a unit in a worker process; a unit that runs alone waits for `finished`."""
        if unit.alone:
            self._alone.append(unit)
            return
        self._pool = self._pool or self._opened(self.at_once)
        try:
            self._running[_started(unit, self._pool)] = unit
        except BrokenExecutor:
            self._suspect([unit])

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Wait for a unit in a worker process, or run one that runs alone."""
        if self._alone:
            unit = self._alone.popleft()
            return [(unit.key, self._run_alone(unit))]
        results, suspects = [], []
        for future in wait(self._running, return_when=FIRST_COMPLETED).done:
            unit = self._running.pop(future)
            try:
                results.append((unit.key, future.result()))
            except BrokenExecutor:
                suspects.append(unit)
        if suspects:
            self._suspect(suspects)
        return results

    def stop(self, *, now: bool) -> None:
        """End the worker processes."""
        if now:
            for child in multiprocessing.active_children():
                child.terminate()
        if self._pool is not None:
            self._pool.shutdown(wait=not now, cancel_futures=now)
            self._pool = None

    def _suspect(self, units: list[Unit]) -> None:
        """Run these units and all running ones alone: any of them may have ended its process."""
        self._alone.extend([*units, *self._running.values()])
        self._running.clear()
        self.stop(now=False)

    def _run_alone(self, unit: Unit) -> Any:
        """Return a unit's result from a pool of one process, or how that process died."""
        pool, others = self._opened(1), multiprocessing.active_children()
        future = _started(unit, pool)
        (process,) = set(multiprocessing.active_children()).difference(others)
        wait([future])
        pool.shutdown()
        try:
            return future.result()
        except BrokenExecutor:
            return Died.with_exit_code(process.exitcode or 0)

    def _opened(self, size: int) -> ProcessPoolExecutor:
        # A forked child would inherit locks of threads that it does not have; a spawned one starts clean.
        return ProcessPoolExecutor(size, multiprocessing.get_context("spawn"), _prepare, self._prepared)


class ThisProcess:
    """An executor that runs units one by one in this process, as a debugger needs it."""

    at_once = exclusive_at_once = 1

    def __init__(self, threads: int, open_context: Callable[[], object]) -> None:
        self._threads, self._context = threads, cache(open_context)
        self._waiting: deque[Unit] = deque()

    def submit(self, unit: Unit) -> None:
        """Let a unit wait for `finished`."""
        self._waiting.append(unit)

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Run the next unit."""
        prepare_to_compute(self._threads)
        unit = self._waiting.popleft()
        return [(unit.key, unit.function(unit.task, self._context()))]

    def stop(self, *, now: bool) -> None:
        """Do nothing: no unit is running."""


_context: Callable[[], Any]
"""Opens the context of this worker process once. If that fails, so does the unit, with the same error."""


def _prepare(threads: int, open_context: Callable[[], object]) -> None:
    """Prepare a worker process, which leaves interrupts to its parent and ends with it."""
    global _context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_to_compute(threads)
    _context = cache(open_context)


def _call(unit: Unit) -> Any:
    return unit.function(unit.task, _context())


def _started(unit: Unit, pool: ProcessPoolExecutor) -> Future[Any]:
    """Hand a unit to a pool, whose new process ignores the interrupt key while it imports modules."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_call, unit)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Exit at once when the parent has ended: nothing would read the results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
