"""How long a call takes: warmed up, repeated, and given as a median with its spread.

Latency is the time of one call waited for: from its start to the end of the last work it gave the device.
On CUDA that is the time between two events in the stream, elsewhere that of the host's monotonic clock.

The median does not move when another process interrupts one repetition. Its standard error is over the
repetitions of one run, and knows nothing of what differs between runs (clock speed, temperature,
neighbours on the machine), so two runs may differ by more than it says.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Call = Callable[[], object]

LEAST_FOR_P95, LEAST_FOR_P99 = 20, 100
"""Repetitions below which a percentile would be the slowest of them all, and nothing more."""


@dataclass(frozen=True)
class Effort:
    """How often a call is repeated.

    At least `repetitions` times and `seconds` long; then until the 95 % interval of the median is within
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
    """Seconds of every repetition, in order."""

    samples: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def se(self) -> float | None:
        """The median's standard error; None below five repetitions."""
        return median_se(self.samples)

    @property
    def repetitions(self) -> int:
        """How many there were."""
        return len(self.samples)

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the repetitions stay within, ranks in between interpolated."""
        return float(np.percentile(self.samples, percent))

    def is_within(self, half_width: float) -> bool:
        """Whether the 95 % interval of the median is within ± `half_width`, a share of the median."""
        return self.se is not None and 1.96 * self.se <= half_width * self.seconds


def timed(call: Call, device: torch.device, effort: Effort | None = None) -> Timing:
    """Time `call`, by default with 3 calls to warm up, then at least 7 repetitions and 0.15 s."""
    effort = effort or Effort()
    if device.type != "cuda":
        return _repeated(call, host_clock, effort)
    with torch.cuda.device(device):  # events belong to the current device
        return _repeated(call, event_clock, effort)


def _repeated(call: Call, clock: Callable[[Call], float], effort: Effort) -> Timing:
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
        # Sorting them all after each would cost more than the quickest calls.
        look_again = math.ceil(1.2 * len(samples))
    return Timing(tuple(samples))


def _warm_up(call: Call, clock: Callable[[Call], float], effort: Effort) -> float:
    """Call until nothing is done for the first time any more; at most a third of the budget, but once.

    Returns the seconds that it took.
    """
    spent = 0.0
    for _ in range(effort.warm_up):
        spent += clock(call)
        if spent > effort.budget_seconds / 3:
            break
    return spent


def median_se(values: tuple[float, ...] | list[float]) -> float | None:
    """Standard error of a median without a distribution assumed; None below five values.

    Half the distance between the order statistics √n / 2 ranks below and above the middle: the number
    of values below the true median is binomial with that standard deviation. Ranks between two values
    are interpolated.

    >>> median_se([float(value) for value in range(1, 17)])
    2.0
    """
    count = len(values)
    if count < 5:
        return None
    middle, reach = (count - 1) / 2, math.sqrt(count) / 2
    low, high = np.interp([middle - reach, middle + reach], range(count), sorted(values))
    return float(high - low) / 2


def host_clock(call: Call) -> float:
    """Seconds of one call that does its work on the host."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def event_clock(call: Call) -> float:
    """Seconds of one call that gives its work to the current CUDA stream, which is waited for."""
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    call()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1000
