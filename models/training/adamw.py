"""AdamW by torch's fused kernel, without torch.optim.

A class of torch.optim imports torch's compiler when it is first used. This takes a second, in every process
that trains, and nothing here compiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """What AdamW remembers of a parameter: its number of steps, and running means of its gradient."""

    steps: Tensor
    mean: Tensor
    square: Tensor


class AdamW:
    """The same steps as `torch.optim.AdamW(fused=True)`, of parameters on one device and of one type.

    `rate`, the learning rate, may be a tensor on the device, so that a CUDA graph can replay with another.
    Parameters without a gradient stay as they are.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float | Tensor,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float,
    ) -> None:
        self.parameters = list(parameters)
        self.rate, self.betas, self.weight_decay = rate, betas, weight_decay
        self._moments: dict[Tensor, Moments] = {}

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step, on the device where it is there."""
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    def forget_gradients(self) -> None:
        """Let the next backward pass write new gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        given = [(each, each.grad) for each in self.parameters if each.grad is not None]
        moments = [self._moments_of(parameter) for parameter, _ in given]
        steps = [each.steps for each in moments]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [parameter for parameter, _ in given],
            [gradient for _, gradient in given],
            [each.mean for each in moments],
            [each.square for each in moments],
            [],
            steps,
            lr=self.rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def replace(self, old: Tensor, new: Tensor, index: Tensor) -> None:
        """Continue with `new`, the rows `index` of the parameter `old`, and with their moments."""
        position = next(at for at, parameter in enumerate(self.parameters) if parameter is old)
        self.parameters[position] = new
        if old in self._moments:
            past = self._moments.pop(old)
            self._moments[new] = Moments(past.steps, past.mean[index], past.square[index])

    def _moments_of(self, parameter: Tensor) -> Moments:
        if parameter not in self._moments:
            steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
            self._moments[parameter] = Moments(
                steps, torch.zeros_like(parameter), torch.zeros_like(parameter)
            )
        return self._moments[parameter]
