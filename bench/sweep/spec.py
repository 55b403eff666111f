"""Sweeps: YAML files that say which models to time, and at which points.

    description: one line
    image: [1, 28, 28]            what the zoo's models are built for
    models: [...]                 as in a suite; a list stands for one model each
    presets:
      small:
        budget_seconds: 1.0       for a row
        longest_call_seconds: 20  beyond this a row is not waited for
        grids:
          - {models: ["vae-*"], operations: [encode, decode], batch: [1, 64], precision: [fp32, bf16]}

A grid stands for every combination of its lists.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from latentbench.analysis.performance.number_formats import Precision, lacking
from latentbench.analysis.performance.point import Candidate, Patience, Point
from latentbench.analysis.performance.timing import Effort
from latentbench.analysis.performance.workloads import OPERATIONS, Operation, lacking_operation
from latentbench.bench.run.suite import grid_specs, shipped
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.data.registry import unknown
from latentbench.data.validation import validated
from latentbench.models.external.architectures import input_shape
from latentbench.models.external.user_module import ImportSpec
from latentbench.models.family import find_family
from latentbench.models.resolver import Resolver
from latentbench.models.spec import ModelSpec
from latentbench.models.zoo import resolve

T = TypeVar("T")


def _listed(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


Listed = Annotated[list[T], BeforeValidator(_listed), Field(min_length=1)]
Batch = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0)]


class Grid(BaseModel):
    """Points for some of the models; what is not named is every model, and all that a model can do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Listed[str] = ["*"]
    """Labels, where `*` stands for anything."""
    operations: Listed[Operation] | None = None
    batch: Listed[Batch]
    precision: Listed[Precision] = ["fp32"]
    channels_last: Listed[bool] = [False]
    compiled: Listed[bool] = [False]

    def takes(self, spec: ModelSpec) -> bool:
        """Whether the grid is about a model."""
        return any(fnmatchcase(spec.label, pattern) for pattern in self.models)

    def points(self, operations: Sequence[Operation]) -> Iterator[Point]:
        """Every combination; batches innermost and rising, so that each tells what the next will take."""
        for precision, channels_last, compiled, operation, batch in itertools.product(
            self.precision,
            self.channels_last,
            self.compiled,
            self.operations or operations,
            sorted(self.batch),
        ):
            yield Point(
                operation=operation,
                batch=batch,
                precision=precision,
                channels_last=channels_last,
                compiled=compiled,
            )


class Preset(BaseModel):
    """How much is timed, and how long a row may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_seconds: Seconds
    longest_call_seconds: Seconds
    half_width: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """A row is done once the 95 % interval of its median is within this share of it."""
    grids: Annotated[list[Grid], Field(min_length=1)]

    @property
    def patience(self) -> Patience:
        """The same as the timing wants it."""
        effort = Effort(half_width=self.half_width, budget_seconds=self.budget_seconds)
        return Patience(effort, self.longest_call_seconds)


class SweepFile(BaseModel):
    """A sweep's file as written; unknown keys are refused."""

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
    """Where the file lies: modules that it names are looked for there."""

    def preset(self, name: str | None, device: torch.device) -> Preset:
        """A preset by name; if none is named `full` on a GPU and `small` elsewhere, or the first there is."""
        if name is None:
            usual = "full" if device.type == "cuda" else "small"
            name = usual if usual in self.presets else next(iter(self.presets))
        if name not in self.presets:
            raise LatentbenchError(f"{self.where}: {unknown('preset', name, list(self.presets))}")
        return self.presets[name]


@dataclass(frozen=True)
class Row:
    """One row of a sweep: a model at a point. Its id is a hash of just that."""

    spec: ModelSpec
    point: Point
    input_shape: tuple[int, ...]
    analyses: tuple[str, ...] = ("sweep",)

    @cached_property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of the canonical JSON: the same on every machine."""
        content = {
            "spec": self.spec.model_dump(exclude_none=True),
            "point": self.point.model_dump(),
            "input_shape": self.input_shape,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Model:
    """A model of a sweep, its shapes known; `candidate` is why there is none where it cannot be built."""

    def __init__(self, spec: ModelSpec, sweep: Sweep) -> None:
        self.spec = self.given = spec
        self.input_shape = input_shape(spec, sweep.image_shape)
        self.candidate: Candidate | LatentbenchError
        try:
            if isinstance(spec, ImportSpec):
                self.spec = resolve(spec, _noise_images(sweep.image_shape), Resolver(sweep.folder))
            self.candidate = Candidate(
                lambda: find_family(spec.family).build(self.spec, sweep.image_shape).eval(),
                self.input_shape,
                self.spec.latent_dim,
            )
        except LatentbenchError as error:
            self.candidate = error

    @property
    def operations(self) -> list[Operation]:
        """What it can do."""
        if not isinstance(self.candidate, Candidate):
            return [OPERATIONS[0]]
        shadow = self.candidate.shadow
        return [each for each in OPERATIONS if lacking_operation(shadow, each) is None]


def _noise_images(shape: tuple[int, int, int]) -> ImageData:
    """Two images for a model of the user's own to be tried on."""
    noise = torch.randint(256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageData("noise", Split(noise, None), Split(noise, None), ())


def names() -> list[str]:
    """The sweeps that latentbench ships."""
    return shipped("sweeps")


def is_sweep(name: str) -> bool:
    """Whether a suite's name, or the file it is the path of, is a sweep: it has the key `presets`."""
    if not name.endswith((".yaml", ".yml")):
        return name in names()
    try:
        content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False  # `suite.load` says what is wrong with it
    return isinstance(content, dict) and "presets" in content


def load(name: str) -> Sweep:
    """A shipped sweep by name, or any by the path of its YAML file. Raises LatentbenchError."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        parsed = parse(path.read_text(encoding="utf-8"), name=path.stem, where=path.name)
        return replace(parsed, folder=path.parent)
    file = resources.files("latentbench.bench.sweep") / "sweeps" / f"{name}.yaml"
    return parse(file.read_text(encoding="utf-8"), name=name, where=f"{name}.yaml")


def parse(text: str, *, name: str, where: str) -> Sweep:
    """A sweep from its YAML text; `where` is the file's name in messages."""
    file = validated(SweepFile, yaml.safe_load(text), where)
    specs: dict[ModelSpec, None] = {}
    for index, grid in enumerate(file.models):
        specs |= dict.fromkeys(grid_specs(grid, f"{where}, models[{index}]"))
    labels = [spec.label for spec in specs]
    presets = {
        preset: _preset(content, labels, f"{where}, presets.{preset}")
        for preset, content in file.presets.items()
    }
    return Sweep(name, file.description, file.image, tuple(specs), presets, where)


def _preset(content: dict[str, Any], labels: list[str], where: str) -> Preset:
    """A preset whose grids are about models that there are."""
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


def rows(model: Model, preset: Preset, device: torch.device) -> list[Row]:
    """The rows of one model, each once.

    What the model or the device lacks altogether is one row that says so, not one for every batch.
    """
    wanted: dict[object, Row] = {}
    for grid in preset.grids:
        if grid.takes(model.given):
            for point in grid.points(model.operations):
                wanted.setdefault(_what(model, point, device), Row(model.spec, point, model.input_shape))
    return list(wanted.values())


def _what(model: Model, point: Point, device: torch.device) -> object:
    """What two points that need one row between them have in common."""
    if not isinstance(model.candidate, Candidate):
        return "not built"
    if lacking_operation(model.candidate.shadow, point.operation):
        return point.operation
    if lacking(point.precision, device):
        return point.precision
    if point.channels_last and not model.candidate.has_convolutions:
        return "channels-last"
    return point
