"""A Ray cluster in processes of this machine, whose nodes come and go."""

import os
import socket

import pytest

UNITS = """
import os
import time

def end(code, context):
    return os._exit(code) if code else code

def square(number, context):
    return number**2

def rest(seconds, context):
    time.sleep(seconds)
    return seconds

def timed(number, context):
    import ray
    start = time.time()
    time.sleep(1)
    return ray.get_runtime_context().get_node_id(), start, time.time()

def process(number, context):
    return os.getpid()

def length(content, context):
    return len(content)

def noise(megabytes, context):
    return os.urandom(megabytes * 2**20)
"""
"""Units that workers import; `PYTHONPATH` of the cluster has the folder."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def small_node(cpus=1, **more):
    agents = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    ports = (*agents, "metrics_export_port")
    memory = {"object_store_memory": 100 * 2**20}
    return {"num_cpus": cpus, **memory, **{port: free_port() for port in ports}, **more}


@pytest.fixture(scope="package")
def environment(tmp_path_factory):
    """The environment of every node, which has a separate cache, as on another machine."""
    patch = pytest.MonkeyPatch()
    modules = tmp_path_factory.mktemp("modules")
    (modules / "ray_units.py").write_text(UNITS)
    patch.syspath_prepend(modules)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])]))
    patch.setenv("LATENTBENCH_CACHE", str(tmp_path_factory.mktemp("worker-cache")))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("RAY_worker_niceness", "0")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    # A busy machine needs minutes, and Ray waits for its agent only if it does not know the agent's port.
    patch.setenv("RAY_raylet_start_wait_time_s", "300")
    patch.setenv("RAY_agent_register_timeout_ms", "300000")
    patch.setenv("RAY_worker_register_timeout_seconds", "300")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield patch
    patch.undo()


@pytest.fixture(scope="package")
def cluster(environment):
    """Start a head node of one CPU."""
    pytest.importorskip("ray")
    from ray._private import services
    from ray.cluster_utils import Cluster

    start = services.start_ray_process

    def with_agent_port(command, *arguments, **options):
        listen = [part for word in command for part in word.split() if part.startswith("--listen-port=")]
        if listen:
            command = [*command, listen[0].replace("--listen-port", "--dashboard_agent_listen_port")]
        return start(command, *arguments, **options)

    environment.setattr(services, "start_ray_process", with_agent_port)
    # The driver's node has no room on its disk for what its object store would spill.
    full_disk = {"RAY_local_fs_capacity_threshold": "0.0"}
    head = {"include_dashboard": False, **small_node(env_vars=full_disk)}
    started = Cluster(initialize_head=True, head_node_args=head)
    environment.setenv("RAY_ADDRESS", started.address)
    yield started
    started.shutdown()


@pytest.fixture
def node(cluster):
    """`node(cpus, env_vars=...)` adds a node to the cluster, which leaves it after the test."""
    added = []

    def add(*arguments, **options):
        added.append(cluster.add_node(**small_node(*arguments, **options)))
        return added[-1]

    yield add
    for each in added:
        if each in cluster.list_all_nodes():
            cluster.remove_node(each)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for the driver, whose cache no worker sees."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path
