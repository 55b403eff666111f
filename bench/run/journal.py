"""The journal: finished steps of unfinished cases, on disk until the case has its record.

A step is a case's training or one of its analyses. The process that finishes a step writes it, so a run
that is killed loses only the steps in progress. Each step is one sealed file of arrays, one of which
contains the rest as JSON.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from latentbench.analysis.core.metric import Metric
from latentbench.bench.run.case import Case
from latentbench.bench.run.resumable import Origin
from latentbench.bench.store.records.record import JudgeReference, Status
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import cache_root, read_sealed, write_sealed
from latentbench.models import checkpoint

TRAINING = "training the model"
"""The name of the step that trains. No analysis may have it: one of them is called `training`."""
SUFFIX = ".sealed"
KEPT_SECONDS = 30 * 24 * 3600
"""The time for which the steps of a run that is not resumed are kept."""
JSON = "step"
"""The name of the array that contains a step as JSON; names of arrays of analyses have a slash."""

Arrays = dict[str, np.ndarray]


class JournalStep(BaseModel):
    """The outcome of one step: the training of a model, or one analysis of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    started: str
    seconds: float | None = None
    status: Status = "ok"
    reason: str | None = None
    details: str | None = None
    """The traceback of an unexpected failure."""
    metrics: tuple[Metric, ...] = ()
    judges: tuple[JudgeReference, ...] = ()
    """The judges of an analysis that needs them."""
    checkpoint: Path | None = None
    """The folder of the trained model."""
    node: str | None = None
    """The machine that did it, if it is a worker of another engine."""
    environment: str | None = None
    """The environment of that machine."""
    arrays: Arrays = Field(default_factory=dict, exclude=True)


@dataclass(frozen=True)
class Journal:
    """The steps on disk of cases measured by one code in one environment."""

    origin: Origin

    def keep(self, case: Case, step: JournalStep) -> JournalStep:
        """Write a step to disk and return it. Raises CacheError."""
        encoded = np.frombuffer(step.model_dump_json().encode(), np.uint8)
        content = safetensors.numpy.save({**step.arrays, JSON: encoded})
        write_sealed(self._folder(case) / f"{step.name}{SUFFIX}", content)
        return step

    def steps(self, case: Case) -> dict[str, JournalStep]:
        """Return the finished steps of a case by name.

        Steps that were changed, that lost their model, or that other judges measured are left out.
        """
        found = {}
        for path in self._folder(case).glob(f"[!.]*{SUFFIX}"):
            try:
                arrays = safetensors.numpy.load(read_sealed(path))
                step = JournalStep.model_validate_json(arrays.pop(JSON).tobytes())
            except (LatentbenchError, SafetensorError, KeyError, ValidationError):
                continue
            usable = step.checkpoint is None or checkpoint.is_whole(step.checkpoint)
            if usable and self.origin.has_judges(step.judges):
                found[step.name] = step.model_copy(update={"arrays": arrays})
        return {name: found[name] for name in (TRAINING, *case.analyses) if name in found}

    def drop(self, case: Case) -> None:
        """Remove the steps of a case."""
        shutil.rmtree(self._folder(case), ignore_errors=True)

    @staticmethod
    def prune() -> None:
        """Remove the steps of runs that were not resumed for a long time."""
        oldest = time.time() - KEPT_SECONDS
        for folder in (cache_root() / "steps").glob("*"):
            with suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder)

    def _folder(self, case: Case) -> Path:
        key = [
            case.id,
            case.spec.model_dump_json(),
            case.family_code or "",
            self.origin.environment,
            self.origin.source,
            *(f"{feature.name} {feature.weights}" for feature in case.features),
        ]
        return cache_root() / "steps" / hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
