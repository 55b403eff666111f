"""Sweeps: YAML files that list the models to time, and the points to time them at.

    description: one line
    image: [1, 28, 28]            the image shape that the zoo's models are built for
    models: [...]                 as in a suite, where a list stands for one model each; also
      - reference: [RN50 image]   production models with random weights, by name
    presets:
      small:
        budget_seconds: 1.0       the time for a row
        longest_call_seconds: 20  a row whose call takes longer is skipped
        grids:
          - {models: ["vae-*"], operations: [encode, decode], batch: [1, 64], precision: [fp32, bf16]}

A grid stands for every combination of its lists.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from latentbench.analysis.performance.point import Operation, Precision, SweepPoint
from latentbench.analysis.performance.timing import Effort
from latentbench.analysis.workloads.measure import Patience
from latentbench.analysis.workloads.reference_models import REFERENCE_MODELS
from latentbench.bench.run.suite import grid_specs
from latentbench.bench.text import shipped
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.storage.files import read_text
from latentbench.data.text.validation import validated
from latentbench.data.text.yaml_text import parse_yaml
from latentbench.models.spec import ModelSpec

T = TypeVar("T")


def _listed(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


Listed = Annotated[list[T], BeforeValidator(_listed), Field(min_length=1)]
Batch = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0)]


class Grid(BaseModel):
    """Points for some of the models; by default for every model, and for every operation that it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Listed[str] = ["*"]
    """Labels; `*` stands for any text."""
    operations: Listed[Operation] | None = None
    batch: Listed[Batch]
    precision: Listed[Precision] = ["fp32"]
    channels_last: Listed[bool] = [False]
    compiled: Listed[bool] = [False]

    def takes(self, spec: ModelSpec) -> bool:
        """Return True if the grid includes a model."""
        return any(fnmatchcase(spec.label, pattern) for pattern in self.models)

    def points(self, operations: Sequence[Operation]) -> Iterator[SweepPoint]:
        """Return every combination; batches innermost and rising: each predicts the time of the next."""
        for precision, channels_last, compiled, operation, batch in itertools.product(
            self.precision,
            self.channels_last,
            self.compiled,
            self.operations or operations,
            sorted(self.batch),
        ):
            yield SweepPoint(
                operation=operation,
                batch=batch,
                precision=precision,
                channels_last=channels_last,
                compiled=compiled,
            )


class Preset(BaseModel):
    """The points of a sweep, and the time that a row may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_seconds: Seconds
    longest_call_seconds: Seconds
    half_width: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """A row is finished when the 95 % interval of its median is within this share of it."""
    grids: Annotated[list[Grid], Field(min_length=1)]

    @property
    def patience(self) -> Patience:
        """The time limits for timing a row."""
        effort = Effort(half_width=self.half_width, budget_seconds=self.budget_seconds)
        return Patience(effort, self.longest_call_seconds)


class SweepFile(BaseModel):
    """The contents of a sweep's file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    image: tuple[Batch, Batch, Batch] = (1, 28, 28)
    models: Annotated[list[dict[str, Any]], Field(min_length=1)]
    presets: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Sweep:
    """A validated sweep."""

    name: str
    description: str
    image_shape: tuple[int, int, int]
    specs: tuple[ModelSpec, ...]
    presets: dict[str, Preset]
    where: str
    folder: Path = Path()
    """The folder of the file, in which modules that it names are found."""

    def preset(self, name: str | None, device: torch.device) -> Preset:
        """Return a preset by name; the default is `full` on a GPU, else `small`, else the first."""
        if name is None:
            usual = "full" if device.type == "cuda" else "small"
            name = usual if usual in self.presets else next(iter(self.presets))
        if name not in self.presets:
            raise LatentbenchError(f"{self.where}: {unknown('preset', name, list(self.presets))}")
        return self.presets[name]


def is_sweep(name: str) -> bool:
    """Return True if a suite's name, or the file at its path, is a sweep: it has the key `presets`."""
    if not name.endswith((".yaml", ".yml")):
        return name in shipped.names("sweeps")
    try:
        content = parse_yaml(read_text(Path(name)), name)
    except LatentbenchError:
        return False  # `suite.load` reports its error
    return isinstance(content, dict) and "presets" in content


def load(name: str) -> Sweep:
    """Load a shipped sweep by name, or any by the path of its YAML file. Raises LatentbenchError."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        parsed = parse(read_text(path), name=path.stem, where=path.name)
        return replace(parsed, folder=path.parent.resolve())
    if name not in shipped.names("sweeps"):
        if name in shipped.names("suites"):
            raise LatentbenchError(f"{name} is a suite, not a speed sweep: latentbench run {name}")
        error = unknown("sweep", name, shipped.names("sweeps"))
        raise LatentbenchError(f"{error} (or the path of a .yaml file)")
    return parse(shipped.text("sweeps", name), name=name, where=f"{name}.yaml")


def parse(text: str, *, name: str, where: str) -> Sweep:
    """Parse a sweep from its YAML text; `where` is the file's name in messages."""
    file = validated(SweepFile, parse_yaml(text, where), where)
    specs: dict[ModelSpec, None] = {}
    for index, grid in enumerate(file.models):
        specs |= dict.fromkeys(_specs(grid, f"{where}, models[{index}]"))
    labels = [spec.label for spec in specs]
    presets = {
        preset: _preset(content, labels, f"{where}, presets.{preset}")
        for preset, content in file.presets.items()
    }
    return Sweep(name, file.description, file.image, tuple(specs), presets, where)


def _specs(grid: dict[str, Any], where: str) -> Iterator[ModelSpec]:
    """Return the models of one entry: reference models by name, or members of the zoo as in a suite."""
    if "reference" not in grid:
        yield from grid_specs(grid, where)
        return
    if len(grid) > 1:
        raise LatentbenchError(f"{where}: 'reference' takes no other key, got {', '.join(sorted(grid))}")
    for name in _listed(grid["reference"]):
        try:
            yield REFERENCE_MODELS[name].spec
        except LatentbenchError as error:
            raise LatentbenchError(f"{where}: {error}") from None


def _preset(content: dict[str, Any], labels: list[str], where: str) -> Preset:
    """Return a preset after checking that its grids name models of the sweep."""
    given = content.get("grids")
    grids = [
        _grid(grid, labels, f"{where}.grids[{index}]")
        for index, grid in enumerate(given if isinstance(given, list) else [])
    ]
    return validated(Preset, {**content, "grids": grids or given}, where)


def _grid(content: Any, labels: list[str], where: str) -> Grid:
    grid = validated(Grid, content, where)
    for pattern in grid.models:
        if not any(fnmatchcase(label, pattern) for label in labels):
            raise LatentbenchError(f"{where}: {unknown('model', pattern, labels)}")
    return grid
