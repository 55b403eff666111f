"""A Ray cluster in processes of this machine gives the records of this machine, and survives losses."""

import importlib
import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from shared.photos import PRIME, write_photos
from shared.sweeps import SWEEP, Watcher, run, run_here, values

from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.protocol import Died
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.worker import Setup
from latentbench.data.errors import LatentbenchError

from .conftest import free_port

RAY = ExecutorSettings(name="ray")


def on_ray(tasks, function, *, settings=RAY, setup=None, exclusive=False, key=str):
    """The results of units on the cluster, and what the user is told."""
    from latentbench.bench.executors.ray_tasks import RayTasks

    notes = []
    ray = RayTasks(settings, setup or Setup.of(1, dict), notes.append)
    unit = getattr(importlib.import_module("ray_units"), function)
    with stopped_at_the_end(ray):
        return dict(Crew(ray, key=key, note=notes.append).map(unit, tasks, exclusive=exclusive)), notes


@pytest.mark.slow
def test_a_sweep_survives_the_removal_of_a_node(cluster, node, home):
    (home / "my.yaml").write_text(SWEEP)
    leaving = node()
    remove = Watcher(5, lambda: threading.Thread(target=cluster.remove_node, args=(leaving,)).start())
    there = run(home, "ray", RAY, remove)
    assert remove.left <= 0
    assert {record.status for record in there.records} == {"ok"}
    assert len(there.records) == len({record.case for record in there.records}) == 24
    assert all(record.nodes for record in there.records)
    assert values(there) == values(run_here(home))


@pytest.mark.slow
def test_node_that_joins_during_a_run_gets_work(cluster, node, home, monkeypatch):
    """Workers need two CPUs, so the new node, with a separate cache, is the only one that has room."""
    monkeypatch.setattr("latentbench.bench.executors.ray_tasks.PATIENCE_SECONDS", 1.0)
    for limit in ("LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(limit, "2")
    (home / "my.yaml").write_text(SWEEP)
    leaving = node(2)

    class Joining(Watcher):
        notes = ()

        def note(self, message):
            super().note(message)
            self.notes = (*self.notes, message)
            if message.startswith("waiting"):
                node(2, env_vars={"LATENTBENCH_CACHE": str(home / "joined")})

    watcher = Joining(5, lambda: threading.Thread(target=cluster.remove_node, args=(leaving,)).start())
    there = run(home, "ray", ExecutorSettings(name="ray", cpus=2), watcher)
    lacking = "waiting for nodes to join: no node of the Ray cluster has 2 CPUs and 0 GPUs for a worker"
    assert lacking in watcher.notes
    assert any((home / "joined" / "checkpoints").iterdir())
    assert {record.status for record in there.records} == {"ok"}
    assert len(there.records) == len(values(there)) == 24
    assert values(there) == values(run_here(home, jobs=1))  # with two threads, as a worker has


@pytest.fixture
def photos(home):
    """A prime number of images of 128 pixels, which are three batches; a suite of them."""
    write_photos(home / "photos")
    (home / "my.yaml").write_text(
        "description: x\ndata: {folder: photos, size: 128, channels: 3}\n"
        "analyses: [reconstruction, code]\nmodels: [{family: pca, latent_dim: 4}]\n"
    )
    return home


@pytest.mark.slow
def test_shards_on_a_cluster_give_the_values_of_one_pass(cluster, photos):
    whole = run_here(photos)
    assert whole.records[0].metric("mse").n == PRIME
    for shards in (1, 2, 3):
        counted = Counted()
        there = run(photos, f"shards{shards}", RAY.model_copy(update={"shards": shards}), counted)
        assert counted.shards == (shards if shards > 1 else 0)
        assert values(there) == values(whole)


@pytest.mark.slow
def test_data_sets_on_a_cluster_equal_one_process(cluster, photos):
    """Digits travel through the object store; photographs are decoded by the workers, in three shards."""
    suite = photos / "my.yaml"
    one = "data: {folder: photos, size: 128, channels: 3}"
    assert one in suite.read_text()
    suite.write_text(suite.read_text().replace(one, "data: [digits, {folder: photos, size: 128}]"))
    whole = run_here(photos)
    assert [record.metric("mse").n for record in whole.records] == [293, PRIME]
    counted = Counted()
    there = run(photos, "two", RAY.model_copy(update={"shards": 3}), counted)
    assert counted.shards == 3
    assert all(record.nodes for record in there.records)
    assert values(there) == values(whole)


class Counted(Watcher):
    """Counts the shards that workers return."""

    shards = 0
    stage = ""

    def stage_started(self, name, total, what):
        self.stage = what

    def stage_advanced(self, label):
        self.shards += self.stage == "shards"


@pytest.mark.slow
def test_a_unit_that_ends_its_worker_is_its_result(cluster):
    found, notes = on_ray([0, 3], "end")
    assert found[0] == 0
    assert isinstance(found[3], Died)
    assert [note.rpartition("tried again ")[2] for note in notes] == ["(2 of 3)", "(3 of 3)"]


@pytest.mark.slow
def test_a_worker_that_no_node_has_room_for_is_refused(cluster):
    with pytest.raises(LatentbenchError, match="no node of the Ray cluster has 64 CPUs and 0 GPUs"):
        on_ray([1], "square", settings=ExecutorSettings(name="ray", cpus=64))
    with pytest.raises(LatentbenchError, match="has the resource 'H100' that timing_on names"):
        on_ray([1], "square", settings=ExecutorSettings(name="ray", timing_on="H100"))
    with pytest.raises(LatentbenchError, match=r"no node .* 1 CPUs, 10000 GB of memory and 0 GPUs"):
        on_ray([1], "square", settings=ExecutorSettings(name="ray", memory_gb=10_000))


@pytest.mark.slow
def test_timings_continue_on_a_smaller_node(cluster, node, monkeypatch):
    """A node of two CPUs leaves, and the user is told; one of one CPU then has room for what waits."""
    from latentbench.bench.executors import ray_tasks

    monkeypatch.setattr(ray_tasks, "PATIENCE_SECONDS", 1.0)
    leaving, notes = node(2, resources={"timing": 1}), []

    def note(message):
        notes.append(message)
        if message.startswith("waiting"):
            node(1, resources={"timing": 1})

    rest = importlib.import_module("ray_units").rest
    ray = ray_tasks.RayTasks(ExecutorSettings(name="ray", timing_on="timing"), Setup.of(1, dict), note)
    with stopped_at_the_end(ray):
        results = Crew(ray, key=str, note=note).map(rest, [0.1, 0.2, 0.3], exclusive=True)
        found = [next(results)]
        cluster.remove_node(leaving)
        found += results
    assert dict(found) == {0.1: 0.1, 0.2: 0.2, 0.3: 0.3}
    assert any("no node of the Ray cluster has the resource 'timing'" in each for each in notes)


@pytest.mark.slow
def test_timings_use_every_node_and_never_share_one(cluster, node):
    """Two nodes of unequal size; the clocks of one node's timings do not overlap."""
    node(2)
    found, _ = on_ray(range(6), "timed", exclusive=True)
    spans = defaultdict(list)
    for where, start, end in found.values():
        spans[where].append((start, end))
    assert len(spans) == 2
    for of_node in map(sorted, spans.values()):
        assert all(end <= start for (_, end), (start, _) in pairwise(of_node))


@pytest.mark.slow
def test_memory_that_runs_out_is_tried_again_and_recorded(node):
    """Ray ends a worker where more of the memory is in use than the node allows, here any."""
    limits = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    node(resources={"full": 1}, env_vars=limits)
    found, notes = on_ray(
        [60], "rest", settings=ExecutorSettings(name="ray", timing_on="full"), exclusive=True
    )
    assert found[60].out_of_memory
    assert len(notes) == 2
    assert all("memory of its node ran out; its work is tried again" in note for note in notes)


@pytest.mark.slow
def test_unit_on_a_gpu_has_a_separate_process(node):
    """A process that computed on one GPU does not move to another; Ray counts GPUs, and needs none here."""
    node(num_gpus=1)
    found, _ = on_ray([1, 2, 3], "process", settings=ExecutorSettings(name="ray", gpus=0.5))
    assert len(set(found.values())) == 3


@pytest.mark.slow
def test_a_node_with_other_code_is_refused_by_name(node, tmp_path, environment):
    import latentbench.bench

    root = Path(latentbench.bench.__file__).parents[1]
    for layer in ("data", "models", "analysis", "bench"):
        shutil.copytree(root / layer, tmp_path / "latentbench" / layer)
    with (tmp_path / "latentbench" / "data" / "errors.py").open("a") as file:
        file.write("\n# Another version.\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    node(resources={"other": 1}, env_vars={"PYTHONPATH": path})
    settings = ExecutorSettings(name="ray", timing_on="other")
    with pytest.raises(LatentbenchError, match=r"node .*: has latentbench .*, but this run is of"):
        on_ray([1], "square", settings=settings, exclusive=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "photos: does not exist"),
        (
            lambda folder: next(folder.rglob("*.png")).unlink(),
            "the content has the fingerprint .* here and",
        ),
    ],
)
def test_a_node_without_the_data_is_named(cluster, photos, spoil, message):
    """The folder changes when the driver has read it, and the cluster has a separate cache."""

    class Spoiling(Watcher):
        def stage_started(self, name, total, what):
            if name == "training":
                spoil(photos / "photos")

    with pytest.raises(LatentbenchError, match=f"node .*{message}.*run the same command again"):
        run(photos, "results", RAY, Spoiling())


@pytest.mark.slow
def test_a_full_object_store_is_one_line(node):
    """A disk without room for what the object store spills."""
    node(resources={"full": 1}, env_vars={"RAY_local_fs_capacity_threshold": "0.0"})
    settings = ExecutorSettings(name="ray", timing_on="full")
    with pytest.raises(LatentbenchError, match="Ray's object store is full"):
        on_ray([300], "noise", settings=settings, exclusive=True)


@pytest.mark.slow
def test_a_unit_or_setup_that_has_no_room_is_one_line(cluster):
    large = bytes(300 * 2**20)
    with pytest.raises(LatentbenchError, match="Ray's object store is full"):
        on_ray([large], "length", key=lambda task: "large")
    with pytest.raises(LatentbenchError, match="Ray's object store is full"):
        on_ray([1], "square", setup=replace(Setup.of(1, dict), open_context=large))


@pytest.mark.parametrize("where", ["--executor ray://127.0.0.1:{}", "RAY_ADDRESS=127.0.0.1:{}"])
def test_an_address_where_nothing_answers_is_one_line(where, monkeypatch):
    pytest.importorskip("ray")
    from latentbench.bench.executors.engines import ray_cluster

    where = where.format(free_port())
    name, _, address = where.replace("=", " ").partition(" ")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(LatentbenchError, match=f"{where}: no Ray cluster answers there"):
        ray_cluster(None if name == "RAY_ADDRESS" else address)


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
