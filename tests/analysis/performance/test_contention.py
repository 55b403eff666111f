"""Other work on the processor is seen where it disturbs a timing, with processes that really compute."""

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from latentbench.analysis.performance.contention import Contention, ProcessorWatch
from latentbench.analysis.performance.cores import threads
from latentbench.analysis.performance.timing import Effort, timed

SPIN = "import os\nprint(flush=True)\nwhile os.getppid() == {}: pass"


@contextmanager
def busy(processes):
    """So many processes that keep a core busy each; they end with the block or with this process."""
    import os

    command = [sys.executable, "-c", SPIN.format(os.getpid())]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for process in running:
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def seen(**values):
    quiet = {"seconds": 1.0, "others_seconds": 0.0, "waited_seconds": 0.0, "threads": 1, "cores": 4}
    return Contention(**{**quiet, **values})


@pytest.mark.parametrize(
    ("values", "disturbed"),
    [
        ({}, False),
        ({"others_seconds": 1.4}, False),  # of three idle cores, fewer than half
        ({"others_seconds": 1.6}, True),
        ({"others_seconds": 0.3, "threads": 4}, True),  # every core is ours
        ({"others_seconds": 0.15, "threads": 4}, False),  # a twentieth of the machine
        ({"waited_seconds": 0.04}, False),
        ({"waited_seconds": 0.06}, True),
        ({"waited_seconds": None}, False),
        ({"others_seconds": 0.02, "seconds": 0.01, "threads": 4}, False),  # below a clock tick
    ],
)
def test_disturbance_depends_on_the_cores_left_idle(values, disturbed):
    assert (seen(**values).reason is not None) == disturbed


def test_own_work_is_not_contention_of_others():
    watch = ProcessorWatch()
    end = time.monotonic() + 0.5
    began = time.process_time()
    while time.monotonic() < end:
        pass
    found, own = watch.contention(threads=1), time.process_time() - began
    assert found.others_cores < found.cores - 0.9 * own / found.seconds


def test_a_busy_machine_marks_a_timing():
    """One process more than there are cores: the timed thread has to wait for its turn."""
    import os

    with threads(1), busy((os.cpu_count() or 1) + 1):
        a = torch.rand(256, 256)
        timing = timed(lambda: a @ a, torch.device("cpu"), Effort(seconds=0.5))
    assert timing.contention.others_cores > 0.2
    assert timing.disturbance is not None
