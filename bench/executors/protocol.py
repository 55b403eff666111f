"""The one protocol of all executors: submit a unit of work, receive finished ones, stop.

A unit is a pure function of its task and of a context, so it may run twice: on another machine after the
first was lost, or again after the program was restarted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Unit:
    """`function(task, context)`, in a process that opened the context."""

    key: str
    """Names the unit; of several results for one key the first counts."""
    function: Callable[[Any, Any], Any]
    task: Any
    exclusive: bool = False
    """True if it needs a machine to itself, as a timing does."""
    alone: bool = False
    """True if it may end its process: it then runs in a separate one."""
    cases: int = 1
    """The number of cases that it works on, from which its time follows."""


@dataclass(frozen=True)
class Died:
    """A process or a machine ended before its unit was done."""

    reason: str
    out_of_memory: bool = False
    may_succeed_elsewhere: bool = False
    """True if the machine may be the cause, so that the unit is worth another try."""

    @classmethod
    def with_exit_code(cls, code: int) -> Died:
        """Describe how a process of this machine ended; a negative code is the number of a signal."""
        if code >= 0:
            return cls(f"its process ended with exit code {code}")
        killed = code == -signal.SIGKILL  # as the kernel does when memory runs out
        with suppress(ValueError):
            hint = ", as happens when memory runs out" if killed else ""
            return cls(f"its process was ended by {signal.Signals(-code).name}{hint}", killed)
        return cls(f"its process was ended by signal {-code}")

    def __str__(self) -> str:
        return self.reason


class Executor(Protocol):
    """Runs units of work somewhere."""

    at_once: int
    """The number of units that should be submitted and unfinished at a time."""
    exclusive_at_once: int
    """The same for exclusive units."""

    def submit(self, unit: Unit) -> None:
        """Start a unit, or let it wait for its turn."""

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Wait for results: pairs of a unit's key and its result, which is `Died` if it has none.

        May return without any; raises LatentbenchError if the work cannot continue.
        """

    def stop(self, *, now: bool) -> None:
        """End the workers; with `now` in the middle of their units."""
