"""Runs a function over many tasks in worker processes, several at once.

A small model keeps one core busy, so a machine with many cores trains many models at once, each with one
thread or a few. A task whose process dies, for example because memory runs out, is identified:
the tasks that were running are repeated one at a time, each in a separate process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import psutil
import torch

from latentbench.analysis.performance.cores import usable_cores

Task = TypeVar("Task")
Result = TypeVar("Result")
Context = TypeVar("Context")

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


@dataclass(frozen=True)
class Died:
    """A process ended before its task was done. A negative exit code is the number of a signal."""

    exit_code: int

    @property
    def out_of_memory(self) -> bool:
        """True if the process was killed as the kernel does when memory runs out."""
        return self.exit_code == -signal.SIGKILL

    def __str__(self) -> str:
        if self.exit_code >= 0:
            return f"its process ended with exit code {self.exit_code}"
        with suppress(ValueError):
            name = signal.Signals(-self.exit_code).name
            hint = ", as happens when memory runs out" if self.out_of_memory else ""
            return f"its process was ended by {name}{hint}"
        return f"its process was ended by signal {-self.exit_code}"


class Workers(Generic[Context]):
    """Runs tasks, up to `jobs` at once, each with the context of the process that it runs in."""

    def __init__(self, jobs: int, threads: int, open_context: Callable[[], Context]) -> None:
        self.jobs, self.threads, self.open_context = jobs, threads, open_context
        self._pool: ProcessPoolExecutor | None = None

    def map(
        self,
        function: Callable[[Task, Context], Result],
        tasks: Sequence[Task],
        *,
        at_once: int | None = None,
    ) -> Iterator[tuple[Task, Result | Died]]:
        """Yield each task with `function(task, context)` as soon as it is done, in any order."""
        waiting, running = deque(tasks), dict[Future[Result], Task]()
        while waiting or running:
            suspects: list[Task] = []
            while waiting and len(running) < min(self.jobs, at_once or self.jobs):
                task = waiting.popleft()
                try:
                    running[self._submit(function, task)] = task
                except BrokenExecutor:
                    suspects.append(task)
                    break
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                task = running.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    suspects.append(task)
                else:
                    yield task, result
            if suspects:
                suspects += running.values()
                running.clear()
                self.close()
                for task in suspects:
                    yield task, self.alone(function, task)

    def alone(self, function: Callable[[Task, Context], Result], task: Task) -> Result | Died:
        """Return `function(task, context)` from a separate process, or how that process died."""
        receiver, sender = SPAWN.Pipe(duplex=False)
        arguments = (sender, self.threads, self.open_context, function, task)
        process = SPAWN.Process(target=_answer, args=arguments)
        with _interrupt_blocked():
            process.start()
        sender.close()
        try:
            result: Result | Died = receiver.recv()
        except EOFError:
            process.join()
            return Died(process.exitcode or 0)
        process.join()
        return result

    def close(self) -> None:
        """End the worker processes; the next task starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def kill(self) -> None:
        """End the worker processes at once, during any task."""
        for child in multiprocessing.active_children():
            child.terminate()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, function: Callable[[Task, Context], Result], task: Task) -> Future[Result]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.jobs, mp_context=SPAWN, initializer=_start, initargs=(self.threads, self.open_context)
            )
        with _interrupt_blocked():
            return self._pool.submit(_call, function, task)


class ThisProcess(Workers[Context]):
    """Runs tasks one by one in this process, for a debugger and for functions that cannot be pickled."""

    @cached_property
    def context(self) -> Context:
        """The context, opened at first use."""
        torch.set_num_threads(self.threads)
        return self.open_context()

    def map(
        self,
        function: Callable[[Task, Context], Result],
        tasks: Sequence[Task],
        *,
        at_once: int | None = None,
    ) -> Iterator[tuple[Task, Result | Died]]:
        """Yield each task with `function(task, context)`, in order."""
        del at_once
        for task in tasks:
            yield task, function(task, self.context)


@contextmanager
def workers(
    jobs: int, threads: int, open_context: Callable[[], Context], *, this_process: bool = False
) -> Iterator[Workers[Context]]:
    """Provide `jobs` workers of `threads` threads each; if the block raises, they end at once."""
    crew = (ThisProcess if this_process else Workers)(jobs, threads, open_context)
    try:
        yield crew
    except BaseException:
        crew.kill()
        raise
    crew.close()


_context: Any = None
"""In a worker process: the result of `open_context` when the process started."""


def _start(threads: int, open_context: Callable[[], object]) -> None:
    """Prepare a worker process, which leaves interrupts to its parent and ends with it."""
    global _context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _context = open_context()


def _call(function: Callable[[Task, Any], Result], task: Task) -> Result:
    return function(task, _context)


def _answer(
    sender: Connection,
    threads: int,
    open_context: Callable[[], object],
    function: Callable[[Task, Any], Result],
    task: Task,
) -> None:
    _start(threads, open_context)
    sender.send(_call(function, task))


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
