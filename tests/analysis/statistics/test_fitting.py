"""The training loop is AdamW on a one-cycle schedule, step by step, or ends when a score stands still."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from latentbench.analysis.statistics.fitting import EarlyStop, fit


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


def trained(scores, steps=600):
    """Fit with these scores, one every 20 steps; returns the point, the steps, and the learning rates."""
    point, totals, given = nn.Parameter(torch.zeros(1)), [], iter(scores)
    stop = EarlyStop(lambda: next(given))
    taken = fit(
        lambda: (point - 1).square().sum(),
        [point],
        steps=steps,
        learning_rate=0.05,
        weight_decay=0.0,
        early_stop=stop,
        progress=lambda _, total: totals.append(total),
    )
    return point, taken, totals


@pytest.mark.parametrize(
    ("scores", "steps"),
    [
        ([0.5, 0.6, 0.7, 0.7, 0.7, 0.6], 80 + 5 * 20 + 60),
        ([0.5, 0.9, 1.0], 80 + 2 * 20 + 60),
        ([k / 100 for k in range(40)], 600),
    ],
    ids=["stands still", "is the highest", "rises to the end"],
)
def test_early_stop_ends_when_the_score_no_longer_rises(scores, steps):
    """The first score is taken after 80 steps, since the rate rises for 60."""
    point, taken, totals = trained(scores)
    assert taken == len(totals) == totals[-1] == steps
    assert totals[0] == 600
    assert abs(point.item() - 1) < 1e-2


def test_early_stop_ends_on_a_rate_of_almost_zero():
    """AdamW moves by about its rate in every step, so the last ones hardly move."""
    point = nn.Parameter(torch.zeros(1))
    path = []

    def loss():
        path.append(point.item())
        return -point.sum()

    fit(loss, [point], steps=300, learning_rate=0.1, weight_decay=0.0, early_stop=EarlyStop(lambda: 1.0))
    moves = [b - a for a, b in pairwise(path)]
    assert len(path) == 80 + 60
    assert max(moves) == pytest.approx(0.1, rel=1e-3)
    assert moves[-1] < 0.01


def test_few_steps_have_no_plateau():
    _, taken, _ = trained([1.0], steps=2)
    assert taken == 2
