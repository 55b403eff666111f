"""Many models of one shape trained as one: their weights are stacked and the objective is vmapped.

On a GPU a small model leaves the device idle between launches, and a stack costs little more than one of
its members. Members may differ in seed, width, and settings such as β: all are padded with zeros to one
width. Padding stays zero: a code dimension that is always zero neither changes the decoder nor is changed by
it. (An objective whose penalty has a gradient at zero masks it with `in_use`.) So each member learns what
it would learn alone, to rounding; and since the padded width depends on the member alone (`stack_width`),
its weights do not depend on the other members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap
from typing_extensions import override

from latentbench.models.training.engine import Trainable, Trainee, TrainingStep

NARROWEST = 32


def stack_width(latent_dim: int) -> int:
    """Return the width that a member of a stack is padded to: a power of two, at least 32.

    >>> stack_width(2), stack_width(32), stack_width(33)
    (32, 32, 64)
    """
    return max(NARROWEST, 1 << (latent_dim - 1).bit_length())


class Stack(Trainee):
    """Models that share a shape except for the width; `pattern` is one of the width that they are padded to.

    The pattern's own weights are never used: it may be on the meta device.
    """

    def __init__(
        self,
        members: Sequence[Trainable],
        pattern: Trainable,
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        super().__init__(seeds, device)
        self.members, self.pattern = list(members), pattern
        self.weights = {
            name: self._stacked([member.get_parameter(name) for member in members], shaped).requires_grad_()
            for name, shaped in pattern.named_parameters()
        }
        self.constants = {
            name: self._stacked([member.get_buffer(name) for member in members], shaped)
            for name, shaped in pattern.named_buffers()
        }

    def _stacked(self, tensors: list[Tensor], shaped: Tensor) -> Tensor:
        return torch.stack([padded(tensor.detach(), shaped.shape) for tensor in tensors]).to(self.device)

    @override
    def parameters(self) -> list[Tensor]:
        return list(self.weights.values())

    @override
    def objective(self, rows: tuple[Tensor, ...], progress: Tensor, examples: int) -> dict[str, Tensor]:
        pattern, draws = self.pattern, self._draws(rows[0].shape[1])

        def objective(
            state: dict[str, Tensor], rows: tuple[Tensor, ...], draws: dict[str, Tensor]
        ) -> dict[str, Tensor]:
            terms: dict[str, Tensor] = functional_call(
                pattern, state, (TrainingStep(rows, draws, progress, examples),)
            )
            return terms

        terms: dict[str, Tensor] = vmap(objective)({**self.weights, **self.constants}, rows, draws)
        return terms

    def _draws(self, batch_size: int) -> dict[str, Tensor]:
        """Draw for each member the numbers that it would draw alone, padded with zeros."""
        shaped = self.pattern.draws(batch_size)
        own = [
            {name: draw.sample(noise) for name, draw in member.draws(batch_size).items()}
            for member, noise in zip(self.members, self.noises, strict=True)
        ]
        return {
            name: torch.stack([padded(draws[name], draw.shape) for draws in own])
            for name, draw in shaped.items()
        }

    @override
    def gradient_norm(self) -> Tensor:
        squares = [
            p.grad.reshape(len(p), -1).square().sum(1) for p in self.weights.values() if p.grad is not None
        ]
        return torch.stack(squares).sum(0).sqrt()

    def keep(self, kept: list[int], optimiser: torch.optim.Optimizer) -> None:
        """Drop the other members, with their weights and the optimiser's moments."""
        index = torch.tensor(kept, device=self.device)
        for group in optimiser.param_groups:
            group["params"] = []
        for name, old in list(self.weights.items()):
            new = old.detach()[index].requires_grad_()
            self.weights[name] = new
            optimiser.param_groups[0]["params"].append(new)
            optimiser.state[new] = {
                key: value[index] if value.ndim else value for key, value in optimiser.state.pop(old).items()
            }
        self.constants = {name: value[index] for name, value in self.constants.items()}
        for attribute in ("members", "orders", "noises"):
            values: list[Any] = getattr(self, attribute)
            setattr(self, attribute, [values[position] for position in kept])

    @torch.no_grad()
    def unstack(self) -> None:
        """Give every remaining member its own trained weights."""
        for position, member in enumerate(self.members):
            for name, parameter in member.named_parameters():
                own = self.weights[name][position][tuple(slice(size) for size in parameter.shape)]
                parameter.copy_(own)


def padded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `tensor` with zeros after its end along every axis, up to `shape`.

    >>> padded(torch.ones(1, 2), (2, 3)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    missing = [wanted - given for wanted, given in zip(shape, tensor.shape, strict=True)]
    if not any(missing):
        return tensor
    return F.pad(tensor, [side for count in reversed(missing) for side in (0, count)])
