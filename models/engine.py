"""The training engine: every gradient-trained family goes through this one loop.

The data stay in memory as whole tensors and a batch is an index into them; a data loader's per-sample
work would cost more than the arithmetic. Nothing inside a step waits for the device: the terms are
written to one tensor, and the loss is looked at once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from latentbench.models.history import Diverged, History
from latentbench.models.recipe import Recipe
from latentbench.models.seeds import generator

WARM_UP = 0.1


class Objective(Protocol):
    """A batch to the terms of the loss, each a scalar; the term `loss` is what is minimised."""

    def __call__(self, batch: tuple[Tensor, ...], noise: Generator) -> dict[str, Tensor]:
        """Rows of the training tensors; random draws come from `noise`."""


def train(
    model: nn.Module,
    objective: Objective,
    tensors: tuple[Tensor, ...],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> History:
    """Minimise `objective` over `tensors`, whose first axes agree; a last, smaller batch is left out.

    The order of the data depends on `seed` alone, so models trained with one seed see the same batches.
    Raises Diverged, with the history so far, at the end of the epoch in which the loss went non-finite.
    """
    tensors = tuple(tensor.to(device) for tensor in tensors)
    batch_size = min(recipe.batch_size, len(tensors[0]))
    steps_per_epoch = len(tensors[0]) // batch_size
    steps = steps_per_epoch * recipe.epochs
    order = generator(seed, "order")
    optimiser = make_optimiser(model, recipe)
    one_step = stepper(objective, optimiser, recipe, generator(seed, "noise", device=device))
    schedule = LambdaLR(optimiser, lambda step: schedule_factor(recipe, step, steps))

    model.train()
    names: list[str] = []
    terms = torch.empty(0)
    for epoch in range(recipe.epochs):
        permutation = torch.randperm(len(tensors[0]), generator=order).to(device)
        for index in range(steps_per_epoch):
            rows = permutation[index * batch_size : (index + 1) * batch_size]
            losses = one_step(tuple(tensor[rows] for tensor in tensors))
            schedule.step()
            step = epoch * steps_per_epoch + index
            if not names:
                names = list(losses)
                terms = torch.empty(steps, len(names), device=device)
            terms[step] = torch.stack([losses[name].detach().float() for name in names])
            progress(step + 1, steps)
        _stop_if_diverged(terms[: step + 1], names)
    model.eval()
    return _history(terms, names)


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Fused AdamW over all parameters."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.adam_betas,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def stepper(
    objective: Objective, optimiser: torch.optim.Optimizer, recipe: Recipe, noise: Generator
) -> Callable[[tuple[Tensor, ...]], dict[str, Tensor]]:
    """One step of training as a function of a batch; returns the terms of the loss before the step."""

    def one_step(batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        with _precision(recipe, noise.device):
            losses = objective(batch, noise)
        optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        optimiser.step()
        return losses

    return one_step


def _precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    if recipe.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def schedule_factor(recipe: Recipe, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at `step` of `steps`, 0 to 1.

    >>> [round(schedule_factor(Recipe(), step, 100), 2) for step in (0, 4, 9, 54, 99)]
    [0.1, 0.5, 1.0, 0.5, 0.0]
    """
    if recipe.schedule == "constant":
        return 1.0
    warm_up = max(round(WARM_UP * steps), 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / max(steps - warm_up, 1)))


def _history(terms: Tensor, names: list[str]) -> History:
    columns = terms.cpu().numpy().T
    return History({name: column.copy() for name, column in zip(names, columns, strict=True)})


def _stop_if_diverged(terms: Tensor, names: list[str]) -> None:
    broken = ~torch.isfinite(terms[:, names.index("loss")])
    if bool(broken.any()):
        step = int(broken.float().argmax())
        raise Diverged(step, _history(terms[:step], names))
