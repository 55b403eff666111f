"""A record is the result of one case: its model, data and recipe, and every metric with its origin.

Schema 1 had neither digest nor `weights`, schema 2 had neither `trained` nor the names of the model, schema 3
had no `judges`, schema 4 had neither `nodes` nor `features`, schema 5 had no `measured_by`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from typing_extensions import override

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.performance.point import SweepPoint
from latentbench.bench.provenance.code import Code
from latentbench.bench.provenance.machine_state import Conditions
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.models.training.recipe import Recipe

SCHEMA = 6
OLDEST_SCHEMA = 1

Status = Literal["ok", "failed", "diverged", "out_of_memory", "skipped"]


class DataReference(BaseModel):
    """Names the data, and identifies their content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    train: int
    test: int


class Seconds(BaseModel):
    """The time that a case took; `train` is the original training's if the cache was used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float | None
    evaluate: float | None


class JudgeReference(BaseModel):
    """Names a reference classifier by the sha256 of its weights.

    `accuracy` is its share of right answers on the original test images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str
    accuracy: float


class FeatureReference(BaseModel):
    """Names a network whose features images were compared in, such as `inception` or `lpips:alex`.

    `weights` is the sha256 of its weights, None where these were not on the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weights: str | None


class Record(BaseModel):
    """One line of a run. `metrics` are in the order in which they were measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(ge=OLDEST_SCHEMA, le=SCHEMA)] = SCHEMA
    suite: str
    run: str
    case: str
    model: RecordedModel
    model_label: str = ""
    """The model's name."""
    model_series: str = ""
    """The shared name of models that differ from this one only in width."""
    data: DataReference
    recipe: Recipe
    seed: int
    analyses: tuple[str, ...]
    weights: str | None = None
    """sha256 of the weights that were measured."""
    trained: bool = True
    """True if the weights come from a training that depends on the seed."""
    still_falling: bool | None = None
    """True if the loss was still falling when the training ended; None if that is not known."""
    status: Status
    reason: str | None = None
    metrics: tuple[Metric, ...]
    judges: tuple[JudgeReference, ...] = ()
    """Whose values the metrics with `by_judge` hold, in this order."""
    features: tuple[FeatureReference, ...] = ()
    """The networks that metrics such as `rfid (inception)` name."""
    arrays: str | None = None
    """The sha256 of the file of arrays stored with the run."""
    environment: str
    nodes: tuple[str, ...] = ()
    """The machines that trained and measured, if those are workers of another engine."""
    family_code: str | None = None
    """A hash of the installed package that defines the model's family; None for our own families."""
    threads: int | None = None
    """The number of threads that the model was trained and measured with."""
    code: Code
    started: str
    seconds: Seconds
    measured_by: str | None = None
    """The program that measured this and whose result was imported; None for latentbench."""
    reused_from: str | None = None
    """The run that measured this, if a later run copied the line."""
    point: SweepPoint | None = None
    """The point of a sweep that was measured; None outside of a sweep."""
    conditions: Conditions | None = None
    """Other work on the machine meanwhile, if that was observed."""

    @model_validator(mode="after")
    def _with_names(self) -> Self:
        if self.model_label:
            self.model.named(self.model_label, self.model_series)
        else:
            self.__dict__.update(model_label=self.model.label, model_series=self.model.series)
        return self

    @property
    def marks(self) -> tuple[str, ...]:
        """The disturbances of the record's timings; empty on a quiet machine."""
        doubts = [metric.reason or metric.doubt for metric in self.metrics if metric.doubt == "contended"]
        return (*(self.conditions.marks if self.conditions else ()), *doubts[:1])

    @property
    def label(self) -> str:
        """The model's label, and the point of a sweep."""
        return self.model.label if self.point is None else f"{self.model.label} {self.point.label}"

    @property
    def name(self) -> str:
        """The label and the seed."""
        return f"{self.label}, seed {self.seed}"

    @cached_property
    def identity(self) -> str:
        """16 hex digits that records share if they differ only in seed, code, environment or run.

        It covers the model's settings, the recipe, the content of the data, and the point of a sweep. The
        hash of a user's code is left out, so that a model is comparable with its own later versions.
        """
        return identity_of(self.model_dump(mode="json", include={"model", "recipe", "data", "point"}))

    def metric(self, name: str) -> Metric | None:
        """Return a metric by name, None if it was not measured."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in self.metrics}

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Record:
        copied = super().model_copy(update=update, deep=deep)
        # Pydantic also copies the values computed from the old fields.
        for cached in ("identity", "_by_name"):
            copied.__dict__.pop(cached, None)
        return copied

    def with_arrays(self, content: bytes | None) -> Record:
        """Return the same result with the hash of this file content as its arrays; None for no arrays."""
        digest = hashlib.sha256(content).hexdigest() if content else None
        return self.model_copy(update={"schema_version": SCHEMA, "arrays": digest})

    def reused_in(self, run: str) -> Record:
        """Return the same result as a line of another run."""
        return self.model_copy(
            update={"schema_version": SCHEMA, "run": run, "reused_from": self.reused_from or self.run}
        )


def identity_of(record: Mapping[str, Any]) -> str:
    """Return the identity of a record given as JSON, see `Record.identity`."""
    content = {
        "model": {
            name: value
            for name, value in record["model"].items()
            if value is not None and name != "code_sha256"
        },
        "recipe": record["recipe"],
        "data": record["data"]["fingerprint"],
        "point": record.get("point"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def numbered(labels: Iterable[str]) -> list[str]:
    """Distinguish equal labels by a number.

    >>> numbered(["ae-2", "vae-2", "ae-2"])
    ['ae-2', 'vae-2', 'ae-2 (2)']
    """
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return names
