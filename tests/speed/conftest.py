"""Time ours and a rival in turn in one process, and report the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch


@dataclass(frozen=True)
class Outcome:
    """Median seconds of both, and what each returned last."""

    seconds: float
    rival_seconds: float
    value: Any
    rival_value: Any

    @property
    def ratio(self) -> float:
        """Return how many times faster our code is."""
        return self.rival_seconds / self.seconds


@pytest.fixture
def side_by_side(benchmark):
    """`side_by_side(ours, rival, rounds=3)`: both in turn, so that both see the same machine.

    pytest-benchmark records ours; the rival's median and the ratio go with it as extra information.
    """

    def run(
        ours: Callable[[], Any], rival: Callable[[], Any], *, rounds: int, warm_up: bool = True
    ) -> Outcome:
        seconds, values = [], []

        def rivals_turn():
            started = time.perf_counter()
            values.append(rival())
            seconds.append(time.perf_counter() - started)

        if warm_up:
            ours()
            rival()
        value = benchmark.pedantic(ours, setup=rivals_turn, rounds=rounds)
        outcome = Outcome(benchmark.stats.stats.median, statistics.median(seconds), value, values[-1])
        benchmark.extra_info.update(rival_seconds=outcome.rival_seconds, ratio=outcome.ratio)
        return outcome

    return run


@pytest.fixture
def say(benchmark, capsys):
    """`say(what, outcome, rival, reached)` prints past pytest's capture: the ratio is the result.

    The words go with the record too, so that a table can be made of it.
    """

    def say(what: str, outcome: Outcome, rival: str, reached: str) -> None:
        benchmark.extra_info.update(what=what, rival=rival, reached=reached)
        with capsys.disabled():
            print(
                f"\n{what}: {outcome.seconds:.3g} s against {outcome.rival_seconds:.3g} s for {rival}, "
                f"ratio {outcome.ratio:.2f}; {reached}"
            )

    return say


def pytest_benchmark_update_machine_info(machine_info):
    """A record names the hardware, not the machine."""
    machine_info.pop("node", None)
    if torch.cuda.is_available():
        machine_info["gpu"] = torch.cuda.get_device_name()
