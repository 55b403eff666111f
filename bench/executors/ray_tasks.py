"""Runs units as tasks of a Ray cluster; Ray places them, and this module submits lost ones again."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from latentbench.bench.executors.engines import brief, ray_cluster
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
        self._quiet_since = monotonic()
        self._resources = {
            "num_cpus": settings.cpus,
            "num_gpus": settings.gpus,
            "max_retries": 0,  # the crew tries again, on any executor
        }
        try:
            if lacking := self._lacking():
                raise LatentbenchError(lacking)
            with _room_in_object_store():
                self._setup = self._ray.put(setup)
        except LatentbenchError:
            self.stop(now=True)
            raise
        self.workers = max(1, sum(self._workers_on(node) for node in self._nodes()))
        # Named here and not per unit, GPUs make Ray start a process for each unit: one that computed on a GPU
        # before would stay on that GPU, also where Ray assigns it another.
        self._task = self._ray.remote(**self._resources)(perform)

    def submit(self, unit: Unit) -> None:
        """Hand a unit to Ray."""
        options = self._whole_node() if unit.exclusive else {}
        task = self._task.options(name=unit.key[:50], **options)
        with _room_in_object_store():
            self._running[task.remote(self._setup, pickle.dumps(unit))] = unit.key

    def finished(self) -> Sequence[tuple[str, Any]]:
        """Wait for a few seconds for any unit."""
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
        if done:
            self._quiet_since = monotonic()
        elif monotonic() - self._quiet_since > PATIENCE_SECONDS:
            self._quiet_since = monotonic()
            if lacking := self._lacking():
                self._note(f"waiting for nodes to join: {lacking}")
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
            with _room_in_object_store():
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

    def _whole_node(self) -> dict[str, Any]:
        """Return the resources of a whole node for timings: nothing else of this cluster runs next to it."""
        nodes = self._nodes(timing=True) or self._nodes()
        label = self._settings.timing_on
        return {
            "num_cpus": max(node.get("CPU", 0) for node in nodes) if nodes else self._settings.cpus,
            "resources": {label: 0.001} if label else {},
        }

    def _nodes(self, *, timing: bool = False) -> list[dict[str, float]]:
        """Return the resources of the nodes that are alive, or of those on which timings run."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        label = self._settings.timing_on
        return [node for node in nodes if not timing or label is None or label in node]

    def _workers_on(self, node: dict[str, float]) -> int:
        """Return the number of workers for which a node has room."""
        by_gpu = node.get("GPU", 0) / self._settings.gpus if self._settings.gpus else math.inf
        return int(min(node.get("CPU", 0) / self._settings.cpus, by_gpu))

    def _lacking(self) -> str | None:
        """Return what no node offers, None if a unit can run somewhere."""
        cpus, gpus, label = self._settings.cpus, self._settings.gpus, self._settings.timing_on
        if label and not self._nodes(timing=True):
            return f"no node of the Ray cluster has the resource {label!r} that timing_on names"
        if any(self._workers_on(node) for node in self._nodes()):
            return None
        return f"no node of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs for a worker"


@contextmanager
def _room_in_object_store() -> Iterator[None]:
    """Raise LatentbenchError if the object store is full, here or where a worker left its result."""
    from ray import exceptions

    try:
        yield
    except (exceptions.ObjectStoreFullError, exceptions.OutOfDiskError) as error:
        cause = brief(getattr(error, "cause", None) or error)
        raise LatentbenchError(f"Ray's object store is full: {cause}") from None
