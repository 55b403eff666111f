"""The command that the gate times in latentbench's own repository."""

import json
import subprocess
import sys

import pytest

from latentbench.bench.throughput_gate import timed_workload


def test_every_line_is_answered_with_the_seconds_of_a_vae():
    command = [sys.executable, "-P", timed_workload.__file__]
    done = subprocess.run(command, input="\n\n", capture_output=True, text=True, check=True)
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(turns) == 3
    seconds = turns[-1]
    assert set(seconds) == {"encode_seconds", "decode_seconds", "train_step_seconds"}
    assert all(value > 0 for value in seconds.values())


class Clock:
    """A clock that only calls move: by a second each; and by a little whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 1e-4
        return self.now

    def call(self):
        self.now += 1.0


@pytest.mark.parametrize(("slower", "seconds"), [(0.0, 1.0), (3.0, 4.0)])
def test_calls_are_slowed_down_by_a_share_of_themselves(monkeypatch, slower, seconds):
    clock = Clock()
    monkeypatch.setattr(timed_workload, "time", clock)
    assert timed_workload.median_seconds(clock.call, slower=slower) == pytest.approx(seconds, rel=1e-2)
