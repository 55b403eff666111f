"""Runs one function over many tasks on any executor, and keeps the first result of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar

from latentbench.bench.executors.protocol import Died, Executor, Unit

Task = TypeVar("Task")

TRIES = 3
"""The number of tries of a unit that may have died because of its machine."""


def one(task: Any) -> int:
    """Count a task as one case."""
    del task
    return 1


def unchanged(task: Any) -> Any:
    """Return a task as it is: worker processes of this machine need no packing."""
    return task


class Crew(Generic[Task]):
    """Workers that share an executor. `pack` and `unpack` convert a task and its result for the journey.

    `cases` counts the cases of a task, and `note` receives a line for each unit that is tried again.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        key: Callable[[Task], str],
        cases: Callable[[Task], int] = one,
        pack: Callable[[Task], Any] = unchanged,
        unpack: Callable[[Any], Task] = unchanged,
        note: Callable[[str], None] = unchanged,
    ) -> None:
        self.executor, self._key, self._pack, self._unpack = executor, key, pack, unpack
        self._cases, self._note = cases, note
        self._tries: dict[str, int] = {}
        self._units: dict[str, Unit] = {}
        self._arrived: dict[str, Any] = {}

    def map(
        self, function: Callable[[Task, Any], Task], tasks: Sequence[Task], *, exclusive: bool = False
    ) -> Iterator[tuple[Task, Task | Died]]:
        """Yield each task with `function(task, context)` as soon as it is done, in any order."""
        at_once = self.executor.exclusive_at_once if exclusive else self.executor.at_once
        waiting, running = deque(tasks), dict[str, Task]()
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.popleft()
                running[self._submit(function, task, exclusive=exclusive)] = task
            key, outcome = self._next(running)
            yield running.pop(key), outcome

    def alone(
        self, function: Callable[[Task, Any], Task], task: Task, *, exclusive: bool = False
    ) -> Task | Died:
        """Return `function(task, context)` from a separate process, or how that process died."""
        key = self._submit(function, task, exclusive=exclusive, alone=True)
        return self._next([key])[1]

    def _submit(
        self,
        function: Callable[[Task, Any], Task],
        task: Task,
        *,
        exclusive: bool,
        alone: bool = False,
    ) -> str:
        unit = Unit(self._key(task), function, self._pack(task), exclusive, alone, self._cases(task))
        self._units[unit.key], self._tries[unit.key] = unit, 1
        self.executor.submit(unit)
        return unit.key

    def _next(self, keys: Collection[str]) -> tuple[str, Task | Died]:
        """Wait for the result of any of these units."""
        while not (ready := [key for key in self._arrived if key in keys]):
            for key, outcome in self.executor.finished():
                self._receive(key, outcome)
        return ready[0], self._arrived.pop(ready[0])

    def _receive(self, key: str, outcome: Any) -> None:
        if key not in self._units:  # a second result
            return
        if not isinstance(outcome, Died):
            del self._units[key]
            self._arrived[key] = self._unpack(outcome)
        elif outcome.may_succeed_elsewhere and self._tries[key] < TRIES:
            self._tries[key] += 1
            self._note(f"{outcome}; its work is tried again ({self._tries[key]} of {TRIES})")
            self._units[key] = replace(self._units[key], alone=True)
            self.executor.submit(self._units[key])
        else:
            del self._units[key]
            self._arrived[key] = outcome


@contextmanager
def stopped_at_the_end(executor: Executor) -> Iterator[None]:
    """Stop an executor after the block; at once if the block raises."""
    try:
        yield
    except BaseException:
        executor.stop(now=True)
        raise
    executor.stop(now=False)
