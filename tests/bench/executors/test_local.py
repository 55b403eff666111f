"""Worker processes end when the process that started them ends."""

import os
import subprocess
import sys

import psutil
import pytest
import torch

from latentbench.bench.executors.local import default_jobs, threads_of

PARENT = """
import os, sys, time
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.local import LocalProcesses

def task(number, context):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    executor = LocalProcesses(2, 1, dict)
    with stopped_at_the_end(executor):
        list(Crew(executor, key=str).map(task, [1, 2]))
"""


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    with parent:
        children = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        assert all(child.is_running() for child in children)
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_workers_use_only_the_cores_that_are_allowed():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert (default_jobs(torch.device("cpu")), threads_of(1)) == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)
