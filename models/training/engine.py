"""The training engine: every gradient-trained family is trained by this one loop, alone or in a stack.

The data stay in memory as whole tensors and a batch is an index into them; a data loader's per-sample
work would cost more than the arithmetic. A step never waits for the device: the terms are written to one
tensor, and the loss is read once per epoch. On a GPU a step is replayed as one launch (`replay`).

A trainee is one model (`Single`, here) or many of one shape trained as one (`stacking.Stack`). Either
way each member has its own seed, which decides its order of the data and its noise, so that it learns
the same alone and in any stack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from typing_extensions import override

from latentbench.models.seeds import generator
from latentbench.models.training.history import Diverged, History
from latentbench.models.training.ledger import Ledger
from latentbench.models.training.recipe import Recipe
from latentbench.models.training.replay import Replay, own_stream

WARM_UP = 0.1

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True)
class Draw:
    """Random numbers that an objective needs at every step: standard normal, or uniform in [0, 1)."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]

    def sample(self, noise: Generator) -> Tensor:
        """Draw a new tensor of `shape`, on the generator's device."""
        make = torch.randn if self.kind == "normal" else torch.rand
        return make(self.shape, generator=noise, device=noise.device)


@dataclass(frozen=True)
class TrainingStep:
    """The inputs of an objective at one step of training."""

    rows: tuple[Tensor, ...]
    """A batch: rows of the training tensors."""
    draws: dict[str, Tensor]
    """New random numbers, by the names that `Trainable.draws` gave them."""
    progress: Tensor
    """The share of training that is done: a scalar from 0 to 1."""
    examples: int
    """The total number of training examples."""


class Trainable(nn.Module):
    """A module that can be trained: its `forward` is its objective."""

    @abstractmethod
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Return the random numbers that a step on `batch_size` examples needs."""

    @abstractmethod
    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        """Return the terms, scalars or `[D]` with a value per dimension; `loss` is minimised."""


class Trainee(ABC):
    """One model or several, as the loop sees them. The first axis of every term is the members."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.orders = [generator(seed, "order") for seed in seeds]
        self.noises = [generator(seed, "noise", device=device) for seed in seeds]
        self.device = device

    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """Return the parameters that the optimiser changes."""

    @abstractmethod
    def objective(self, rows: tuple[Tensor, ...], progress: Tensor, examples: int) -> dict[str, Tensor]:
        """Return the terms of each member on its own rows `[S, B, ...]`, with new draws."""

    @abstractmethod
    def gradient_norm(self) -> Tensor:
        """Return the Euclidean norm of each member's gradient, `[S]`."""

    def stepped(self) -> None:  # noqa: B027 - most trainees have nothing to do
        """Follow the parameters after a step of the optimiser."""

    @abstractmethod
    def keep(self, kept: list[int], optimiser: torch.optim.Optimizer) -> None:
        """Continue with the members at these positions only."""


class Single(Trainee):
    """One model, trained by itself."""

    def __init__(self, model: Trainable, seed: int, device: torch.device) -> None:
        super().__init__([seed], device)
        self.model = model

    @override
    def parameters(self) -> list[Tensor]:
        return list(self.model.parameters())

    @override
    def objective(self, rows: tuple[Tensor, ...], progress: Tensor, examples: int) -> dict[str, Tensor]:
        batch = tuple(tensor[0] for tensor in rows)
        draws = {name: draw.sample(self.noises[0]) for name, draw in self.model.draws(len(batch[0])).items()}
        terms = self.model.forward(TrainingStep(batch, draws, progress, examples))
        return {name: term.unsqueeze(0) for name, term in terms.items()}

    @override
    def gradient_norm(self) -> Tensor:
        norms = torch._foreach_norm([p.grad for p in self.parameters() if p.grad is not None])
        norm: Tensor = torch.stack(norms).norm()
        return norm.unsqueeze(0)

    def keep(self, kept: list[int], optimiser: torch.optim.Optimizer) -> None:
        """Do nothing: training ends when a single model diverges."""


def train(
    trainee: Trainee,
    tensors: tuple[Tensor, ...],
    recipe: Recipe,
    *,
    progress: Progress,
    steps: int | None = None,
) -> list[History | Diverged]:
    """Minimise the members' objectives over `tensors`, whose first axes agree; return each member's outcome.

    Training takes the recipe's epochs, or `steps` if they are given. A last, smaller batch is left out.
    A member whose loss goes non-finite is dropped at the end of that epoch, with its history up to there; the
    others are not affected.
    """
    with own_stream(trainee.device):
        return _train(trainee, tensors, recipe, progress, steps)


def _train(
    trainee: Trainee,
    tensors: tuple[Tensor, ...],
    recipe: Recipe,
    progress: Progress,
    steps: int | None,
) -> list[History | Diverged]:
    tensors = tuple(tensor.to(trainee.device) for tensor in tensors)
    examples = len(tensors[0])
    batch_size = min(recipe.batch_size, examples)
    steps_per_epoch = examples // batch_size
    steps = steps_per_epoch * recipe.epochs if steps is None else steps
    optimiser = make_optimiser(trainee, recipe)
    ledger = Ledger(len(trainee.orders), steps, trainee.device)

    def take_step(chosen: Tensor, share: Tensor) -> dict[str, Tensor]:
        rows = tuple(tensor[chosen] for tensor in tensors)
        return one_step(trainee, optimiser, recipe, rows, share, examples)

    replay = Replay(take_step, trainee.noises) if trainee.device.type == "cuda" else None

    for epoch in range(math.ceil(steps / steps_per_epoch)):
        permutations = torch.stack([torch.randperm(examples, generator=order) for order in trainee.orders])
        permutations = permutations.to(trainee.device)
        for index in range(min(steps_per_epoch, steps - epoch * steps_per_epoch)):
            chosen = permutations[:, index * batch_size : (index + 1) * batch_size]
            step = epoch * steps_per_epoch + index
            share = torch.full((), step / steps, device=trainee.device)
            set_learning_rate(optimiser, recipe.learning_rate * schedule_factor(recipe, step, steps))
            ledger.write(step, (replay or take_step)(chosen, share))
            trainee.stepped()
            progress(step + 1, steps)
        kept = ledger.close_epoch(step)
        if kept is not None:
            if not kept:
                break
            trainee.keep(kept, optimiser)
            if replay is not None:
                replay.forget(trainee.noises)
    return ledger.outcomes()


def one_step(
    trainee: Trainee,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    rows: tuple[Tensor, ...],
    progress: Tensor,
    examples: int,
) -> dict[str, Tensor]:
    """Take one step of training; return the terms of the objective before it, and the gradient's norm."""
    with _precision(recipe, trainee.device):
        terms = trainee.objective(rows, progress, examples)
    optimiser.zero_grad(set_to_none=True)
    terms["loss"].sum().backward()
    terms["gradient_norm"] = trainee.gradient_norm()
    optimiser.step()
    return terms


def step_on_batches(
    model: Trainable, batch_of: Callable[[Tensor], tuple[Tensor, ...]], recipe: Recipe
) -> Callable[[Tensor], None]:
    """Take one step of training, like `train`, on a batch that `batch_of` makes around uint8 images."""
    device = next(model.parameters()).device
    trainee = Single(model, 0, device)
    optimiser = make_optimiser(trainee, recipe)
    half_way = torch.full((), 0.5, device=device)

    def step(images: Tensor) -> None:
        model.train()
        rows = tuple(tensor.unsqueeze(0) for tensor in batch_of(images))
        one_step(trainee, optimiser, recipe, rows, half_way, len(images))

    return step


def make_optimiser(trainee: Trainee, recipe: Recipe) -> torch.optim.Optimizer:
    """Create fused AdamW over all parameters; on a GPU its learning rate is on the device, for a replay."""
    on_gpu = trainee.device.type == "cuda"
    rate = torch.tensor(recipe.learning_rate, device=trainee.device) if on_gpu else recipe.learning_rate
    return torch.optim.AdamW(
        trainee.parameters(),
        lr=rate,
        betas=recipe.adam_betas,
        weight_decay=recipe.weight_decay,
        fused=True,
        capturable=on_gpu,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    if recipe.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def schedule_factor(recipe: Recipe, step: int, steps: int) -> float:
    """Return the factor of the learning rate at `step` of `steps`, 0 to 1.

    >>> [round(schedule_factor(Recipe(), step, 100), 2) for step in (0, 4, 9, 54, 99)]
    [0.1, 0.5, 1.0, 0.5, 0.0]
    """
    if recipe.schedule == "constant":
        return 1.0
    warm_up = max(round(WARM_UP * steps), 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / max(steps - warm_up, 1)))
