"""The side of a remote worker: it checks that it runs the same code, opens the data once, and works."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from latentbench.analysis.performance.cores import prepare_to_compute
from latentbench.bench.executors.protocol import Unit
from latentbench.bench.provenance.code import code
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import write_atomically

FOLDERS = ("LATENTBENCH_CACHE", "LATENTBENCH_DATA")
"""Variables that name folders. A worker where one is not set uses the driver's."""


@dataclass(frozen=True)
class Setup:
    """The needs of a worker before its first unit, in a form that any version of the code can read."""

    id: str
    threads: int
    version: str
    source: str
    open_context: bytes
    """A pickled function."""
    folders: tuple[tuple[str, str], ...]
    """The driver's values of `FOLDERS`."""

    @classmethod
    def of(cls, threads: int, open_context: Callable[[], object]) -> Setup:
        """Describe the workers of this program."""
        ours = code()
        packed = pickle.dumps(open_context)
        folders = tuple((name, _absolute(os.environ[name])) for name in FOLDERS if name in os.environ)
        return cls(uuid4().hex, threads, ours.version, ours.source, packed, folders)


def _absolute(folder: str) -> str:
    """Return a folder as other working directories can find it; `~` is each user's own."""
    return folder if folder.startswith("~") else os.path.abspath(folder)


@dataclass(frozen=True)
class Refused:
    """The answer of a worker that cannot work on this run at all, with the reason."""

    reason: str


def perform(setup: Setup, packed: bytes) -> Any:
    """Return the result of a pickled unit, or `Refused`; never raises LatentbenchError."""
    try:
        _check(setup)
        context = _context(setup)
        unit: Unit = pickle.loads(packed)
        return unit.function(unit.task, context)
    except LatentbenchError as error:
        return Refused(f"node {platform.node()}: {' '.join(str(error).split())}")


def _check(setup: Setup) -> None:
    here = code()
    if here.source != setup.source:
        raise LatentbenchError(
            f"has latentbench {here.version} (source {here.source}), but this run is of {setup.version} "
            f"(source {setup.source}); install the same version on every node"
        )


_contexts: dict[str, object] = {}
"""The context that this worker opened last, by the setup's id."""


def _context(setup: Setup) -> object:
    """Open the context once in this process, after releasing the one of another data set."""
    if setup.id not in _contexts:
        _contexts.clear()
        for name, folder in setup.folders:
            os.environ.setdefault(name, folder)
        prepare_to_compute(setup.threads)
        _contexts[setup.id] = pickle.loads(setup.open_context)()
    return _contexts[setup.id]


@dataclass(frozen=True)
class JobBatch:
    """Units that one job works on, one after the other."""

    setup: Setup
    units: tuple[bytes, ...]
    folder: Path

    def __call__(self) -> None:
        """Work on the units whose results are not in the folder yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, unit in enumerate(self.units):
            if not self.result(number).exists():
                write_atomically(self.result(number), pickle.dumps(perform(self.setup, unit)))

    def checkpoint(self) -> Any:
        """Return what submitit queues again when Slurm takes the node away or the time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def result(self, number: int) -> Path:
        """Return the file of a unit's result."""
        return self.folder / f"{number}.pickle"


def result_of(outcome: Any) -> Any:
    """Return a result as it is. Raises LatentbenchError if the worker refused to work."""
    if isinstance(outcome, Refused):
        raise LatentbenchError(f"{outcome.reason}; finished cases are kept: run the same command again")
    return outcome
