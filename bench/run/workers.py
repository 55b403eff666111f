"""Worker processes: the same function over many tasks, as many at once as there are workers.

Small models keep one core busy and no more, so a machine with many cores trains many of them at once,
a thread or a few each. With one worker everything happens in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Generic, TypeVar

import psutil
import torch

from latentbench.analysis.performance.cores import usable_cores
from latentbench.data.errors import LatentbenchError

Task = TypeVar("Task")
Result = TypeVar("Result")
Context = TypeVar("Context")

BYTES_PER_WORKER = 3e9


def default_jobs(device: torch.device) -> int:
    """One worker per usable core, as far as the memory suffices; one for a GPU, which is not shared."""
    if device.type != "cpu":
        return 1
    by_memory = int(psutil.virtual_memory().total / BYTES_PER_WORKER)
    return max(1, min(usable_cores(), by_memory))


def threads_of(jobs: int) -> int:
    """Threads for each of `jobs` workers, so that together they fill the cores."""
    return max(1, usable_cores() // jobs)


class Workers(Generic[Context]):
    """Runs tasks, `jobs` at once, each with the context of the process that it runs in."""

    def __init__(self, jobs: int, executor: Executor | None, open_context: Callable[[], Context]) -> None:
        self.jobs = jobs
        self._executor = executor
        self._open_context = open_context

    @cached_property
    def context(self) -> Context:
        """The context of this process, opened at first use."""
        return self._open_context()

    def map(self, function: Callable[[Task, Context], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `function(task, context)` of every task when it is there: in order for one worker only.

        Raises LatentbenchError if a worker was killed, as the kernel does when memory runs out.
        """
        if self._executor is None:
            for task in tasks:
                yield function(task, self.context)
            return
        futures = [self._executor.submit(_call, function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenExecutor:
            raise LatentbenchError(
                f"a worker process was killed, perhaps for want of memory; what is finished is safe, and "
                f"the same command goes on from there (fewer at once than {self.jobs}: --jobs)"
            ) from None


_worker_context: object = None
"""In a worker process: what `open_context` returned when the worker started."""


def _call(function: Callable[[Task, Any], Result], task: Task) -> Result:
    return function(task, _worker_context)


@contextmanager
def workers(jobs: int, threads: int, open_context: Callable[[], Context]) -> Iterator[Workers[Context]]:
    """`jobs` workers of `threads` threads each, each with a context of its own.

    If the block ends early, as by an interrupt, so do the workers, at once.
    """
    if jobs == 1:
        torch.set_num_threads(threads)
        yield Workers(1, None, open_context)
        return
    executor = ProcessPoolExecutor(
        jobs,
        # A forked child inherits locks of threads that it does not have; a spawned one starts clean.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(threads, open_context),
    )
    try:
        yield Workers(jobs, executor, open_context)
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def _start(threads: int, open_context: Callable[[], object]) -> None:
    """Prepare a worker: it ignores the interrupt key, and does not outlive the process that started it."""
    global _worker_context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _worker_context = open_context()


def _end_with_parent() -> None:
    """Exit at once when the parent is gone, killed perhaps: nobody would ever take the results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
