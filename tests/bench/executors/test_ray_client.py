"""`ray://HOST:PORT`: a driver that is no node of the cluster gives the records of this machine."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from shared.commands import COMMAND
from shared.sweeps import run_here, values

from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.worker import Setup
from latentbench.bench.store.run import read

from .conftest import free_port

pytestmark = pytest.mark.slow

SUITE = """
description: x
data: {name: digits}
analyses: [likelihood, code]
recipe: {epochs: 2}
models: [{family: pca, latent_dim: 2}, {family: ae, latent_dim: [2, 3], hidden: 16}]
"""


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def address(environment, tmp_path_factory):
    """Start a head node with a client server by `ray start`, which ends with its process."""
    pytest.importorskip("ray")
    port = free_port()
    own_ports = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
    options = {
        "port": free_port(),
        "ray-client-server-port": port,
        "num-cpus": 1,
        "object-store-memory": 100 * 2**20,
        "include-dashboard": "false",
        "temp-dir": tmp_path_factory.mktemp("r"),
        **{f"{name}-port": free_port() for name in own_ports},
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = (sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block")
    head = subprocess.Popen(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not answers(port):
        assert head.poll() is None, head.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield f"ray://127.0.0.1:{port}"
    head.terminate()
    try:
        head.communicate(timeout=60)
    finally:
        if head.poll() is None:
            os.killpg(head.pid, signal.SIGKILL)


def test_a_client_gives_timings_a_node(address):
    from latentbench.bench.executors.ray_tasks import RayTasks

    square = importlib.import_module("ray_units").square
    ray = RayTasks(ExecutorSettings(name="ray", address=address), Setup.of(1, dict), print)
    with stopped_at_the_end(ray):
        assert dict(Crew(ray, key=str).map(square, [2, 3], exclusive=True)) == {2: 4, 3: 9}


def test_a_client_gives_the_records_of_this_machine(address, home):
    (home / "my.yaml").write_text(SUITE)
    arguments = ("run", "my.yaml", "--executor", address, "--device", "cpu", "--no-figures")
    done = subprocess.run(
        [COMMAND, *arguments], cwd=home, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (home / "results" / "runs" / "my").glob("*.jsonl")
    there = read(path)
    assert values(there) == values(run_here(home))
    assert all(record.nodes for record in there.records)
