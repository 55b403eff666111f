"""Twenty kills at random moments lose no result and change no number."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from latentbench.analysis.catalogue import ANALYSES
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.bench.store.verify import verify

pytestmark = pytest.mark.slow

KILLS = 20
MOST_CHANGES = 8
"""Changes of its files before a run is killed: few, so that kills hit its training, timing and measuring."""
LONGEST_DELAY_SECONDS = 0.3
SUITE = """
description: x
data: digits
analyses: [likelihood, training, throughput]
recipe: {epochs: 2}
seeds: 2
models: [{family: pca, latent_dim: 2}, {family: [ae, vae], latent_dim: 2, hidden: 16}]
"""
CASES = 6
SERVER = """
import os, sys
from pathlib import Path
import torch
from latentbench import data
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store

class Silent:
    def __getattr__(self, name):
        return lambda *arguments: None

torch.set_num_threads(1)
data.load("digits")
for line in sys.stdin:
    folder = Path(line.strip())
    child = os.fork()
    if child == 0:
        os.environ["LATENTBENCH_CACHE"] = str(folder / "cache")
        options = Options(device="cpu", jobs=1, this_process=True)
        run_suite(suites.load("my.yaml"), Store(folder / "results"), options, Silent())
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs the suite in a forked child for each line with a folder; a child need not import torch again."""


class Server:
    """The process whose children run the suite; one child at a time."""

    def __init__(self, home):
        (home / "my.yaml").write_text(SUITE)
        command = [sys.executable, "-c", SERVER]
        self._process = subprocess.Popen(
            command, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder):
        """Start a run in a folder; return the id of its process."""
        print(folder, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def join(self):
        """Wait for the child, and return its exit code."""
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.close()


def files(folder):
    """The files of the run and the cache, which change with everything that is finished or being written."""
    return sorted(os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)


def has_ended(pid):
    """A child that the server has waited for is gone, and one that it has not is a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def kill_at_random(pid, folder, draws):
    """Kill the run a random time after it changed its files a random number of times; say if it was there."""
    for _ in range(draws.randint(0, MOST_CHANGES)):
        before = files(folder)
        while files(folder) == before and not has_ended(pid):
            time.sleep(0.002)
    time.sleep(draws.uniform(0, LONGEST_DELAY_SECONDS))
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def measured(folder):
    """Every number of the only run of a store but timings, after checking that the store is intact."""
    store = Store(folder / "results")
    assert verify(store).ok
    (path,) = store.paths()
    run = read(path)
    assert run.finished
    assert len(run.records) == CASES
    timings = {metric.name for metric in ANALYSES["throughput"].metrics}
    return {
        (record.case, metric.name): (record.weights, metric.value, metric.se, metric.reason)
        for record in run.records
        for metric in record.metrics
        if metric.name not in timings
    }


def test_twenty_kills_lose_nothing_and_change_no_number(tmp_path, server):
    folder = tmp_path / "undisturbed"
    server.start(folder)
    assert server.join() == 0
    expected = measured(folder)
    folder, draws, kills = tmp_path / "killed", random.Random(0), 0
    while kills < KILLS:
        killed = kill_at_random(server.start(folder), folder, draws)
        code = server.join()
        kills += code == -signal.SIGKILL
        assert code == 0 or killed
        if code == 0:
            assert measured(folder) == expected
            shutil.rmtree(folder)
    server.start(folder)
    assert server.join() == 0
    assert measured(folder) == expected
