"""A record: one case's result, one JSON line."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from latentbench.analysis.metric import Metric
from latentbench.analysis.sweep import Point
from latentbench.bench.conditions import Conditions
from latentbench.bench.environment import Code
from latentbench.models.recipe import Recipe
from latentbench.models.zoo import AnySpec

SCHEMA = 1

Status = Literal["ok", "failed", "diverged", "out_of_memory", "skipped"]


class DataReference(BaseModel):
    """Which data, exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    train: int
    test: int


class Seconds(BaseModel):
    """Where the time of a case went; `train` is the original training's where the cache was used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float | None
    evaluate: float | None


class Record(BaseModel):
    """One line of a run. `metrics` are in the order in which they were measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA
    suite: str
    run: str
    case: str
    model: AnySpec
    data: DataReference
    recipe: Recipe
    seed: int
    analyses: tuple[str, ...]
    status: Status
    reason: str | None = None
    metrics: tuple[Metric, ...]
    arrays: str | None = None
    """sha256 of the file of arrays kept beside the run."""
    environment: str
    code: Code
    started: str
    seconds: Seconds
    reused_from: str | None = None
    """The run that measured this, where a later run took the line over."""
    point: Point | None = None
    """Where in a sweep this was measured; None outside of one."""
    conditions: Conditions | None = None
    """What else the machine did meanwhile, where that was watched."""

    @property
    def label(self) -> str:
        """The model's label, and the point of a sweep."""
        return self.model.label if self.point is None else f"{self.model.label} {self.point.label}"

    def metric(self, name: str) -> Metric | None:
        """A metric by name, None where it was not measured."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_json(self) -> str:
        """The line, without its newline."""
        return self.model_dump_json()

    def reused_in(self, run: str) -> Record:
        """The same result as a line of another run."""
        return self.model_copy(update={"run": run, "reused_from": self.reused_from or self.run})
