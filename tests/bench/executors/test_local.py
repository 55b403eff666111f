"""Worker processes report how they end, and end when the process that started them ends."""

import subprocess
import sys

import psutil
import pytest
from shared.units import end, vanished

from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.local import LocalProcesses
from latentbench.bench.executors.protocol import Died
from latentbench.data.errors import DataError

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


def test_a_unit_that_ends_its_process_is_identified():
    executor = LocalProcesses(2, 1, dict)
    with stopped_at_the_end(executor):
        found = dict(Crew(executor, key=str).map(end, [0, 3, -9]))
    assert found == {0: 0, 3: Died.with_exit_code(3), -9: Died.with_exit_code(-9)}
    assert found[-9].out_of_memory


@pytest.mark.parametrize("alone", [False, True])
def test_a_context_that_cannot_be_opened_is_the_error(alone):
    executor = LocalProcesses(1, 1, vanished)
    crew = Crew(executor, key=str)
    with pytest.raises(DataError, match="/photos: does not exist"), stopped_at_the_end(executor):
        crew.alone(end, 0) if alone else list(crew.map(end, [0]))
