"""Other work on the processor while something is timed, as the kernel accounts for it.

A timing is contended where any of these was seen:

- our threads were ready to run and waited for a core more than 5 % of the time (Linux tells this exactly);
- other processes, or other virtual machines, used more than half of the cores that the timing left idle,
  so that the kernel could no longer keep a whole physical core free for us;
- the median call took more than 1.3 times as long as the fastest one.

On a GPU only the last one counts: the processor merely launches the work.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

WAITED_SHARE = 0.05
BUSY_SHARE = 0.05
"""The share of all cores that other processes may use even where the timing leaves no core idle."""
IDLE_SHARE = 0.5
"""The share of the idle cores that other processes may use: beyond it, two threads may share one core."""
SPREAD = 1.3
CLOCK_TICKS_SECONDS = 0.02
"""The kernel counts processor time in ticks of 10 ms, so a difference is off by up to two of them."""


@dataclass(frozen=True)
class Contention:
    """Other use of the processor during `seconds` of timing with `threads` threads on `cores` cores."""

    seconds: float
    others_seconds: float
    """Core seconds that other processes and other virtual machines used."""
    waited_seconds: float | None
    """Seconds that our threads were ready to run and had no core; None if the kernel does not report it."""
    threads: int
    cores: int

    @property
    def others_cores(self) -> float:
        """The number of cores that others kept busy, on average."""
        return self.others_seconds / self.seconds if self.seconds else 0.0

    @property
    def others_share(self) -> float:
        """The share of all cores that others kept busy: 0 to 1."""
        return min(1.0, self.others_cores / self.cores)

    @property
    def reason(self) -> str | None:
        """The cause of a disturbance, in words; None if the timing was not disturbed."""
        if self.waited_seconds is not None and self.waited_seconds > WAITED_SHARE * self.seconds:
            return f"its threads waited for a core {self.waited_seconds / self.seconds:.0%} of the time"
        allowed = max(BUSY_SHARE * self.cores, IDLE_SHARE * (self.cores - self.threads))
        if self.others_seconds > allowed * self.seconds + CLOCK_TICKS_SECONDS:
            return f"other processes used {self.others_cores:.1f} of {self.cores} cores"
        return None


class ProcessorWatch:
    """Observes the processor from its construction until `contention` is called."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._busy, self._own, self._waited = busy_seconds(), time.process_time(), _waited_seconds()

    def contention(self, *, threads: int) -> Contention:
        """Return the other use so far, where this process computed with `threads` threads."""
        seconds = time.perf_counter() - self._started
        others = (busy_seconds() - self._busy) - (time.process_time() - self._own)
        waited = _waited_seconds()
        return Contention(
            seconds=seconds,
            others_seconds=max(0.0, others),
            # A thread that has ended has no account any more.
            waited_seconds=None
            if waited is None or self._waited is None
            else max(0.0, waited - self._waited),
            threads=threads,
            cores=os.cpu_count() or 1,  # The kernel counts for the whole machine.
        )


def busy_seconds() -> float:
    """Return core seconds since boot in which the machine was not idle, other virtual machines included."""
    times = psutil.cpu_times()
    # The kernel counts what guests take under `user` and `nice` as well.
    named = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in named))


def _waited_seconds() -> float | None:
    """Return the total seconds that the threads of this process were ready to run and waited for a core."""
    waited = None
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread may end meanwhile
            waited = (waited or 0.0) + int(path.read_bytes().split()[1]) / 1e9
    return waited
