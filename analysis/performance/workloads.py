"""What a model can be asked to do and timed at, as a call on a batch of noise of the right shape.

Nothing but the calls is timed: the inputs are on the device, in the format that the model runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from latentbench.analysis.performance.number_formats import DTYPES, Precision
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.models.family import Family, GradientFamily
from latentbench.models.training.engine import Step
from latentbench.models.training.recipe import Recipe

Operation = Literal["encode", "decode", "encode_text", "denoise", "train_step"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

VOCABULARY = 1000
"""Random tokens are below this: every tokenizer has as many."""


@dataclass(frozen=True)
class Workload:
    """A model in a format, ready to be asked."""

    model: nn.Module
    input_shape: tuple[int, ...]
    """Of one example."""
    latent_dim: int
    precision: Precision
    device: torch.device
    channels_last: bool = False

    def noise(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), in the model's format; nothing but a shape on the meta device."""
        values = torch.rand(shape, device=self.device).to(DTYPES[self.precision])
        if self.channels_last and values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        return values

    def inputs(self, batch: int) -> Tensor:
        """Examples: images, features, or tokens `[B, T]` where an example is a row of them."""
        if len(self.input_shape) == 1:
            return torch.randint(VOCABULARY, (batch, *self.input_shape), device=self.device)
        return self.noise(batch, *self.input_shape)


def lacking_operation(model: nn.Module, operation: Operation) -> str | None:
    """Why a model cannot be asked for an operation; None where it can."""
    if operation == "train_step":
        has_step = isinstance(model, Family) and type(model).train_step is not Family.train_step
        return None if has_step else "no train step"
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
    """A call of the operation on `batch` examples, whose gradients nobody wants unless they are enabled."""
    model = workload.model.eval()
    method = next(getattr(model, name) for name in METHODS[operation] if callable(getattr(model, name, None)))
    function = torch.compile(method, dynamic=False) if compiled else method
    given = _given(workload, operation, batch, method)
    return lambda: function(given)


def _given(workload: Workload, operation: Operation, batch: int, method: Any) -> Any:
    """What the method takes: examples, codes, or captions for a model that has a tokenizer of its own."""
    if operation == "decode":
        return workload.noise(batch, workload.latent_dim)
    if method.__name__ == "encode_text":
        captions = DIGIT_CAPTIONS.captions
        return [captions[index % len(captions)] for index in range(batch)]
    return workload.inputs(batch)


def train_step(
    workload: Workload, batch: int, *, precision: Precision, compiled: bool
) -> Callable[[], object]:
    """A call of one step as the engine takes it: forward, backward and AdamW on float32 weights.

    bf16 is autocast's. The model is changed by it.
    """
    model = cast(Family[Any], workload.model)
    step = model.train_step(step_recipe(precision, batch))
    assert step is not None
    if compiled:
        model.forward = torch.compile(model.forward, dynamic=False)
    images = _training_inputs(workload, batch)
    return lambda: step(images)


def step_recipe(precision: Precision, batch: int) -> Recipe:
    """How a train step is taken; tf32 is a matter of the device, not of the recipe."""
    return Recipe(epochs=1, batch_size=batch, precision="bf16" if precision == "bf16" else "fp32")


def objective(workload: Workload, batch: int) -> Callable[[], object]:
    """Forward and backward of a train step without the update, which even the meta device can do."""
    model = cast(GradientFamily[Any], workload.model).train()
    draws = {
        name: torch.zeros(draw.shape, device=workload.device) for name, draw in model.draws(batch).items()
    }
    half_way = torch.full((), 0.5, device=workload.device)

    def call() -> None:
        step = Step(model.timing_batch(_training_inputs(workload, batch)), draws, half_way, batch)
        model.forward(step)["loss"].backward()

    return call


def _training_inputs(workload: Workload, batch: int) -> Tensor:
    """Images as a data set has them, uint8; tokens and features as they are."""
    if len(workload.input_shape) == 1:
        return workload.inputs(batch)
    return torch.randint(256, (batch, *workload.input_shape), dtype=torch.uint8, device=workload.device)
