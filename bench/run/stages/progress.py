"""A case on its way through the stages: its finished steps, and how a step that failed is described."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.test_pass import TestPass
from latentbench.analysis.performance.memory import is_out_of_memory
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import Arrays, JournalStep
from latentbench.bench.store.records.record import Status


@dataclass
class Progress:
    """A case and its finished steps, in order of completion."""

    case: Case
    steps: dict[str, JournalStep] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Notes for the user on its training."""
    shard: tuple[int, int] | None = None
    """For a pass over a part of the test images: the number of the part, and of how many."""
    passed: TestPass | None = None
    """The pass over that part, or over all test images, if other workers did it."""

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
    shards = ["" if progress.shard is None else f"/{progress.shard[0]}" for progress in progresses]
    return "+".join(f"{progress.case.id}{shard}" for progress, shard in zip(progresses, shards, strict=True))


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
