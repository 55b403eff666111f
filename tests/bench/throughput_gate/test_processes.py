"""A timed process that fails, or never answers, is one line; what it started ends with it."""

import sys

import psutil
import pytest
from shared.commands import wait_until

from latentbench.bench.throughput_gate.processes import Arm, TimedProcess
from latentbench.data.errors import LatentbenchError

ONE_TURN = """
import sys
print('{"step_seconds": 1}', flush=True)
sys.stdin.readline()
"""


def has_ended(pid):
    """True for a zombie as well: a process of another parent stays one until that parent waits for it."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def arm(folder, program, **settings):
    return Arm("head", folder, (sys.executable, "-c", program), **settings)


def test_seconds_of_every_turn_are_kept(tmp_path):
    program = """
import json, sys
print("other output")
for turn in range(1, 4):
    print(json.dumps({"step_seconds": turn}), flush=True)
    sys.stdin.readline()
"""
    with TimedProcess(arm(tmp_path, program)) as process:
        assert [process.take_turn([process]) for _ in range(4)] == [True, True, True, False]
    assert [turn["step_seconds"] for turn in process.sample().turns] == [1, 2, 3]


def test_failure_at_a_later_turn_is_reported(tmp_path):
    with TimedProcess(arm(tmp_path, ONE_TURN + 'sys.exit("no more")')) as process:
        assert process.take_turn([process])
        with pytest.raises(LatentbenchError, match=r"failed with exit 1: no more$"):
            process.take_turn([process])


def test_command_without_an_end_exceeds_the_time_limit(tmp_path):
    """Its child keeps the output open, and ends as well."""
    program = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open("child", "w").write(str(child.pid))
child.wait()
"""
    with (
        TimedProcess(arm(tmp_path, program, longest_turn_seconds=3.0)) as process,
        pytest.raises(LatentbenchError, match="printed no seconds within 3 s"),
    ):
        process.take_turn([process])
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: has_ended(child), seconds=20)
