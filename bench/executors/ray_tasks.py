"""Runs units as tasks of a Ray cluster; Ray places them, and this module submits lost ones again."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any

from latentbench.bench.executors.engines import ray_cluster, room_in_object_store
from latentbench.bench.executors.protocol import Died, Unit
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.worker import Setup, perform, result_of
from latentbench.data.errors import LatentbenchError

POLL_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""After so long without a result the user learns what the cluster lacks, if it lacks something."""
AT_ONCE = 1000
"""Units known to Ray at a time: enough for any cluster, and few enough for the memory of the driver."""


class RayTasks:
    """An executor of tasks on the nodes of a Ray cluster, which may join and leave."""

    at_once = exclusive_at_once = AT_ONCE

    def __init__(self, settings: ExecutorSettings, setup: Setup, note: Callable[[str], None]) -> None:
        self._ray = ray_cluster(settings.address)
        self._settings, self._note = settings, note
        self._running: dict[Any, str] = {}
        self._timings: deque[Unit] = deque()
        self._timed_on: dict[Any, str] = {}
        self._quiet_since = monotonic()
        self._resources = {
            "num_cpus": settings.cpus,
            "num_gpus": settings.gpus,
            "max_retries": 0,  # the crew tries again, on any executor
        }
        if settings.memory_gb is not None:
            self._resources["memory"] = settings.memory_bytes
        try:
            if lacking := self._lacking():
                raise LatentbenchError(lacking)
            with room_in_object_store():
                self._setup = self._ray.put(setup)
        except LatentbenchError:
            self.stop(now=True)
            raise
        self.workers = max(1, sum(map(self._workers_on, self._nodes().values())))
        # Named here and not per unit, GPUs make Ray start a process for each unit: one that computed on a GPU
        # before would stay on that GPU, also where Ray assigns it another.
        self._task = self._ray.remote(**self._resources)(perform)

    def submit(self, unit: Unit) -> None:
        """Hand a unit to Ray; a timing waits for a node to itself."""
        if unit.exclusive:
            self._timings.append(unit)
        else:
            self._start(unit)

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Wait for a few seconds for any unit."""
        self._start_timings()
        if not self._running:
            sleep(POLL_SECONDS)
        done, _ = self._ray.wait([*self._running], timeout=POLL_SECONDS) if self._running else ([], [])
        if done:
            self._quiet_since = monotonic()
        elif monotonic() - self._quiet_since > PATIENCE_SECONDS:
            self._quiet_since = monotonic()
            if lacking := self._lacking():
                self._note(f"waiting for nodes to join: {lacking}")
        for reference in done:
            self._timed_on.pop(reference, None)
        return [(self._running.pop(reference), self._result(reference)) for reference in done]

    def stop(self, *, now: bool) -> None:
        """Cancel what is running, and leave the cluster."""
        if now:
            for reference in self._running:
                self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _result(self, reference: Any) -> Any:
        from ray import exceptions

        try:
            with room_in_object_store():
                return result_of(self._ray.get(reference))
        except exceptions.OutOfMemoryError:
            return Died("Ray ended its process, since the memory of its node ran out", True, True)
        except exceptions.RayTaskError as error:
            cause = str(error.cause or error).strip().splitlines()[-1]
            raise LatentbenchError(
                f"a Ray worker cannot run this code: {cause}; install latentbench on every node"
            ) from None
        except exceptions.RayError as error:
            return Died(f"its Ray worker or node ended ({type(error).__name__})", may_succeed_elsewhere=True)

    def _start(self, unit: Unit, **options: Any) -> Any:
        task = self._task.options(name=unit.key[:50], **options)
        with room_in_object_store():
            reference = task.remote(self._setup, pickle.dumps(unit))
        self._running[reference] = unit.key
        return reference

    def _start_timings(self) -> None:
        """Give each node that has no timing one that waits, and all CPUs: nothing else runs next to it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = self._nodes(timing=True) if self._timings else {}
        for node in nodes.keys() - self._timed_on.values():
            if self._timings and self._workers_on(nodes[node]):
                place = NodeAffinitySchedulingStrategy(node, soft=False)
                options = {"num_cpus": nodes[node]["CPU"], "scheduling_strategy": place}
                self._timed_on[self._start(self._timings.popleft(), **options)] = node

    def _nodes(self, *, timing: bool = False) -> dict[str, dict[str, float]]:
        """Return the resources of the nodes that are alive, or of those on which timings run, by id."""
        nodes = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
        label = self._settings.timing_on if timing else None
        return {node: offered for node, offered in nodes.items() if label is None or label in offered}

    def _workers_on(self, node: dict[str, float]) -> int:
        """Return the number of workers for which a node has room."""
        wanted = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
        needed = {name: self._resources.get(option, 0) for name, option in wanted.items()}
        return int(min(node.get(name, 0) / amount for name, amount in needed.items() if amount))

    def _lacking(self) -> str | None:
        """Return what no node offers, None if units and timings can run somewhere."""
        given, label = self._settings, self._settings.timing_on
        timing = self._nodes(timing=True)
        if label and not timing:
            return f"no node of the Ray cluster has the resource {label!r} that timing_on names"
        memory = "" if given.memory_gb is None else f", {given.memory_gb:g} GB of memory"
        wanted = f"{given.cpus} CPUs{memory} and {given.gpus:g} GPUs"
        for nodes, which in ((self._nodes(), ""), (timing, f" with the resource {label!r}")):
            if not any(map(self._workers_on, nodes.values())):
                return f"no node of the Ray cluster{which} has {wanted} for a worker"
        return None
