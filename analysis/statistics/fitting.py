"""The training loop of the small networks that measure something: judge, text encoders, classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called after every step with the number of steps done and their total."""


def fit(
    loss: Callable[[], Tensor],
    parameters: Iterable[nn.Parameter],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    warm_up: float = 0.3,
    progress: Progress | None = None,
) -> None:
    """Minimise `loss()` over `parameters`, in place, with AdamW on a one-cycle schedule.

    `loss` draws its own batch and returns a scalar. The learning rate rises to `learning_rate` over the
    first `warm_up` of the steps (a share in (0, 1)) and falls to almost zero at the last one.

    >>> point = nn.Parameter(torch.zeros(2))
    >>> target = torch.tensor([1.0, 2.0])
    >>> fit(lambda: (point - target).square().sum(), [point], steps=200, learning_rate=0.1, weight_decay=0)
    >>> bool((point - target).abs().max() < 1e-3)
    True
    """
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=warm_up
    )
    for step in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
