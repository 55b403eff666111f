"""A model of a sweep: built once, converted to the format of each row, and counted from its shapes."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from latentbench.analysis.performance.number_formats import DTYPES
from latentbench.analysis.performance.point import OPERATIONS, Operation, Precision, SweepPoint
from latentbench.analysis.workloads.flops import Count, count
from latentbench.analysis.workloads.operations import (
    Trains,
    Workload,
    inference,
    lacking_operation,
    objective,
)


class Timed(Protocol):
    """A model that can be timed: its construction, and the shapes of its inputs and outputs."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example: an image `[C, H, W]`, or the tokens of a caption `[T]`."""

    @property
    def latent_dim(self) -> int:
        """The number of values that an example becomes."""

    def build(self) -> nn.Module:
        """Build the model in evaluation mode."""


@dataclass(frozen=True)
class TimedModel:
    """A model that can be timed, given by its parts; the same fields as `Timed`."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    latent_dim: int


class Candidate:
    """A timed model with its weights, kept only in the last format that was requested."""

    def __init__(self, timed: Timed) -> None:
        self.timed = timed
        self.input_shape, self.latent_dim = timed.input_shape, timed.latent_dim
        self._original: nn.Module | None = None
        self._converted: tuple[object, nn.Module] | None = None
        with torch.device("meta"):
            self.shadow = timed.build()
        """The same model on the meta device: its shapes without its weights."""

    @property
    def operations(self) -> list[Operation]:
        """The operations that the model has."""
        return [each for each in OPERATIONS if lacking_operation(self.shadow, each) is None]

    @property
    def has_convolutions(self) -> bool:
        """True if the order of channels in memory matters."""
        return any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in self.shadow.modules())

    def workload(self, point: SweepPoint, device: torch.device) -> Workload:
        """Return the model in the format of a point. A train step keeps float32 weights, and changes them."""
        training = point.operation == "train_step"
        dtype = torch.float32 if training else DTYPES[point.precision]
        key = (training, training and point.compiled, dtype, point.channels_last, device)
        if self._converted is None or self._converted[0] != key:
            self._converted = None
            self._original = self._original or self.timed.build()
            model = copy.deepcopy(self._original).to(device=device, dtype=dtype)
            if point.channels_last:
                model = model.to(memory_format=torch.channels_last)
            self._converted = key, model
        return self._workload(
            self._converted[1], "fp32" if training else point.precision, device, point.channels_last
        )

    def _workload(
        self, model: nn.Module, precision: Precision, device: torch.device, channels_last: bool = False
    ) -> Workload:
        return Workload(model, self.input_shape, self.latent_dim, precision, device, channels_last)

    def counted(self, point: SweepPoint) -> Count:
        """Count what a call at a point computes, moves and holds.

        Raises the model's own error if it cannot run on tensors that have shapes and no values.
        """
        meta = torch.device("meta")
        if point.operation == "train_step":
            if not isinstance(self.shadow, Trains):
                raise TypeError("only a model that the engine trains can be counted in training")
            shadow = self._workload(self.shadow.float(), "fp32", meta)
            return count(objective(shadow, point.batch), gradients=True)
        shadow = self._workload(self.shadow.to(DTYPES[point.precision]), point.precision, meta)
        return count(inference(shadow, point.operation, point.batch, compiled=False))

    def forget(self) -> None:
        """Release the converted weights and the memory that torch keeps for them."""
        self._converted = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def forget_all(self) -> None:
        """Release all weights: the next model needs the memory."""
        self._original = None
        self.forget()
