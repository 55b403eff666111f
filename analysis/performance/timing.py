"""The time of a call: warmed up, repeated, and summarised by its median or by a low quantile.

Latency is the time from the start of a call to the end of the last work that it gave the device. On CUDA it
is the time between two events in the stream, elsewhere that of the host's monotonic clock.

Other work on the machine only ever makes a call slower, so the low quantile (the 10th percentile of the call
times) estimates what the model takes, and the median what a caller waits for on this machine now. With one
thread the low quantile stays the same while another process computes; with as many threads as cores no
quantile does, since every call then waits for the thread that lost its core. So a `Timing` records what
disturbed it.

A standard error is over the repetitions of one process. It does not cover what differs between processes
(clock speed, temperature, where memory lies), so two runs may differ by more than it says.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from latentbench.analysis.core.freed_memory import reuse_freed_memory
from latentbench.analysis.performance.contention import SPREAD, Contention, ProcessorWatch

Call = Callable[[], object]
Clock = Callable[[Call], float]
"""Makes one call and returns its seconds."""

LEAST_FOR_P95, LEAST_FOR_P99 = 20, 100
"""Fewer repetitions would make a percentile equal to the slowest of them."""
LOW = 0.1
"""The low quantile."""
LEAST_FOR_LOW_SE, LEAST_FOR_MEDIAN_SE = 10, 5
"""The error of a quantile is unknown below this number of repetitions."""
PAUSE_SECONDS = 0.5
"""The wait before a contended timing is repeated, after which a short disturbance has ended."""


@dataclass(frozen=True)
class Effort:
    """The number of repetitions of a call.

    At least `repetitions` of them and `seconds` long; then until the 95 % interval of the median is within
    ± `half_width` of it, or `budget_seconds` are spent. Where one call is so slow that the budget ends
    before that, there are fewer repetitions, but always one.
    """

    warm_up: int = 3
    repetitions: int = 7
    seconds: float = 0.15
    half_width: float = math.inf
    budget_seconds: float = math.inf


@dataclass(frozen=True)
class Timing:
    """Seconds of every repetition, in order, and other use of the processor meanwhile."""

    samples: tuple[float, ...]
    contention: Contention | None = None
    """None on a GPU, where the processor merely launches the work."""

    @cached_property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.samples)

    @property
    def median_se(self) -> float | None:
        """The median's standard error; None below five repetitions."""
        return quantile_se(self.samples, 0.5) if self.repetitions >= LEAST_FOR_MEDIAN_SE else None

    @cached_property
    def low(self) -> float:
        """The low quantile, in seconds."""
        return self.percentile(100 * LOW)

    @property
    def low_se(self) -> float | None:
        """The low quantile's standard error; None below ten repetitions."""
        return quantile_se(self.samples, LOW) if self.repetitions >= LEAST_FOR_LOW_SE else None

    @property
    def repetitions(self) -> int:
        """The number of repetitions."""
        return len(self.samples)

    @property
    def disturbance(self) -> str | None:
        """The reason why the timing must not decide anything; None if it was not disturbed."""
        if self.contention is not None and (reason := self.contention.reason):
            return reason
        spread = self.median / min(self.samples)
        return f"the median call took {spread:.1f} times as long as the fastest" if spread > SPREAD else None

    def percentile(self, percent: float) -> float:
        """Return a percentile of the repetitions, in seconds, interpolated between ranks."""
        return float(np.percentile(self.samples, percent))

    def is_within(self, half_width: float) -> bool:
        """Return True if the 95 % interval of the median is within ± `half_width`, a share of the median."""
        return self.median_se is not None and 1.96 * self.median_se <= half_width * self.median


def timed(
    call: Call,
    device: torch.device,
    effort: Effort | None = None,
    *,
    clock: Clock | None = None,
    watch: Callable[[], ProcessorWatch | None] = ProcessorWatch,
) -> Timing:
    """Time `call`, by default with 3 calls to warm up, then at least 7 repetitions and 0.15 s.

    `clock` replaces the device's own clock, and `watch` the observer of the processor.
    """
    effort = effort or Effort()
    reuse_freed_memory()  # otherwise the time would depend on what the process did before
    if device.type != "cuda":
        return _repeated(call, clock or host_clock, effort, watch())
    with torch.cuda.device(device):  # events belong to the current device
        return _repeated(call, clock or event_clock, effort, None)


def timed_when_quiet(
    calls: Mapping[str, tuple[Call, Effort]],
    device: torch.device,
    *,
    retries: int = 3,
    clock: Clock | None = None,
    pause: Callable[[float], object] = time.sleep,
    watch: Callable[[], ProcessorWatch | None] = ProcessorWatch,
) -> dict[str, Timing]:
    """Time every call; repeat the disturbed ones after all the others, up to `retries` times.

    Of the attempts at a call, the least disturbed one is kept.
    """
    attempt = partial(timed, clock=clock, watch=watch)
    timings = {name: attempt(call, device, effort) for name, (call, effort) in calls.items()}
    for _ in range(retries):
        disturbed = [name for name, timing in timings.items() if timing.disturbance]
        if not disturbed:
            break
        pause(PAUSE_SECONDS)
        for name in disturbed:
            call, effort = calls[name]
            timings[name] = less_disturbed(timings[name], attempt(call, device, effort))
    return timings


def less_disturbed(first: Timing, second: Timing) -> Timing:
    """Return the timing without a disturbance; if that does not decide, the faster one."""
    return min(first, second, key=lambda timing: (timing.disturbance is not None, timing.low))


def _repeated(call: Call, clock: Clock, effort: Effort, watch: ProcessorWatch | None) -> Timing:
    spent = _warm_up(call, clock, effort)
    samples: list[float] = []
    look_again = effort.repetitions
    while not samples or spent < effort.budget_seconds:
        samples.append(clock(call))
        spent += samples[-1]
        if len(samples) < look_again or math.fsum(samples) < effort.seconds:
            continue
        if effort.half_width == math.inf or Timing(tuple(samples)).is_within(effort.half_width):
            break
        # Sorting all of them after each call would cost more than the quickest calls.
        look_again = math.ceil(1.2 * len(samples))
    return Timing(
        tuple(samples), None if watch is None else watch.contention(threads=torch.get_num_threads())
    )


def _warm_up(call: Call, clock: Clock, effort: Effort) -> float:
    """Call until first-time work is done: at least once, for at most a third of the budget.

    Returns the total seconds of these calls.
    """
    spent = 0.0
    for _ in range(effort.warm_up):
        spent += clock(call)
        if spent > effort.budget_seconds / 3:
            break
    return spent


def quantile_se(values: Sequence[float], quantile: float) -> float:
    """Estimate the standard error of a quantile of n values, without assuming a distribution.

    It is half the distance between the order statistics √(n q (1 − q)) ranks below and above it: the number
    of values below the true quantile is binomial with that standard deviation. Ranks between two values are
    interpolated; a rank beyond the ends is the end.

    >>> quantile_se([float(value) for value in range(1, 17)], 0.5)
    2.0
    """
    count = len(values)
    rank, reach = (count - 1) * quantile, math.sqrt(count * quantile * (1 - quantile))
    low, high = np.interp([rank - reach, rank + reach], range(count), sorted(values))
    return float(high - low) / 2


def host_clock(call: Call) -> float:
    """Time one call that does its work on the host, in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def event_clock(call: Call) -> float:
    """Time one call that gives its work to the current CUDA stream, in seconds; waits for that work."""
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    call()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1000
