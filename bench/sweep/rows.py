"""The rows of a sweep: its models with their shapes, and each model at each of its points."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import torch

from latentbench.analysis.performance.number_formats import lacking
from latentbench.analysis.performance.point import OPERATIONS, Operation, SweepPoint
from latentbench.analysis.workloads.candidate import Candidate, Timed, TimedModel
from latentbench.analysis.workloads.operations import lacking_operation
from latentbench.analysis.workloads.reference_models import REFERENCE_MODELS
from latentbench.bench.store.records.record import FeatureReference
from latentbench.bench.sweep.spec import Preset, Sweep
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models.external.user_module import ImportSpec
from latentbench.models.family import find_family
from latentbench.models.resolver import Resolver
from latentbench.models.source_code.hashes import family_code
from latentbench.models.spec import ModelSpec, ReferenceSpec
from latentbench.models.zoo import resolve


@dataclass(frozen=True)
class SweepRow:
    """One row of a sweep: a model at a point. Its id is a hash of only these."""

    spec: ModelSpec
    point: SweepPoint
    input_shape: tuple[int, ...]
    analyses: tuple[str, ...] = ("sweep",)
    features: tuple[FeatureReference, ...] = ()

    @property
    def family_code(self) -> str | None:
        """Return a hash of the installed package that defines the model's family; None for our own."""
        return None if isinstance(self.spec, ReferenceSpec) else family_code(self.spec.family)

    @cached_property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of the canonical JSON, equal on every machine."""
        content = {
            "spec": self.spec.model_dump(exclude_none=True),
            "point": self.point.model_dump(),
            "input_shape": self.input_shape,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class SweepModel:
    """A model of a sweep with its shapes; `candidate` is the error if it cannot be built."""

    def __init__(self, spec: ModelSpec, sweep: Sweep) -> None:
        self.spec = self.given = spec
        self.candidate: Candidate | LatentbenchError
        self.input_shape: tuple[int, ...] = tuple(sweep.image_shape)
        try:
            if isinstance(spec, ImportSpec):
                self.spec = resolve(spec, _noise_images(sweep.image_shape), Resolver(sweep.folder))
            timed = self._timed(sweep)
            self.input_shape = timed.input_shape
            self.candidate = Candidate(timed)
        except LatentbenchError as error:
            self.candidate = error

    def _timed(self, sweep: Sweep) -> Timed:
        spec = self.spec
        if isinstance(spec, ReferenceSpec):
            return REFERENCE_MODELS[spec.name]
        return TimedModel(
            lambda: find_family(spec.family).build(spec, sweep.image_shape).eval(),
            self.input_shape,
            spec.latent_dim,
        )

    @property
    def operations(self) -> list[Operation]:
        """The operations that the model has; any one of them if it cannot be built."""
        return self.candidate.operations if isinstance(self.candidate, Candidate) else [OPERATIONS[0]]


def _noise_images(shape: tuple[int, int, int]) -> ImageData:
    """Return two images on which a user's own model is tried."""
    noise = torch.randint(256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageData("noise", Split(noise, None), Split(noise, None), ())


def rows(model: SweepModel, preset: Preset, device: torch.device) -> list[SweepRow]:
    """Return the rows of one model, without duplicates.

    An operation or precision that the model or the device lacks is one row, not one per batch size.
    """
    wanted: dict[object, SweepRow] = {}
    for grid in preset.grids:
        if grid.takes(model.given):
            for point in grid.points(model.operations):
                wanted.setdefault(
                    _row_key(model, point, device), SweepRow(model.spec, point, model.input_shape)
                )
    return list(wanted.values())


def _row_key(model: SweepModel, point: SweepPoint, device: torch.device) -> object:
    """Return a key that is equal for two points with the same row."""
    if not isinstance(model.candidate, Candidate):
        return "not built"
    if lacking_operation(model.candidate.shadow, point.operation):
        return point.operation
    if lacking(point.precision, device):
        return point.precision
    if point.channels_last and not model.candidate.has_convolutions:
        return "channels-last"
    return point
