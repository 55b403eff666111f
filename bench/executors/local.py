"""Runs units in worker processes of this machine, several at once.

A small model keeps one core busy, so a machine with many cores trains many models at once, each with one
thread or a few. A unit whose process dies, for example because memory runs out, is identified:
the units that were running are repeated one at a time, each in a separate process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch

from latentbench.analysis.performance.cores import prepare_to_compute, usable_cores
from latentbench.bench.executors.protocol import Died, Unit

BYTES_PER_WORKER = 3e9
SPAWN = multiprocessing.get_context("spawn")
"""A forked child would inherit locks of threads that it does not have; a spawned one starts clean."""


def default_jobs(device: torch.device) -> int:
    """Return the number of workers: one per core as far as memory allows; one for a GPU."""
    if device.type != "cpu":
        return 1
    by_memory = int(psutil.virtual_memory().total / BYTES_PER_WORKER)
    return max(1, min(usable_cores(), by_memory))


def threads_of(jobs: int) -> int:
    """Return the threads of each of `jobs` workers, so that together they fill the cores."""
    return max(1, usable_cores() // jobs)


class LocalProcesses:
    """An executor of up to `jobs` worker processes, each of which opens the context once."""

    exclusive_at_once = 1

    def __init__(self, jobs: int, threads: int, open_context: Callable[[], object]) -> None:
        self.at_once, self._threads, self._open_context = jobs, threads, open_context
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[Any], Unit] = {}
        self._alone: deque[Unit] = deque()

    def submit(self, unit: Unit) -> None:
        """Start a unit in a worker process; a unit that runs alone waits for `finished`."""
        if unit.alone:
            self._alone.append(unit)
            return
        try:
            self._running[self._start(unit)] = unit
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
        """Return a unit's result from a separate process, or how that process died."""
        receiver, sender = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=_answer, args=(sender, self._threads, self._open_context, unit))
        with _interrupt_blocked():
            process.start()
        sender.close()
        try:
            result = receiver.recv()
        except EOFError:
            process.join()
            return Died.with_exit_code(process.exitcode or 0)
        process.join()
        return result

    def _start(self, unit: Unit) -> Future[Any]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.at_once,
                mp_context=SPAWN,
                initializer=_prepare,
                initargs=(self._threads, self._open_context),
            )
        with _interrupt_blocked():
            return self._pool.submit(_call, unit)


class ThisProcess:
    """An executor that runs units one by one in this process, as a debugger needs it."""

    at_once = exclusive_at_once = 1

    def __init__(self, threads: int, open_context: Callable[[], object]) -> None:
        self._threads, self._open_context = threads, open_context
        self._waiting: deque[Unit] = deque()

    @cached_property
    def _context(self) -> object:
        prepare_to_compute(self._threads)
        return self._open_context()

    def submit(self, unit: Unit) -> None:
        """Let a unit wait for `finished`."""
        self._waiting.append(unit)

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Run the next unit."""
        unit = self._waiting.popleft()
        return [(unit.key, unit.function(unit.task, self._context))]

    def stop(self, *, now: bool) -> None:
        """Do nothing: no unit is running."""


_context: Any = None
"""In a worker process: the result of `open_context` when the process started."""


def _prepare(threads: int, open_context: Callable[[], object]) -> None:
    """Prepare a worker process, which leaves interrupts to its parent and ends with it."""
    global _context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_to_compute(threads)
    _context = open_context()


def _call(unit: Unit) -> Any:
    return unit.function(unit.task, _context)


def _answer(sender: Connection, threads: int, open_context: Callable[[], object], unit: Unit) -> None:
    _prepare(threads, open_context)
    sender.send(_call(unit))


@contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Start processes in which the interrupt key has no effect while they import modules."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Exit at once when the parent has ended: nothing would read the results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
