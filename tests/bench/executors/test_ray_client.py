"""`ray://HOST:PORT`: a driver that is no node of the cluster gives the records of this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shared.watchers import Silent

from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

from .conftest import free_port

pytestmark = pytest.mark.slow

COMMAND = shutil.which("latentbench", path=str(Path(sys.executable).parent)) or "latentbench"
SUITE = """
description: x
data: {name: digits}
analyses: [likelihood, code]
recipe: {epochs: 2}
models: [{family: pca, latent_dim: 2}, {family: ae, latent_dim: [2, 3], hidden: 16}]
"""


def values(record):
    metrics = [(each.name, each.value, each.se, each.n) for each in record.metrics]
    return record.case, record.weights, metrics


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


def test_a_client_gives_the_records_of_this_machine(address, home):
    (home / "my.yaml").write_text(SUITE)
    arguments = ("run", "my.yaml", "--executor", address, "--device", "cpu", "--no-figures")
    done = subprocess.run(
        [COMMAND, *arguments], cwd=home, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (home / "results" / "runs" / "my").glob("*.jsonl")
    there = read(path).records
    options = Options(device="cpu", this_process=True, use_cache=False)
    here = run_suite(suites.load(str(home / "my.yaml")), Store(home / "here"), options, Silent()).records
    # Workers finish in any order.
    assert sorted(map(values, there)) == sorted(map(values, here))
    assert all(record.nodes for record in there)
