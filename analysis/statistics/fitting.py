"""The training loop of the small networks that measure something: judge, text encoders, classifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Progress = Callable[[int, int], None]
"""Called after every step with the number of steps done and the highest number that there may be."""


@dataclass(frozen=True)
class EarlyStop:
    """Ends a training when its `score` no longer rises.

    The score, the higher the better, is computed every few steps. When it has not risen for `patience`
    times, or is `highest`, the learning rate falls to zero within `last_steps`. Until then it stays at its
    peak, since a rate that fell by a schedule would make any score stand still.
    """

    score: Callable[[], float]
    every: int = 20
    patience: int = 3
    last_steps: int = 60
    highest: float = 1.0


def fit(
    loss: Callable[[], Tensor],
    parameters: Iterable[nn.Parameter],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    warm_up: float = 0.3,
    early_stop: EarlyStop | None = None,
    progress: Progress | None = None,
) -> int:
    """Minimise `loss()` over `parameters`, in place, with AdamW; return the number of steps.

    `loss` draws its own batch and returns a scalar. The learning rate rises to `learning_rate` over the
    first `warm_up` of the steps (a share in (0, 1)) and falls to almost zero at the last one (one cycle);
    with `early_stop`, which may need fewer steps, it stays there until the last ones.

    >>> point = nn.Parameter(torch.zeros(2))
    >>> target = torch.tensor([1.0, 2.0])
    >>> fit(lambda: (point - target).square().sum(), [point], steps=200, learning_rate=0.1, weight_decay=0)
    200
    >>> bool((point - target).abs().max() < 1e-3)
    True
    """
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    schedule: _OneCycle | _Plateau = (
        _OneCycle(optimiser, learning_rate, steps, warm_up)
        if early_stop is None
        else _Plateau(optimiser, learning_rate, steps, early_stop)
    )
    done = 0
    while done < schedule.end:
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        done += 1
        schedule.after(done)
        if progress is not None:
            progress(done, schedule.end)
    return done


class _OneCycle:
    def __init__(self, optimiser: Optimizer, peak: float, steps: int, warm_up: float) -> None:
        self.end = steps
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, peak, total_steps=steps, pct_start=warm_up
        )

    def after(self, _done: int) -> None:
        self._schedule.step()


class _Plateau:
    """A linear rise to the peak, a level of the length that the score decides, and a linear fall to zero."""

    def __init__(self, optimiser: Optimizer, peak: float, steps: int, stop: EarlyStop) -> None:
        self.end, self._peak, self._stop, self._optimiser = steps, peak, stop, optimiser
        self._fall = min(stop.last_steps, steps)
        self._rise = max(1, min(stop.last_steps, steps - self._fall))
        self._best, self._since, self._falling = -math.inf, 0, False
        self._set_rate(0)

    def after(self, done: int) -> None:
        may_end = self._rise < done < self.end - self._fall
        if may_end and not self._falling and done % self._stop.every == 0 and self._has_settled():
            self._falling, self.end = True, done + self._fall
        self._set_rate(done)

    def _has_settled(self) -> bool:
        score = self._stop.score()
        self._since = 0 if score > self._best else self._since + 1
        self._best = max(self._best, score)
        return self._since >= self._stop.patience or score >= self._stop.highest

    def _set_rate(self, done: int) -> None:
        share = min((done + 1) / self._rise, (self.end - done) / self._fall, 1.0)
        for group in self._optimiser.param_groups:
            group["lr"] = self._peak * max(share, 0.0)
