"""The training loop is AdamW on a one-cycle schedule, step by step."""

import torch
from torch import nn

from latentbench.analysis.statistics.fitting import fit


def test_fit_takes_the_steps_of_adamw_on_one_cycle():
    ours, reference = (nn.Parameter(torch.tensor([3.0, -2.0])) for _ in range(2))
    steps = []

    def record(done, total):
        steps.append((done, total))

    loss = lambda point: (point - 1).square().sum()  # noqa: E731
    fit(
        lambda: loss(ours), [ours], steps=5, learning_rate=0.1, weight_decay=0.5, warm_up=0.4, progress=record
    )
    optimiser = torch.optim.AdamW([reference], lr=0.1, weight_decay=0.5, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=5, pct_start=0.4)
    for _ in range(5):
        optimiser.zero_grad()
        loss(reference).backward()
        optimiser.step()
        schedule.step()
    assert torch.equal(ours, reference)
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
