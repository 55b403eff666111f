"""Rectified flow (Liu et al. 2023, arXiv:2209.03003): the objective, and sampling by Heun's method."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from latentbench.models.codes import Shape
from latentbench.models.training.engine import Draw, Single, Trainable, TrainingStep

WARM_UP = 9
"""The average's decay after n steps is at most n / (n + 9)."""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""From points `[B, *shape]` and times, `[B]` or one for all `[1]`, to velocities `[B, *shape]`."""


class RectifiedFlow(Trainable):
    """The objective: the velocity on a straight line from noise (time 0) to a code (time 1).

    The rows are the mean and the standard deviation of standardised codes; a code is drawn anew at every
    step. A point posterior has rows of means only.
    """

    def __init__(self, network: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.network = network
        self.shape = shape

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        points = Draw("normal", (batch_size, *self.shape))
        return {"noise": points, "posterior": points, "offset": Draw("uniform", ())}

    @override
    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        code, noise = step.rows[0], step.draws["noise"]
        if len(step.rows) > 1:
            code = code + step.rows[1] * step.draws["posterior"]
        # Times are evenly spread over [0, 1] from a random offset: less noise than independent ones.
        places = torch.arange(len(code), device=code.device) / len(code)
        time = (places + step.draws["offset"]) % 1
        weight = time.reshape(-1, *(1 for _ in self.shape))
        velocity = self.network(noise + weight * (code - noise), time)
        return {"loss": (velocity - (code - noise)).square().mean()}


class Averaged(Single):
    """A single trainee with an exponential moving average of its weights over the steps."""

    def __init__(self, model: RectifiedFlow, seed: int, device: torch.device, *, decay: float) -> None:
        super().__init__(model, seed, device)
        self.average: RectifiedFlow = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.steps = decay, 0

    @override
    def stepped(self) -> None:
        self.steps += 1
        # Early on the average is over fewer steps, so that a short training forgets where it began.
        decay = min(self.decay, self.steps / (self.steps + WARM_UP))
        current = [parameter.detach() for parameter in self.model.parameters()]
        torch._foreach_lerp_(list(self.average.parameters()), current, 1 - decay)


def heun(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Follow the velocity from noise `[B, *shape]` at time 0 to time 1, in even steps of Heun's method.

    >>> end = heun(lambda x, t: x, torch.ones(1, 1), 32)  # dx/dt = x
    >>> round(end.item(), 3)
    2.718
    """
    points, size = noise, 1 / steps
    for step in range(steps):
        before = torch.full((1,), step * size, device=points.device)
        slope = velocity(points, before)
        ahead = velocity(points + size * slope, before + size)
        points = points + size / 2 * (slope + ahead)
    return points
