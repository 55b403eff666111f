"""A case on its way through the stages: its finished steps, and how a step that failed is described."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.registry import SharedPass
from latentbench.analysis.performance.memory import is_out_of_memory
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import Arrays, JournalStep
from latentbench.bench.store.records.record import Status


@dataclass(frozen=True, eq=False)
class Shard:
    """Part `number` of `of` of a pass over the test images, and its result, once it is `found`."""

    shared: SharedPass[Any]
    number: int
    of: int
    found: Any = None


@dataclass
class Progress:
    """A case and its finished steps, in order of completion."""

    case: Case
    steps: dict[str, JournalStep] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Notes for the user on its training."""
    shard: Shard | None = None
    """The part of a pass that a worker is to do."""
    passed: list[tuple[SharedPass[Any], Any]] = field(default_factory=list)
    """The passes over all test images that workers have shared, with their results."""

    @property
    def shared_passes(self) -> list[SharedPass[Any]]:
        """The passes over the test images that the analyses without a machine to themselves still need."""
        passes = (ANALYSES[name].passes for name in self.missing(exclusive=False))
        return list(dict.fromkeys(chain.from_iterable(passes)))

    @property
    def failure(self) -> JournalStep | None:
        """The first step that failed."""
        return next((step for step in self.steps.values() if step.status != "ok"), None)

    @property
    def reason(self) -> str | None:
        """The reason why the case is not `ok`."""
        return self.failure.reason if self.failure else None

    @property
    def arrays(self) -> Arrays:
        """The arrays of all steps."""
        return {name: array for step in self.steps.values() for name, array in step.arrays.items()}

    def missing(self, *, exclusive: bool) -> list[str]:
        """Return the analyses that are not done yet, exclusive ones or the others."""
        return [
            name
            for name in self.case.analyses
            if ANALYSES[name].exclusive == exclusive and name not in self.steps
        ]


def key(progresses: Sequence[Progress]) -> str:
    """Name the unit of work on some cases."""
    return "+".join(f"{progress.case.id}{_of_shard(progress.shard)}" for progress in progresses)


def _of_shard(shard: Shard | None) -> str:
    return "" if shard is None else f"/{shard.shared.name}/{shard.number}"


def failed_by(during: str, error: Exception) -> dict[str, Any]:
    """Return the fields of a step that failed unexpectedly."""
    status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
    details = "".join(traceback.format_exception(error))
    return {"status": status, "reason": f"{during}: {one_line(error)}", "details": details}


def one_line(error: Exception) -> str:
    """Return the type and message of an exception, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def now() -> str:
    """Return the time in UTC, as records state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
