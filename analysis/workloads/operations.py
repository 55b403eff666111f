"""The operations that a model is timed at, each as a call on a batch of noise of the right shape.

Only the call is timed: its inputs are on the device already, in the format that the model runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from latentbench.analysis.performance.number_formats import DTYPES
from latentbench.analysis.performance.point import Operation, Precision
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.models.family import Family
from latentbench.models.training.engine import Draw, TrainingStep
from latentbench.models.training.recipe import Recipe

VOCABULARY = 1000
"""Random tokens are below this number: every tokenizer has at least as many."""


@runtime_checkable
class Trains(Protocol):
    """A model with one step of training: models of the zoo that the engine trains, and reference models."""

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None]:
        """Return a call that trains on a batch once."""

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Return the random numbers of a step."""

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return a batch like those of training."""

    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        """Return the terms of the objective; `loss` is minimised."""


@dataclass(frozen=True)
class Workload:
    """A model on a device, in a number format, with the shapes of its inputs and outputs."""

    model: nn.Module
    input_shape: tuple[int, ...]
    """The shape of one example."""
    latent_dim: int
    precision: Precision
    device: torch.device
    channels_last: bool = False

    def noise(self, *shape: int) -> Tensor:
        """Return uniform noise in [0, 1), in the model's format; on the meta device it has a shape only."""
        values = torch.rand(shape, device=self.device).to(DTYPES[self.precision])
        if self.channels_last and values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        return values

    def inputs(self, batch: int) -> Tensor:
        """Return a batch of examples: images or features `[B, C, H, W]`, or tokens `[B, T]`."""
        if len(self.input_shape) == 1:
            return torch.randint(VOCABULARY, (batch, *self.input_shape), device=self.device)
        return self.noise(batch, *self.input_shape)


def lacking_operation(model: nn.Module, operation: Operation) -> str | None:
    """Return the reason why a model does not have an operation; None if it does."""
    if operation == "train_step":
        step = getattr(type(model), "train_step", Family.train_step)
        return "no train step" if step is Family.train_step else None
    if any(callable(getattr(model, method, None)) for method in METHODS[operation]):
        return None
    return {"decode": "no decoder", "encode": "no image encoder", "encode_text": "no text encoder"}.get(
        operation, f"no {operation}"
    )


METHODS: dict[Operation, tuple[str, ...]] = {
    "encode": ("encode", "encode_image"),
    "decode": ("decode",),
    "encode_text": ("encode_tokens", "encode_text"),
    "denoise": ("denoise",),
}
"""The method that does an operation: the first that the model has."""


def inference(
    workload: Workload, operation: Operation, batch: int, *, compiled: bool
) -> Callable[[], object]:
    """Return a call of the operation on `batch` examples, with the model in evaluation mode."""
    model = workload.model.eval()
    method = next(getattr(model, name) for name in METHODS[operation] if callable(getattr(model, name, None)))
    function = torch.compile(method, dynamic=False) if compiled else method
    given = _given(workload, operation, batch, method)
    return lambda: function(given)


def _given(workload: Workload, operation: Operation, batch: int, method: Any) -> Any:
    """Return the method's argument: examples, codes, or captions for a model that tokenizes them itself."""
    if operation == "decode":
        return workload.noise(batch, workload.latent_dim)
    if method.__name__ == "encode_text":
        captions = DIGIT_CAPTIONS.captions
        return [captions[index % len(captions)] for index in range(batch)]
    return workload.inputs(batch)


def train_step(
    workload: Workload, batch: int, *, precision: Precision, compiled: bool
) -> Callable[[], object]:
    """Return a call of one training step of the engine: forward, backward, AdamW on float32 weights.

    With bf16 the step runs under autocast. The call changes the model.
    """
    step = cast(Trains, workload.model).train_step(step_recipe(precision, batch))
    if compiled:
        workload.model.forward = torch.compile(workload.model.forward, dynamic=False)
    images = _training_inputs(workload, batch)
    return lambda: step(images)


def step_recipe(precision: Precision, batch: int) -> Recipe:
    """Return the recipe of a timed train step; tf32 is a setting of the device, not of the recipe."""
    return Recipe(epochs=1, batch_size=batch, precision="bf16" if precision == "bf16" else "fp32")


def objective(workload: Workload, batch: int) -> Callable[[], object]:
    """Return forward and backward of a train step without the update; works on the meta device too."""
    model = cast(Trains, workload.model.train())
    draws = {
        name: torch.zeros(draw.shape, device=workload.device) for name, draw in model.draws(batch).items()
    }
    half_way = torch.full((), 0.5, device=workload.device)

    def call() -> None:
        step = TrainingStep(model.timing_batch(_training_inputs(workload, batch)), draws, half_way, batch)
        model.forward(step)["loss"].backward()

    return call


def _training_inputs(workload: Workload, batch: int) -> Tensor:
    """Return a batch for training: uint8 images, as a data set has them, or tokens."""
    if len(workload.input_shape) == 1:
        return workload.inputs(batch)
    return torch.randint(256, (batch, *workload.input_shape), dtype=torch.uint8, device=workload.device)
