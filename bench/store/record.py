"""A record: one case's result, one JSON line, sealed so that a later change of it is noticed.

A line ends in its `digest`, the first 16 hex digits of the sha256 of the line without it. It is there
against slips, a value mended by hand or half of a merge, not against forgers.

Schema 1 had neither digest nor `weights`, and is read as it is.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.performance.point import Point
from latentbench.bench.store.environment import Code
from latentbench.bench.store.machine_state import Conditions
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import AnySpec

SCHEMA = 2
OLDEST_SCHEMA = 1
_SEAL = b',"digest":"'
_SEALED = len(_SEAL) + 16 + len(b'"}')

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

    schema_version: Annotated[int, Field(ge=OLDEST_SCHEMA, le=SCHEMA)] = SCHEMA
    suite: str
    run: str
    case: str
    model: AnySpec
    data: DataReference
    recipe: Recipe
    seed: int
    analyses: tuple[str, ...]
    weights: str | None = None
    """sha256 of the weights that were measured."""
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

    @property
    def name(self) -> str:
        """The model's label and the seed."""
        return f"{self.model.label}, seed {self.seed}"

    def with_arrays(self, content: bytes | None) -> Record:
        """The same result, naming this file content as its arrays; None for no arrays."""
        digest = hashlib.sha256(content).hexdigest() if content else None
        return self.model_copy(update={"schema_version": SCHEMA, "arrays": digest})

    def reused_in(self, run: str) -> Record:
        """The same result as a line of another run."""
        return self.model_copy(
            update={"schema_version": SCHEMA, "run": run, "reused_from": self.reused_from or self.run}
        )


def line_of(record: Record) -> bytes:
    """The record as a sealed line, newline included."""
    body = record.model_dump_json().encode()
    return body[:-1] + _SEAL + _digest(body) + b'"}\n'


def record_of(line: bytes) -> Record:
    """The record of a line that ends in its newline.

    Raises ValueError saying why it is none: torn, of a schema that this version does not read, changed
    after it was written, or not a record at all.
    """
    if not line.endswith(b"\n"):
        raise ValueError("torn (the writer was stopped in mid-line); dropped")
    line = line.rstrip(b"\r\n")
    if line[-_SEALED:].startswith(_SEAL):
        body = line[:-_SEALED] + b"}"
        if line[-18:-2] != _digest(body):
            raise ValueError(CHANGED)
        return _validated(body)
    record = _validated(line)
    if record.schema_version > OLDEST_SCHEMA:
        raise ValueError(CHANGED)
    return record


CHANGED = (
    "changed after it was written (its digest does not fit); left out. "
    "Restore the file, as with git checkout, or measure again with: latentbench run --fresh"
)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


def _validated(body: bytes) -> Record:
    try:
        return Record.model_validate_json(body)
    except ValidationError as error:
        content = _content_of(body)
        schema = content.get("schema_version")
        if isinstance(schema, int) and not OLDEST_SCHEMA <= schema <= SCHEMA:
            raise ValueError(
                f"schema {schema}, and this version reads {OLDEST_SCHEMA} to {SCHEMA}; left out"
            ) from None
        if "digest" in content:
            raise ValueError(CHANGED) from None
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not a record ({where} {first['msg']}); left out") from None


def _content_of(body: bytes) -> dict[str, object]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
