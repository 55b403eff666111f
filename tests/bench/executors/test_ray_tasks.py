"""A Ray cluster of two nodes in processes of this machine, one of which is removed in the middle."""

import importlib
import os
import socket
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from latentbench.bench.cli.progress import Lines
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.protocol import Died
from latentbench.bench.executors.settings import ExecutorSettings, parse
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError

RAY = ExecutorSettings(name="ray")
MODELS = "{family: pca, latent_dim: [2, 3, 4]}, {family: ae, latent_dim: [2, 3, 4], hidden: 16}"
SUITE = f"""
description: 24 small cases
data: digits
seeds: 4
analyses: [likelihood, code]
recipe: {{epochs: 5}}
models: [{MODELS}]
"""


ENDING = """
import importlib
import os

def end(code, context):
    return os._exit(code) if code else code
"""


class Watcher(Lines):
    """Does something once, when so many steps of stages are done; prints as `latentbench run` does."""

    def __init__(self, after=None, act=None):
        super().__init__(Console(width=110))
        self.left, self.act = after, act

    def stage_advanced(self, label):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.act()


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start a head node; it has a cache of its own, as on another machine."""
    pytest.importorskip("ray")
    from ray._private import services
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    modules = tmp_path_factory.mktemp("modules")
    (modules / "ending_unit.py").write_text(ENDING)
    patch.syspath_prepend(modules)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])]))
    patch.setenv("LATENTBENCH_CACHE", str(tmp_path_factory.mktemp("worker-cache")))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("RAY_worker_niceness", "0")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    # A busy machine needs minutes, and Ray waits for its agent only if it does not know the agent's port.
    patch.setenv("RAY_raylet_start_wait_time_s", "300")
    patch.setenv("RAY_agent_register_timeout_ms", "300000")
    start = services.start_ray_process

    def with_agent_port(command, *arguments, **options):
        listen = [part for word in command for part in word.split() if part.startswith("--listen-port=")]
        if listen:
            command = [*command, listen[0].replace("--listen-port", "--dashboard_agent_listen_port")]
        return start(command, *arguments, **options)

    patch.setattr(services, "start_ray_process", with_agent_port)
    head = {"include_dashboard": False, **small_node(1)}
    started = Cluster(initialize_head=True, head_node_args=head)
    patch.setenv("RAY_ADDRESS", started.address)
    yield started
    started.shutdown()
    patch.undo()


def small_node(cpus):
    agents = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    ports = (*agents, "metrics_export_port")
    return {"num_cpus": cpus, "object_store_memory": 100 * 2**20, **{port: free_port() for port in ports}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my.yaml").write_text(SUITE)
    return tmp_path


def values(run):
    return {
        record.case: (record.weights, [(each.name, each.value, each.se, each.n) for each in record.metrics])
        for record in run.records
    }


@pytest.mark.slow
def test_a_sweep_survives_the_removal_of_a_node(cluster, home):
    node = cluster.add_node(**small_node(1))
    loaded = suites.load(str(home / "my.yaml"))
    remove = Watcher(5, lambda: threading.Thread(target=cluster.remove_node, args=(node,)).start())
    there = run_suite(loaded, Store(home / "ray"), Options(device="cpu", executor=RAY), remove)
    assert remove.left <= 0
    assert {record.status for record in there.records} == {"ok"}
    assert len(there.records) == len({record.case for record in there.records}) == 24
    assert all(record.nodes for record in there.records)
    here = run_suite(
        loaded, Store(home / "local"), Options(device="cpu", this_process=True, use_cache=False), Watcher()
    )
    assert values(there) == values(here)


@pytest.mark.slow
def test_a_unit_that_ends_its_worker_is_its_result(cluster):
    from latentbench.bench.executors.ray_tasks import RayTasks
    from latentbench.bench.executors.worker import Setup

    end = importlib.import_module("ending_unit").end
    notes = []
    ray = RayTasks(RAY, Setup.of(1, dict), notes.append)
    with stopped_at_the_end(ray):
        found = dict(Crew(ray, key=str, note=notes.append).map(end, [0, 3]))
    assert found[0] == 0
    assert isinstance(found[3], Died)
    assert [note.rpartition("tried again ")[2] for note in notes] == ["(2 of 3)", "(3 of 3)"]


@pytest.mark.slow
def test_a_worker_that_no_node_has_room_for_is_refused(cluster):
    from latentbench.bench.executors.ray_tasks import RayTasks
    from latentbench.bench.executors.worker import Setup

    setup = Setup.of(1, dict)
    with pytest.raises(LatentbenchError, match="no node of the Ray cluster has 64 CPUs and 0 GPUs"):
        RayTasks(ExecutorSettings(name="ray", cpus=64), setup, print)
    with pytest.raises(LatentbenchError, match="has the resource 'H100' that timing_on names"):
        RayTasks(ExecutorSettings(name="ray", timing_on="H100"), setup, print)


def test_an_address_where_nothing_answers_is_one_line():
    pytest.importorskip("ray")
    from latentbench.bench.executors.ray_tasks import RayTasks
    from latentbench.bench.executors.worker import Setup

    address = f"ray://127.0.0.1:{free_port()}"
    with pytest.raises(LatentbenchError, match=f"--executor {address}: no Ray cluster answers there"):
        RayTasks(parse(address, "--executor"), Setup.of(1, dict), print)


WITHOUT = """
import sys
sys.modules["ray"] = sys.modules["submitit"] = None
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.worker import Setup
from latentbench.bench.run.team import REMOTE
for name, kind in REMOTE.items():
    try:
        kind(ExecutorSettings(name=name), Setup.of(1, dict), print)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_missing_engine_names_its_extra():
    said = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True).stdout
    ray, slurm = said.splitlines()
    assert ray.endswith("--executor ray needs the package ray: python -m pip install 'latentbench[ray]'")
    assert slurm.endswith("needs the package submitit: python -m pip install 'latentbench[slurm]'")
