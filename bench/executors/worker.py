"""The side of a remote worker: it checks that it runs the same code, opens the data once, and works."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

from latentbench.analysis.performance.cores import prepare_to_compute
from latentbench.bench.executors.protocol import Unit
from latentbench.bench.provenance.code import code
from latentbench.data.errors import LatentbenchError

CACHE = "LATENTBENCH_CACHE"


@dataclass(frozen=True)
class Setup:
    """What a worker needs before its first unit, in a form that any version of the code can read."""

    id: str
    threads: int
    version: str
    source: str
    open_context: bytes
    """A pickled function."""
    cache: str | None
    """The driver's $LATENTBENCH_CACHE, for workers where it is not set."""

    @classmethod
    def of(cls, threads: int, open_context: Callable[[], object]) -> Setup:
        """Describe the workers of this program."""
        ours = code()
        packed = pickle.dumps(open_context)
        return cls(uuid4().hex, threads, ours.version, ours.source, packed, os.environ.get(CACHE))


@dataclass(frozen=True)
class Refused:
    """Why a worker cannot work on this run at all."""

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


@lru_cache(maxsize=1)
def _context(setup: Setup) -> object:
    """Open the context once in this process."""
    if setup.cache is not None:
        os.environ.setdefault(CACHE, setup.cache)
    prepare_to_compute(setup.threads)
    return pickle.loads(setup.open_context)()


def result_of(outcome: Any) -> Any:
    """Return a result as it is. Raises LatentbenchError if the worker refused to work."""
    if isinstance(outcome, Refused):
        raise LatentbenchError(f"{outcome.reason}; finished cases are kept: run the same command again")
    return outcome
